"""From a folder of DICOM and a clinical table to de-identified copies and a published version of the index.

    listing     every file, its size and time; those the ledger knows as they are, are not read again
    scan        header, SHA-256, the rules that one file can break: plain Python, anywhere (`scanning`)
    decode      compressed pixels only, in processes that hold no secret (`pool`)
    copy        de-identified, in processes that hold the site key and decode nothing (`copies`)
    fill        what was decoded goes into the cache at training resolution (`imaging.filling`)
    judge       the rules that only many files can break (`quality.collection`)
    publish     quarantine list and quality report, then the index, swapped in as a whole
    tend        the cache is pruned, and what it still misses is prepared (`imaging.upkeep`)

Killed at any moment, or stopped by a full disk, it leaves the version before; the next run goes on there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.files import locked
from unica_sdk.node.clinical import ClinicalRow, Unmapped, read_clinical
from unica_sdk.node.consent import ConsentRegistry
from unica_sdk.node.deidentify import PROFILE
from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.filling import Filling, preparations_of
from unica_sdk.node.imaging.opening import image_cache
from unica_sdk.node.imaging.preparation import Preparation
from unica_sdk.node.imaging.upkeep import Filled, tend
from unica_sdk.node.index import ClinicalFact, DatasetInfo, Publication, kept_paths, publish
from unica_sdk.node.index_tables import SCHEMA, check_dataset_name
from unica_sdk.node.intake import Intake, Progress, processes_for, to_read
from unica_sdk.node.keys import SiteKey, patient_pseudonym
from unica_sdk.node.ledger import Ledger
from unica_sdk.node.quality import collection, report, rules
from unica_sdk.node.quarantine import Quarantined, write_list
from unica_sdk.node.scan import Skipped, files_of, listed, nameable, shown
from unica_sdk.node.sources import Source, remember
from unica_sdk.node.store import Store
from unica_sdk.schemas.contract import canonical_json

__all__ = ["IngestReport", "Progress", "Skipped", "ingest", "patient_pseudonym"]


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What an ingest did. True numbers and paths: for the site's operator, not for the network.

    Attributes:
        indexed: Images of this folder that are in the index now.
        patients: People they belong to.
        skipped: Files that are in quarantine, each with its reason.
        unmapped: Words outside the vocabulary, with the number of images or patients they stood at.
        version: The version of the index that is current now; the old one where nothing changed.
        without_images: Patients of the clinical table of whom the folder has no image.
        quality: Where the quality report is, a page to open; a JSON file is beside it.
        read: Files that had to be read; the others are as they were at the last ingest.
        cache: What came into the cache of prepared images, and what did not, and why.
    """

    indexed: int
    patients: int
    skipped: tuple[Skipped, ...]
    unmapped: tuple[Unmapped, ...]
    version: int
    without_images: int = 0
    quality: str = ""
    read: int = field(default=0, compare=False)
    cache: Filled = field(default=Filled(), compare=False)


def ingest(
    home: NodeHome,
    folder: Path,
    *,
    dataset: str,
    title: str,
    description: str,
    synthetic: bool,
    clinical: Path | None = None,
    mapping: Path | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    reread: bool = False,
    emptied: bool = False,
    prepare: Sequence[str] | None = None,
) -> IngestReport:
    """Take a folder in as (part of) a dataset and publish the version that results.

    A second ingest of the same folder replaces the first and reads only files whose size or time changed;
    other folders and datasets stay as they are. The folder itself is only ever read.

    Args:
        home: the node.
        folder: where the files are.
        dataset: the dataset's short name.
        title: what people read in the catalogue.
        description: more of that.
        synthetic: whether the images are of nobody.
        clinical: the clinical table, or FHIR bundles, if there are any.
        mapping: which of its columns mean what; see `clinical.read_clinical`.
        progress: called with the number of files done and of all files.
        workers: processes on this machine; by default as many as the work is worth.
        scheduler: the address of a dask scheduler that scans instead, such as `tcp://10.0.0.5:8786`.
        reread: read every file again, as after a disk failed: only its content tells that a bit flipped.
        emptied: take a folder for empty in which the last ingest found files; else that is an error, since
            more folders are not mounted than are emptied.
        prepare: training resolutions at which compressed images go into the cache, as in node.toml, which
            says so by default; empty for none.

    Raises:
        InvalidRequest: the dataset's name or a resolution is not one, or there are no workers.
        ConfigurationError: the folder cannot be listed, is the node's own, or is empty and was not; a
            cluster's worker does not see it; or node.toml cannot be read.
        DataError: the clinical table or the consent registry cannot be read, or the node's disk is full; the
            version before stays. Or the version is published, and what is to go from the cache cannot be
            removed. A full disk of the cache alone is no error: `IngestReport.cache` says so.
        Unavailable: the cluster cannot be reached or did not finish.
        AuditBroken: the audit cannot be written; nothing was published.
    """
    check_dataset_name(dataset)
    folder = folder.resolve()
    if not nameable(folder):
        raise ConfigurationError("The folder's name is not UTF-8.", where=shown(folder))
    if folder.is_relative_to(home.folder.resolve()):
        # Its copies would come in again, of people under a pseudonym of their pseudonym.
        raise ConfigurationError("This folder is the node's own, and no source.", where=str(folder))
    wanted = preparations_of(home.images().prepare if prepare is None else prepare)
    info = DatasetInfo(name=dataset, title=title, description=description, synthetic=synthetic)
    rows, unmapped_terms = read_clinical(clinical, mapping=mapping) if clinical else ([], [])
    with locked(home.folder / ".ingest.lock"):
        key = home.site_key()
        run = _Run(home, folder, info, [_fact(key, row) for row in rows], unmapped_terms, wanted)
        report = run.do(
            leave_out=frozenset([clinical.resolve()]) if clinical else frozenset(),
            progress=progress or (lambda done, total: None),
            workers=workers,
            scheduler=scheduler,
            reread=reread,
            emptied=emptied,
        )
        remember(home.folder, _source(info, folder, clinical, mapping))
        return report


def _source(info: DatasetInfo, folder: Path, clinical: Path | None, mapping: Path | None) -> Source:
    return Source(
        dataset=info.name,
        folder=str(folder),
        title=info.title,
        description=info.description,
        synthetic=info.synthetic,
        clinical=str(clinical.resolve()) if clinical else None,
        mapping=str(mapping.resolve()) if mapping else None,
    )


class _Run:
    """One ingest of one folder into one dataset."""

    def __init__(
        self,
        home: NodeHome,
        folder: Path,
        info: DatasetInfo,
        facts: list[ClinicalFact],
        unmapped_terms: Sequence[Unmapped],
        preparations: Sequence[Preparation],
    ) -> None:
        self.home = home
        self.folder = folder
        self.info = info
        self.facts = facts
        self.unmapped_terms = unmapped_terms
        self.preparations = preparations
        self.key = home.site_key()
        self.store = Store(home.folder / "store")
        # Two folders of one dataset have a list and a report each.
        self.name = f"{info.name}-{self.key.name('folder', str(folder).encode())[:8]}"
        self.skipped: dict[str, Skipped] = {}
        self.page = Path()

    def do(
        self,
        *,
        leave_out: frozenset[Path],
        progress: Progress,
        workers: int | None,
        scheduler: str | None,
        reread: bool,
        emptied: bool,
    ) -> IngestReport:
        # The home may lie within the folder: what the node wrote itself is no source.
        paths = files_of(self.folder, leave_out=leave_out | {self.home.folder.resolve()})
        files = [listed(path) for path in paths if nameable(path)]
        odd = [shown(path) for path in paths if not nameable(path)]
        self.skipped = {path: Skipped(path, "unreadable", "its name is not UTF-8") for path in odd}
        filling = self._filling()
        where = self.home.folder / "ledger.sqlite"
        with Ledger.open(where, dataset=self.info.name, folder=str(self.folder)) as ledger:
            if not paths and not emptied and ledger.knows_files():
                raise ConfigurationError(
                    "The folder is empty, and was not at the last ingest.",
                    where=str(self.folder),
                    hint="Is its disk mounted? Where it is meant to be empty, say so: --emptied.",
                )
            if ledger.begin():
                self._remove_unreferenced(ledger, self.store.names())
            basis = _basis(self.key)
            todo = to_read(ledger, self.store, files, basis=basis)
            todo = files if reread else todo
            with Intake(
                ledger=ledger,
                store=self.store,
                key=self.key,
                key_file=self.home.folder / "site.key",
                basis=basis,
                filling=filling,
                size=processes_for(todo, workers),
            ) as intake:
                intake.take(
                    self.folder, todo, workers=workers, scheduler=scheduler, progress=progress,
                    total=len(files),
                )  # fmt: skip
            result = self._publish(ledger, read=len(todo))
            self._remove_unreferenced(ledger, ledger.orphans())
            ledger.end()
        rest = tend(
            self.home,
            dataset=self.info.name,
            preparations=self.preparations,
            progress=lambda done, of: progress(len(files) + done, len(files) + of),
        )
        return replace(result, cache=Filled(prepared=filling.prepared) + rest)

    def _filling(self) -> Filling:
        consent, dataset = ConsentRegistry.of(self.home).state(), self.info.name
        return Filling(
            image_cache(self.home),
            self.preparations,
            admits=lambda patient: consent.admits(patient, dataset),
        )

    def _publish(self, ledger: Ledger, *, read: int) -> IngestReport:
        for path, reason, detail in ledger.query("SELECT path, reason, detail FROM here WHERE reason <> ''"):
            self.skipped[path] = Skipped(path, reason, detail)
        for check, reason in collection.HARD:
            for finding in check(ledger):
                self.skipped.setdefault(finding.about, Skipped(finding.about, reason, finding.detail))
        images = {
            instance: (path, patient)
            for path, patient, instance in ledger.query("SELECT path, patient, instance FROM kept")
            if path not in self.skipped
        }
        self.home.audit.append(
            actor="operator", action="ingest", subject=self.info.name, folder=str(self.folder),
            images=len(images), skipped=len(self.skipped),
        )  # fmt: skip
        words: Counter[tuple[str, str]] = Counter()
        for (text,) in ledger.query("SELECT words FROM kept WHERE words <> '[]'"):
            words.update((field, word) for field, word in json.loads(text))
        unmapped = sorted([*self.unmapped_terms, *(Unmapped(f, v, n) for (f, v), n in words.items())])

        def explain(published: Publication) -> None:
            for instance in published.duplicates:
                path, _ = images.pop(instance)
                self.skipped[path] = Skipped(path, "duplicate", "the dataset has this image already")
            self._explain(ledger, published.version, unmapped)

        published = publish(
            self.home.index_folder,
            info=self.info,
            source=str(self.folder),
            instances=ledger.images(store=self.store.folder, without=self.skipped),
            clinical=self.facts,
            before_swap=explain,
        )
        seen = {patient for (patient,) in ledger.query("SELECT DISTINCT patient FROM kept")}
        return IngestReport(
            indexed=len(images),
            patients=len({patient for _, patient in images.values()}),
            skipped=self._quarantined(),
            unmapped=tuple(unmapped),
            version=published.version,
            without_images=len({fact.patient for fact in self.facts} - seen),
            quality=str(self.page),
            read=read,
        )

    def _explain(self, ledger: Ledger, version: int, unmapped: Sequence[Unmapped]) -> None:
        """Write the quarantine's list and the quality report, before readers have the version they are of."""
        quarantined = self._quarantined()
        write_list(self.home.folder / "quarantine", self.name, quarantined)
        soft = [finding for check in collection.SOFT for finding in check(ledger)]
        quality = report.build(
            ledger,
            site=self.home.site,
            dataset=self.info.name,
            folder=str(self.folder),
            synthetic=self.info.synthetic,
            version=version,
            quarantined=[Quarantined.of(skipped) for skipped in quarantined],
            findings=[*soft, *collection.clinical(ledger, self.facts)],
            unmapped=[(word.field, word.value, word.count) for word in unmapped],
        )
        self.page = report.write(quality, self.home.folder / "reports" / f"v{version:04d}", self.name)

    def _quarantined(self) -> tuple[Skipped, ...]:
        return tuple(self.skipped[path] for path in sorted(self.skipped))

    def _remove_unreferenced(self, ledger: Ledger, names: Iterable[str]) -> None:
        """Remove copies that no file has any more, once no version of the index refers to them either."""
        asked = list(names)
        free = ledger.unreferenced(asked)
        paths = {f"{self.store.folder}/{name}": name for name in free}
        held = {paths[path] for path in kept_paths(self.home.index_folder, paths)} if paths else set()
        try:
            self.store.remove(name for name in free if name not in held)
        except OSError as err:
            raise DataError("Old copies cannot be removed.", where=str(self.store.folder)) from err
        ledger.adopt(name for name in asked if name not in held)


def _basis(key: SiteKey) -> str:
    """Return what verdicts and copies hang on besides the files: the rules, the profile, the key."""
    return key.name("basis", canonical_json([rules.EDITION, PROFILE, SCHEMA]))


def _fact(key: SiteKey, row: ClinicalRow) -> ClinicalFact:
    return ClinicalFact(
        patient=patient_pseudonym(key, row.patient),
        outcome=row.outcome,
        diagnosis=row.diagnosis,
        sex=row.sex,
        age=row.age,
        extra=json.dumps(row.extra, sort_keys=True) if row.extra else None,
    )
