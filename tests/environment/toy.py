"""A supervisor over small real processes, for the tests: `python -m tests.environment.toy STATE`.

`store` answers once its file is there; `worker` needs it, and leaves a grandchild in a session of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from unica_sdk.environment import lifecycle
from unica_sdk.environment.layout import Layout
from unica_sdk.environment.supervisor import Part

STORE = """
import pathlib, sys, time
time.sleep(0.3)
pathlib.Path(sys.argv[1]).write_text(str(time.time()))
time.sleep(600)
"""
WORKER = """
import os, pathlib, subprocess, sys, time
pathlib.Path(sys.argv[1]).write_text(str(time.time()))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[2]).write_text(str(child.pid))
time.sleep(600)
"""


def parts(layout: Layout) -> list[Part]:
    """Return the two parts, the dependent one first."""
    store, worker, grandchild = (layout.run / name for name in ("store", "worker", "grandchild"))
    return [
        Part(
            name="worker",
            command=(sys.executable, "-c", WORKER, str(worker), str(grandchild)),
            ready=lambda started: grandchild.exists(),
            after=("store",),
        ),
        Part(
            name="store",
            command=(sys.executable, "-c", STORE, str(store)),
            ready=lambda started: store.exists(),
        ),
    ]


if __name__ == "__main__":
    layout = Layout(Path(sys.argv[1]))
    lifecycle.supervise(layout, parts(layout), variables={"PATH": "/usr/bin:/bin"}, about={"address": "none"})
