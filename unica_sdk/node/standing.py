"""The records that stand: made once for a published version, paid for, and repeated until the next one.

A record's numbers are answers like any other. Were they made anew whenever something changed, two records
could be compared for nothing, and an opt-out, which makes a version of its own, would show its own effect.
So they are made anew for another published version or other settings of the policy, and for a change of
consent alone once in a budget's period; the site's budget pays each time. Where it cannot, the old ones
stand. Records may lag therefore; counts, freezes and jobs never do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pydantic import ValidationError

from unica_sdk.errors import NotFound
from unica_sdk.files import write_private
from unica_sdk.node.admitted import AdmittedIndex, AdmittedViews
from unica_sdk.node.budget import DAY, Asked, Budget
from unica_sdk.node.catalogue import COST, records
from unica_sdk.node.consent import ConsentRegistry
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import current_version
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.contract import Contract, canonical_json
from unica_sdk.schemas.policy import SitePolicy

FILE = "records.json"

_log = logging.getLogger(__name__)


class Standing(Contract):
    """Records as they were made, and from what: the published file, consent's revision, the settings."""

    published: str
    revision: int
    settings: str
    made: float
    records: tuple[DatasetRecord, ...]


class StandingRecords:
    """A site's records, kept in `records.json`; safe in threads.

    Args:
        home: The node.
        views: The index as consent leaves it.
        budget: What pays for records that are made anew.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        home: NodeHome,
        views: AdmittedViews,
        budget: Budget,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._home, self._views, self._budget, self._clock = home, views, budget, clock
        self._said: tuple[int, str] | None = None

    def records(self) -> tuple[DatasetRecord, ...]:
        """Return the records that stand, made anew where they are due; none where nothing was ingested.

        Raises:
            ConfigurationError: the policy cannot be read.
            DataError: the index, the registry of consent or the budget cannot be read.
            AuditBroken: the audit cannot be written, so that no new ones are made.
        """
        policy = self._home.policy()
        kept = self._kept()
        if kept is not None and not self._due(kept, policy):
            return kept.records
        try:
            with self._views.open() as index:
                if not self._paid(index, policy):
                    return kept.records if kept is not None else ()
                made = records(index, site=self._home.site, policy=policy, key=self._home.site_key())
                standing = Standing(
                    published=index.file,
                    revision=index.revision,
                    settings=_settings(policy),
                    made=self._clock(),
                    records=made,
                )
        except NotFound:
            return ()
        write_private(self._home.folder / FILE, standing.canonical())
        return made

    def _kept(self) -> Standing | None:
        try:
            return Standing.model_validate_json((self._home.folder / FILE).read_bytes())
        except (FileNotFoundError, ValidationError):
            # Records of an earlier release: the same version has the same numbers, and costs nothing again.
            return None

    def _due(self, kept: Standing, policy: SitePolicy) -> bool:
        published = current_version(self._home.index_folder)
        if (kept.published, kept.settings) != (published, _settings(policy)):
            return True
        if kept.revision == ConsentRegistry.of(self._home).revision():
            return False
        return self._clock() >= kept.made + policy.budget_days * DAY

    def _paid(self, index: AdmittedIndex, policy: SitePolicy) -> bool:
        """Take the price before anything is counted: records cut short are made again for nothing."""
        names = [dataset.name for dataset in index.datasets()]
        charge = self._budget.charge(
            Asked(
                question=canonical_json(["records", *names]), version=index.version, cost=COST * len(names)
            ),
            payer=None,
            policy=policy,
            record=lambda: self._home.audit.append(
                actor="node",
                action="records",
                subject=self._home.site,
                datasets=names,
                index_version=index.version,
            ),
        )
        if not charge.allowed:
            self._say(index.version, policy)
        return charge.allowed

    def _say(self, version: int, policy: SitePolicy) -> None:
        """Tell the site's own log, once for each version and policy, that the records lag."""
        if self._said != (version, _settings(policy)):
            self._said = (version, _settings(policy))
            _log.warning("The budget of questions does not pay for new records: the old ones stand.")


def _settings(policy: SitePolicy) -> str:
    """Return what shapes a record besides the index."""
    shape = [policy.threshold, policy.rounding, policy.noise, vocabulary.VERSION]
    return canonical_json(shape).decode()
