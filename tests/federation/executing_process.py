"""A node that runs an app which sleeps: `python executing_process.py FOLDER`, its bundle in `app.fab`."""

import sys
from pathlib import Path

import numpy as np

from unica_sdk.federation import bundle
from unica_sdk.federation.ports import Cases
from unica_sdk.federation.site.executor import ForkExecutor
from unica_sdk.federation.site.work import Work


def main(folder: Path) -> None:
    """Run the app until this process is killed."""
    cases = Cases(
        images=np.zeros((8, 8, 8), np.float32),
        labels=np.zeros(8, np.uint8),
        held_out=np.zeros(8, np.bool_),
    )
    work = Work(
        task="train",
        bundle=bundle.read((folder / "app.fab").read_bytes()),
        arrays=None,
        parameters={"rate": 0.5, "behaviour": "sleep"},
        round=1,
        seed=0,
        cases=cases,
        seconds=600.0,
    )
    ForkExecutor(folder / "apps")(work, wanted=lambda: True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
