"""What the rows of `node.py` are measured on and with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from _collection import write_images
from _harness import PeerProcess
from pydicom.data import get_testdata_files

SIDE, IMAGES = 512, 256
"""Of the generated images, and how many: as few as sixty-four where fewer files are asked for."""

NO_DATA = "no --data and no UNICA_BENCH_DATA"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run.

    Attributes:
        folder: a temporary folder.
        files: generated DICOM files, shuffled.
        data: a folder of outside data, if there is one.
        peers: the peers that have an environment of their own.
        repetitions: turns of each contest.
        instances: rows of the large index.
    """

    folder: Path
    files: tuple[Path, ...]
    data: Path | None
    peers: PeerProcess
    repetitions: int
    instances: int

    def images(self) -> list[Path]:
        """Return generated files of 512² and 16 bits, which are written when they are first asked for."""
        folder = self.folder / "images"
        if folder.exists():
            return sorted(folder.iterdir())
        return write_images(folder, files=max(64, min(IMAGES, len(self.files))), side=SIDE)

    def outside(self) -> list[Path]:
        """Return the files of the outside data; none where there is no such folder."""
        return sorted(path for path in self.data.rglob("*") if path.is_file()) if self.data else []

    def without_data(self) -> str:
        """Return why there are no outside files."""
        return NO_DATA if self.data is None else "no files in --data"


def bundled() -> list[Path]:
    """Return the files that pydicom carries."""
    return sorted(path for path in map(Path, get_testdata_files()) if path.is_file())
