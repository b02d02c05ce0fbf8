"""The coordinator as a process of its own: `python hub_process.py STATE SUPERLINK GATEWAY`."""

import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from unica_sdk.federation.hub.coordinator import run_coordinator


def main(state: Path, superlink: str, gateway: str) -> None:
    """Coordinate until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    run_coordinator(
        superlink=superlink,
        engine=state / "engine",
        gateway=gateway,
        gateway_secret=state / "engine-face.secret",
        stop=stop,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
