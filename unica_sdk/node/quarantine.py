"""The quarantine: which files of a hospital's folder are not in the index, and why.

It is a list and nothing else. The files stay where they are, as they are: the node never moves, changes or
deletes what is the hospital's, and does not copy it either, since a copy of what could not be de-identified
would be one more place with identified data. A file that is repaired leaves the list with the next ingest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from unica_sdk.errors import DataError
from unica_sdk.files import private_folder, write_private
from unica_sdk.node.scan import RULE_OF, Reason, Skipped


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """One file, the hard rule that it failed, and how."""

    path: str
    rule: str
    reason: Reason
    detail: str

    @classmethod
    def of(cls, skipped: Skipped) -> Quarantined:
        """Return the entry of a file that was left out.

        Example:
            >>> Quarantined.of(Skipped("/pacs/1.dcm", "truncated")).rule
            'integrity.pixels'
        """
        return cls(
            path=skipped.path, rule=RULE_OF[skipped.reason], reason=skipped.reason, detail=skipped.detail
        )


def write_list(folder: Path, name: str, files: Iterable[Skipped]) -> Path:
    """Replace the list of one dataset's folder: a JSON object to a line, readable by its owner alone.

    Raises:
        OSError: it cannot be written.
    """
    private_folder(folder)
    lines = [json.dumps(asdict(Quarantined.of(file)), ensure_ascii=False) + "\n" for file in files]
    path = folder / f"{name}.jsonl"
    write_private(path, "".join(lines).encode())
    return path


def read_list(path: Path) -> list[Quarantined]:
    """Return what is in a list.

    Raises:
        DataError: it is not there, or is no such list.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            return [Quarantined(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as err:
        raise DataError("The quarantine's list cannot be read.", where=str(path)) from err
