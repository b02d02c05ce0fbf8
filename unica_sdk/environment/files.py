"""Small files that are either whole or absent."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from unica_sdk.errors import ConfigurationError


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; readers see the old one or the new one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON for its owner alone."""
    write_private(path, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file, or None where there is no such file.

    Raises:
        ConfigurationError: the file is there and cannot be read as a JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        raise ConfigurationError(
            "A file of the state folder cannot be read.",
            where=str(path),
            hint="Run this as the user that runs UNICA; if the file is damaged, `unica down` and remove it.",
        ) from err
    if not isinstance(value, dict):
        raise ConfigurationError("A file of the state folder is not what it should be.", where=str(path))
    return value
