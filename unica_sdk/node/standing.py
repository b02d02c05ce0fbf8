"""The measures that stand: made once for a published version, paid for, and repeated until the next one.

A record's numbers are answers like any other. Were they measured anew whenever something changed, two records
could be compared for nothing, and an opt-out, which makes a version of its own, would show its own effect. So
they are measured for another published version, other declarations of consent or other settings of the
policy, and the site's budget pays each time; where it cannot, the old ones stand. What people say of
themselves acts on counts, freezes and jobs at once, and on the records with the next version.
"""

from __future__ import annotations

import logging
from typing import Self

from pydantic import ValidationError

from unica_sdk.errors import NotFound
from unica_sdk.files import private_folder, write_private
from unica_sdk.node.admitted import AdmittedIndex, AdmittedViews
from unica_sdk.node.budget import Budget, asked_by_records
from unica_sdk.node.catalogue import Measures, measure
from unica_sdk.node.consent import ConsentRegistry
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import DatasetInfo, current_version
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.contract import Contract, canonical_json
from unica_sdk.schemas.policy import SitePolicy

_log = logging.getLogger(__name__)


class Measured(Contract):
    """One dataset: how the ingest named it, and what the index says of it."""

    name: str
    title: str
    description: str
    synthetic: bool
    measures: Measures

    @property
    def info(self) -> DatasetInfo:
        """How the ingest named it."""
        return DatasetInfo(
            name=self.name, title=self.title, description=self.description, synthetic=self.synthetic
        )


class Standing(Contract):
    """What was measured, and what from; no dataset where nothing was ingested or paid for yet."""

    basis: str = ""
    datasets: tuple[Measured, ...] = ()


class StandingMeasures:
    """A site's measures, kept in `records/measures.json`; safe in threads.

    Args:
        home: The node.
        views: The index as consent leaves it.
        budget: What pays for measures that are made anew.
    """

    def __init__(self, home: NodeHome, views: AdmittedViews, budget: Budget) -> None:
        self._home, self._views, self._budget = home, views, budget
        self._path = home.folder / "records" / "measures.json"
        self._said = ""

    @classmethod
    def of(cls, home: NodeHome) -> Self:
        """Return a node's, with views and a budget of their own."""
        return cls(home, AdmittedViews(home), Budget(home.folder))

    def current(self) -> Standing:
        """Return the measures that stand, made anew where they are due.

        Raises:
            ConfigurationError: the policy cannot be read.
            DataError: the index, the registry of consent or the budget cannot be read.
            AuditBroken: the audit cannot be written, so that no new ones are made.
        """
        policy = self._home.policy()
        kept = self._kept()
        if kept is not None and kept.basis == self._basis(current_version(self._home.index_folder), policy):
            return kept
        try:
            with self._views.open() as index:
                basis = self._basis(index.file, policy)
                if not self._paid(index, policy):
                    self._say(basis)
                    return kept if kept is not None else Standing()
                made = Standing(basis=basis, datasets=self._measured(index, policy))
        except NotFound:
            return Standing()
        private_folder(self._path.parent)
        write_private(self._path, made.canonical())
        return made

    def _measured(self, index: AdmittedIndex, policy: SitePolicy) -> tuple[Measured, ...]:
        site, key = self._home.site, self._home.site_key()
        return tuple(
            Measured(
                name=info.name,
                title=info.title,
                description=info.description,
                synthetic=info.synthetic,
                measures=measure(index, info, site=site, policy=policy, key=key),
            )
            for info in index.datasets()
        )

    def _kept(self) -> Standing | None:
        try:
            return Standing.model_validate_json(self._path.read_bytes())
        except (FileNotFoundError, ValidationError):
            # Or those of an earlier release: the same version has the same numbers and is paid for.
            return None

    def _basis(self, published: str, policy: SitePolicy) -> str:
        """Return what shapes the records: of the policy, what shapes numbers, and no approval of an app."""
        modes = ConsentRegistry.of(self._home).state().modes
        declared = {name: mode.value for name, mode in modes.items()}
        settings = [policy.threshold, policy.rounding, policy.noise, vocabulary.VERSION]
        return canonical_json([published, declared, settings]).decode()

    def _paid(self, index: AdmittedIndex, policy: SitePolicy) -> bool:
        """Take the price before anything is counted: records cut short are made again for nothing."""
        names = [dataset.name for dataset in index.datasets()]
        charge = self._budget.charge(
            asked_by_records(names, index.version),
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
        return charge.allowed

    def _say(self, basis: str) -> None:
        """Tell the site's own log, once for each change, that the records lag."""
        if self._said != basis:
            self._said = basis
            _log.warning("The budget of questions does not pay for new records: the old ones stand.")
