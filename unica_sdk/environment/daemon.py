"""The supervisor of the embedded environment as a daemon: `python -m unica_sdk.environment.daemon STATE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from unica_sdk.environment import lifecycle
from unica_sdk.environment.layout import Layout
from unica_sdk.environment.parts import embedded_parts
from unica_sdk.environment.ports import Ports
from unica_sdk.environment.up import part_variables


def main() -> None:
    """Leave the caller, and supervise until told to stop."""
    layout = Layout(Path(sys.argv[1]))
    ports = Ports.read(layout)
    if os.fork():
        # the caller waits for this process only; the child belongs to nobody
        os._exit(0)
    lifecycle.supervise(
        layout,
        embedded_parts(layout, ports),
        variables=part_variables(layout),
        about={"address": ports.address},
    )


if __name__ == "__main__":
    main()
