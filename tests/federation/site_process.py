"""A site as a process of its own: `python site_process.py NAME STATE SUPERLINK`."""

import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from world import site_from

from unica_sdk.federation.site.fleet import run_node


def main(name: str, state: Path, superlink: str) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    run_node(
        site_from(state / "authority.json", name, state / "nodes"),
        superlink=superlink,
        certificate=state / "engine" / "superlink.crt",
        engine_key=state / "nodes" / name / "engine.key",
        home=state / "nodes" / name / "engine",
        stop=stop,
        preload=(),
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
