"""The Basic Application Confidentiality Profile: one action for every attribute of PS3.15 Table E.1-1.

The table is the one that the package `dicom-anonymizer` (Kitware, BSD) keeps in step with the standard. Only
its data file is read: none of the package's code, command line or dependencies is loaded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Final

from unica_sdk.errors import ConfigurationError

EDITION: Final = "2026c"
"""The edition of PS3.15 whose basic profile is applied."""

_PACKAGE: Final = "dicomanonymizer"
_REPEATING: Final = 4
"""Rows for repeating groups (50xx, 60xx) have four fields; `plan` handles those groups whole."""


class Action(StrEnum):
    """What is done to an attribute, once the choices of the table are made.

    The table leaves a choice where conformance decides (X/Z, X/D, Z/D, X/Z/D); which object definition a file
    follows is not known here, so the choice is the last, which suits every definition; but where a sequence
    may go it goes (X/D), since an item of dummies suits none.
    """

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    DUMMY_OR_NONE = "X/D"
    RENAME = "U"
    ENTER = "X/Z/U*"


_LISTS: Final = {
    "X_TAGS": Action.REMOVE,
    "Z_TAGS": Action.EMPTY,
    "X_Z_TAGS": Action.EMPTY,
    "D_TAGS": Action.DUMMY,
    "Z_D_TAGS": Action.DUMMY,
    "X_D_TAGS": Action.DUMMY_OR_NONE,
    "X_Z_D_TAGS": Action.DUMMY_OR_NONE,
    "U_TAGS": Action.RENAME,
    "X_Z_U_STAR_TAGS": Action.ENTER,
}


@cache
def basic_profile() -> Mapping[int, Action]:
    """Return the action of every attribute of the basic profile, by its tag as a number.

    Raises:
        ConfigurationError: the package with the table is missing or is not what it was.

    Example:
        >>> basic_profile()[0x00100010]
        <Action.EMPTY: 'Z'>
    """
    module = _load()
    actions: dict[int, Action] = {}
    for name, action in _LISTS.items():
        rows = getattr(module, name, None)
        if not rows:
            raise ConfigurationError(
                "The de-identification table has another form than expected.", where=name
            )
        for row in rows:
            if len(row) < _REPEATING:
                actions[row[0] << 16 | row[1]] = action
    return MappingProxyType(actions)


def _load() -> ModuleType:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError(
            "The de-identification table is not installed.",
            where=_PACKAGE,
            hint="Install UNICA's `node` extra.",
        )
    folder = Path(next(iter(found.submodule_search_locations)))
    path = folder / "dicom_anonymization_databases" / f"dicomfields_{EDITION}.py"
    spec = importlib.util.spec_from_file_location(f"_ps3_15_{EDITION}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigurationError("The de-identification table is not there.", where=path.name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
