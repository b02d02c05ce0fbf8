"""The records that a node pushes: checked before they leave, and of each the last good one kept.

records/measures.json   what the index said of each dataset, and what that was measured from: `standing`
records/good.json       the records that passed
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.files import locked, private_folder, write_private
from unica_sdk.node import about as abouts
from unica_sdk.node.catalogue import described
from unica_sdk.node.home import NodeHome
from unica_sdk.node.standing import Standing, StandingMeasures
from unica_sdk.records.validation import problems, required
from unica_sdk.schemas.catalogue import DatasetRecord, RecordProblem
from unica_sdk.schemas.contract import Contract, canonical_json, sha256

T = TypeVar("T", bound=Contract)

_log = logging.getLogger(__name__)

ABOUT = "about.toml"
"""What a problem with a description is listed under; it is no property of the profile."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a node has to push.

    Attributes:
        records: A good record of each dataset that has one, maybe an older one.
        drafts: The record of each dataset as it stands, good or not.
        problems: What is wrong with the drafts; only those that are `required` keep a record back.
    """

    records: tuple[DatasetRecord, ...] = ()
    drafts: tuple[DatasetRecord, ...] = ()
    problems: tuple[RecordProblem, ...] = ()

    def state_of(self, dataset: str) -> str:
        """Return how a draft stands: `good`, `older` where an older record is pushed for it, or `none`."""
        if not any(p.required and p.dataset == dataset for p in self.problems):
            return "good"
        return "older" if any(record.id == dataset for record in self.records) else "none"


class _Good(Contract):
    """What `good.json` holds."""

    records: tuple[DatasetRecord, ...] = ()


class RecordKeeper:
    """Makes a node's records, checks them, and keeps the last good ones.

    Asking again costs a look at whether anything changed: the index's version, the registry of consent, the
    policy, or what people say.
    """

    def __init__(self, home: NodeHome, *, standing: StandingMeasures | None = None) -> None:
        self.home = home
        self._standing = standing or StandingMeasures.of(home)
        self._folder = home.folder / "records"
        self._seen: tuple[str, Published] | None = None

    def current(self) -> Published:
        """Return what there is to push now.

        Raises:
            ConfigurationError: the policy cannot be read, or is impossible.
            DataError: the index, the registry of consent or the kept records cannot be read.
            AuditBroken: the audit cannot be written; nothing new is published.
        """
        standing = self._standing.current()
        signs = self._signs(standing)
        if self._seen is None or self._seen[0] != signs:
            self._seen = (signs, self._publish(standing))
        return self._seen[1]

    def _signs(self, standing: Standing) -> str:
        """Return by what a change would be seen."""
        names = sorted(path.stem for path in (self.home.folder / abouts.FOLDER).glob("*.toml"))
        said = [[name, *abouts.state(self.home, name)] for name in ("", *names)]
        return sha256(canonical_json([standing.digest(), said]))

    def _publish(self, standing: Standing) -> Published:
        private_folder(self._folder)
        with locked(self._folder / ".lock"):
            drafts, wrong = self._drafts(standing)
            found = problems(drafts)
            # Where a description cannot be read, what is missing for that reason needs no saying.
            all_wrong = {**found, **wrong}
            records = self._sift({draft.id: draft for draft in drafts}, all_wrong)
        told = tuple(problem for dataset in sorted(all_wrong) for problem in all_wrong[dataset])
        return Published(records=records, drafts=drafts, problems=told)

    def _drafts(
        self, standing: Standing
    ) -> tuple[tuple[DatasetRecord, ...], dict[str, tuple[RecordProblem, ...]]]:
        """Put the records together; a description that cannot be read is a problem of that record alone."""
        enrolment = self.home.enrolment()
        drafts: list[DatasetRecord] = []
        wrong: dict[str, tuple[RecordProblem, ...]] = {}
        for one in standing.datasets:
            dataset = f"{self.home.site}/{one.name}"
            try:
                said = abouts.read_about(self.home, one.name)
            except ConfigurationError as err:
                said = abouts.About()
                wrong[dataset] = (RecordProblem(dataset=dataset, property=ABOUT, text=str(err)),)
            drafts.append(
                described(
                    one.measures,
                    one.info,
                    said,
                    site=self.home.site,
                    name=enrolment.name,
                    country=enrolment.country,
                )
            )
        return tuple(drafts), wrong

    def _sift(
        self,
        drafts: Mapping[str, DatasetRecord],
        wrong: Mapping[str, tuple[RecordProblem, ...]],
    ) -> tuple[DatasetRecord, ...]:
        """Return the good drafts, and for each other the last good record; tell the audit and the log."""
        path = self._folder / "good.json"
        kept = _read(path, _Good) or _Good()
        last = {record.id: record for record in kept.records}
        chosen: list[DatasetRecord] = []
        for dataset, draft in drafts.items():
            bad = required(wrong.get(dataset, ()))
            if not bad:
                chosen.append(draft)
                if last.get(dataset) != draft:
                    self._say("record", dataset, index_version=draft.index_version, tier=draft.tier)
                continue
            kept_back = [problem.property for problem in bad]
            older = last.get(dataset)
            version = older.index_version if older else None
            self._say("record_kept_back", dataset, problems=kept_back, pushed_version=version)
            for problem in bad:
                _log.warning("The record of %s is not published: %s", dataset, problem.text)
            if older is not None:
                chosen.append(older)
        good = _Good(records=tuple(chosen))
        if good != kept:
            write_private(path, good.canonical())
        return good.records

    def _say(self, action: str, dataset: str, **detail: object) -> None:
        self.home.audit.append(actor="node", action=action, subject=dataset, **detail)


def _read(path: Path, kind: type[T]) -> T | None:
    """Return what a file holds; None before it is first written."""
    if not path.exists():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as err:
        raise DataError(
            "The kept records cannot be read.", where=str(path), hint="Remove the file: it is made again."
        ) from err
