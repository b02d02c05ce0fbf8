"""From a folder of DICOM and a clinical table to a published version of the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from unica_sdk.errors import ConfigurationError, InvalidRequest
from unica_sdk.node.clinical import ClinicalRow, Unmapped, read_clinical
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import ClinicalFact, DatasetInfo, InstanceRow, publish
from unica_sdk.node.keys import SiteKey
from unica_sdk.node.pool import WorkerPool, size_for
from unica_sdk.node.scan import Instance, Skipped, files_of, nameable, shown
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.contract import Name

Progress = Callable[[int, int], None]
"""Called with the number of files read so far and the number of all files."""

OTHER = "OT"
"""The modality of images whose own is outside the vocabulary: they are counted, never dropped."""

BODY_PARTS = {"BREAST": "breast", "CHEST": "lung", "LUNG": "lung", "PROSTATE": "prostate"}
"""Body Part Examined (DICOM PS3.16 annex L) to the vocabulary; anything else is left empty and listed."""

SEXES = {"F": "female", "M": "male", "O": "unknown"}
"""Patient's Sex (DICOM PS3.3 C.7.1.1) to the vocabulary."""


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What an ingest did. True numbers and paths: for the site's operator, not for the network.

    Attributes:
        indexed: Images of this folder that are in the index now.
        patients: People they belong to.
        skipped: Files that are not in the index, each with its reason.
        unmapped: Words outside the vocabulary, with the number of images or patients they stood at.
        version: The version of the index that is current now; the old one where nothing changed.
        without_images: Patients of the clinical table of whom the folder has no image.
    """

    indexed: int
    patients: int
    skipped: tuple[Skipped, ...]
    unmapped: tuple[Unmapped, ...]
    version: int
    without_images: int = 0


def ingest(
    home: NodeHome,
    folder: Path,
    *,
    dataset: str,
    title: str,
    description: str,
    synthetic: bool,
    clinical: Path | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Index a folder as (part of) a dataset and publish the version that results.

    A second ingest of the same folder replaces the first; other folders and datasets stay as they are.

    Raises:
        InvalidRequest: the dataset's name is not one.
        ConfigurationError: the folder cannot be listed.
        DataError: the clinical table cannot be read, or the index cannot be written.
        AuditBroken: the audit cannot be written; nothing was published.
    """
    _check_name(dataset)
    folder = folder.resolve()
    if not nameable(folder):
        raise ConfigurationError("The folder's name is not UTF-8.", where=shown(folder))
    rows, unmapped_terms = read_clinical(clinical) if clinical else ([], [])
    key = home.site_key()
    found, skipped = _scan(folder, clinical, progress)
    words: Counter[tuple[str, str]] = Counter()
    instances = [_instance_row(key, instance, words) for instance in found]
    facts = [_fact(key, row) for row in rows]
    home.audit.append(
        actor="operator", action="ingest", subject=dataset, folder=str(folder), images=len(instances),
        skipped=len(skipped),
    )  # fmt: skip
    info = DatasetInfo(name=dataset, title=title, description=description, synthetic=synthetic)
    published = publish(home.index_folder, info=info, source=str(folder), instances=instances, clinical=facts)
    left_out = set(published.duplicates)
    patients = {row.patient for row in instances if row.path not in left_out}
    skipped += [Skipped(path, "duplicate", "the dataset has this image already") for path in left_out]
    return IngestReport(
        indexed=len(instances) - len(left_out),
        patients=len(patients),
        skipped=tuple(sorted(skipped, key=lambda skip: skip.path)),
        unmapped=tuple(sorted([*unmapped_terms, *(Unmapped(f, v, n) for (f, v), n in words.items())])),
        version=published.version,
        without_images=len({fact.patient for fact in facts} - {row.patient for row in instances}),
    )


def _check_name(dataset: str) -> None:
    try:
        TypeAdapter(Name).validate_python(dataset)
    except ValidationError as err:
        raise InvalidRequest(
            f"{dataset!r} is not a dataset's name.",
            where="dataset",
            hint="Use lower-case letters, digits, dots, dashes and underscores.",
        ) from err


def _scan(
    folder: Path, clinical: Path | None, progress: Progress | None
) -> tuple[list[Instance], list[Skipped]]:
    leave_out = frozenset([clinical.resolve()]) if clinical else frozenset[Path]()
    paths = files_of(folder, leave_out=leave_out)
    readable = [path for path in paths if nameable(path)]
    found: list[Instance] = []
    skipped = [
        Skipped(shown(path), "unreadable", "its name is not UTF-8") for path in paths if not nameable(path)
    ]
    with WorkerPool(size=size_for(len(readable))) as pool:
        for done, result in enumerate(pool.inspect(readable), 1):
            if isinstance(result, Instance):
                found.append(result)
            else:
                skipped.append(result)
            if progress is not None:
                progress(done, len(readable))
    return found, skipped


def _instance_row(key: SiteKey, found: Instance, words: Counter[tuple[str, str]]) -> InstanceRow:
    modality = found.modality if found.modality in vocabulary.terms("modality") else OTHER
    if found.modality != modality:
        words["modality", found.modality or "(none)"] += 1
    return InstanceRow(
        path=found.path,
        patient=patient_pseudonym(key, found.patient),
        study=key.name("study", found.study.encode()),
        series=key.name("series", found.series.encode()),
        instance=key.name("instance", found.instance.encode()),
        modality=modality,
        body_part=_mapped("body_part", found.body_part, BODY_PARTS, words),
        manufacturer=found.manufacturer or None,
        sex=_mapped("sex", found.sex, SEXES, words),
        age=found.age,
        rows=found.rows,
        columns=found.columns,
        frames=found.frames,
        samples=found.samples,
        transfer_syntax=found.transfer_syntax,
    )


def patient_pseudonym(key: SiteKey, patient: str) -> str:
    """Return the name under which the index knows a patient; only this site can make it again."""
    return key.name("patient", patient.strip().encode())


def _mapped(field: str, word: str, table: dict[str, str], words: Counter[tuple[str, str]]) -> str | None:
    if word and word not in table:
        words[field, word] += 1
    return table.get(word)


def _fact(key: SiteKey, row: ClinicalRow) -> ClinicalFact:
    return ClinicalFact(
        patient=patient_pseudonym(key, row.patient),
        outcome=row.outcome,
        diagnosis=row.diagnosis,
        sex=row.sex,
        age=row.age,
    )
