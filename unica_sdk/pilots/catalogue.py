"""The apps that ship with UNICA, as folders to build bundles from."""

from __future__ import annotations

import tomllib
from pathlib import Path

MANIFEST = "unica.toml"


def bundled_apps() -> dict[str, Path]:
    """Return the folder of every app that ships with UNICA, by the name its manifest gives it.

    Example:
        >>> sorted(bundled_apps())
        ['breast-screen']
    """
    found = {}
    for manifest in sorted(Path(__file__).parent.glob(f"*/{MANIFEST}")):
        found[str(tomllib.loads(manifest.read_text())["name"])] = manifest.parent
    return found
