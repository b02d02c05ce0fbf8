"""A site's SYNTHETIC collection on disk: one DICOM file per patient, a clinical table, a marker."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unica_sdk.errors import ConfigurationError, InvalidRequest
from unica_sdk.pilots.phantom.dicom import encode
from unica_sdk.pilots.phantom.people import Person, generator, people
from unica_sdk.pilots.phantom.physics import Bench, mammogram
from unica_sdk.pilots.phantom.profiles import PROFILES, SiteProfile
from unica_sdk.schemas.contract import canonical_json, sha256

GENERATOR = 1
"""Counts the versions of the phantom; a new one makes old collections be written afresh."""

MARKER = "collection.json"

NOTICE = "SYNTHETIC: phantom mammograms made by UNICA. No patient stands behind any of them."


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A complete synthetic collection.

    Attributes:
        site: the site it is for.
        title: what to call it; it says that it is synthetic.
        folder: holds everything below.
        dicom: the folder of DICOM files and nothing else: what a node ingests.
        clinical: the clinical table (patient_id, sex, age, diagnosis, outcome).
        patients: how many women, with one image each.
        bytes: size of all files.
        digest: SHA-256 over the files' names and contents.
        written: files written by this call; 0 where all were there.
    """

    site: str
    title: str
    folder: Path
    dicom: Path
    clinical: Path
    patients: int
    bytes: int
    digest: str
    written: int


def write_collection(
    folder: Path, *, site: str, patients: int = 800, seed: int = 2026, workers: int | None = None
) -> Collection:
    """Write a site's synthetic mammograms and clinical table, or find them there.

    Equal arguments give equal files. What an interrupted call left is kept and completed; a finished
    collection is recognised by its marker, its names and its sizes, without reading it again. A collection
    made with other arguments in the same folder is replaced.

    Args:
        folder: made if it is not there; it must be empty or hold such a collection.
        site: one of `PROFILES`.
        patients: women at this site; 10 to 99,999.
        seed: of all random numbers.
        workers: threads; by default one for each core. NumPy works outside the interpreter's lock.

    Raises:
        InvalidRequest: an unknown site, or patients out of range.
        ConfigurationError: the folder holds something else, or cannot be written.
    """
    if site not in PROFILES:
        raise InvalidRequest(
            f"There is no phantom for the site {site!r}.",
            where="site",
            hint=f"Use one of: {', '.join(PROFILES)}.",
        )
    if not 10 <= patients <= 99_999:
        raise InvalidRequest(f"{patients} patients are not 10 to 99,999.", where="patients")
    profile = PROFILES[site]
    recipe = _recipe(profile, patients=patients, seed=seed)
    try:
        marker = _begin(folder, recipe)
        women = people(profile, patients=patients, seed=seed)
        if marker.get("files") and _complete(folder, marker["files"]):
            return _found(folder, profile, marker, written=0)
        return _write(folder, profile, women, marker=marker, seed=seed, workers=workers)
    except OSError as err:
        raise ConfigurationError(
            f"The phantom collection cannot be written: {err.strerror or err}.",
            where=str(folder),
            hint="Choose a folder that can be written, with 200 MB free for 800 patients.",
        ) from err


def _recipe(profile: SiteProfile, *, patients: int, seed: int) -> str:
    return sha256(
        canonical_json(
            {"generator": GENERATOR, "profile": asdict(profile), "patients": patients, "seed": seed}
        )
    )


def _begin(folder: Path, recipe: str) -> dict[str, Any]:
    """Return the marker of this recipe, having cleared away what another recipe left."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MARKER
    if path.is_file():
        marker = _read(path)
        if marker.get("recipe") == recipe:
            return marker
        # Only files of the form written here are removed: the marker says that they are ours.
        for stale in (folder / "dicom").glob("SYN-*/*.dcm"):
            stale.unlink()
    elif any(folder.iterdir()):
        raise ConfigurationError(
            "The folder holds files that are no phantom collection.",
            where=str(folder),
            hint="Choose an empty folder.",
        )
    marker = {"notice": NOTICE, "recipe": recipe}
    _replace(path, _text(marker))
    return marker


def _read(path: Path) -> dict[str, Any]:
    try:
        marker: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as err:
        raise ConfigurationError(
            "The collection's marker is damaged.", where=str(path), hint="Remove the collection's folder."
        ) from err
    return marker


def _write(
    folder: Path,
    profile: SiteProfile,
    women: tuple[Person, ...],
    *,
    marker: dict[str, Any],
    seed: int,
    workers: int | None,
) -> Collection:
    bench, known = Bench.of(profile), marker.get("files", {})

    def one(person: Person) -> tuple[str, int, str, bool]:
        path = folder / _name(person)
        fresh = not path.is_file() or path.stat().st_size != known.get(_name(person), path.stat().st_size)
        if fresh:
            # A stream of its own, so that what is drawn of the woman and of her image are apart.
            rng = generator(profile, seed, person.number).spawn(1)[0]
            data = encode(mammogram(rng, bench, profile, person), profile, person, seed=seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, data)
        else:
            data = path.read_bytes()
        return _name(person), len(data), hashlib.sha256(data).hexdigest(), fresh

    with ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="phantom") as pool:
        made = list(pool.map(one, women))
    table = _clinical(women)
    _replace(folder / "clinical.csv", table)
    files = {name: size for name, size, _, _ in made} | {"clinical.csv": len(table)}
    content = {name: digest for name, _, digest, _ in made}
    content["clinical.csv"] = hashlib.sha256(table).hexdigest()
    marker = {
        "notice": NOTICE,
        "recipe": marker["recipe"],
        "site": profile.site,
        "digest": sha256(canonical_json(content)),
        "files": files,
    }
    _replace(folder / MARKER, _text(marker))
    return _found(folder, profile, marker, written=sum(fresh for *_, fresh in made))


def _found(folder: Path, profile: SiteProfile, marker: dict[str, Any], *, written: int) -> Collection:
    return Collection(
        site=profile.site,
        title=f"{profile.title}: phantom mammograms (SYNTHETIC)",
        folder=folder,
        dicom=folder / "dicom",
        clinical=folder / "clinical.csv",
        patients=len(marker["files"]) - 1,
        bytes=sum(marker["files"].values()),
        digest=marker["digest"],
        written=written,
    )


def _complete(folder: Path, files: dict[str, int]) -> bool:
    try:
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except FileNotFoundError:
        return False


def _name(person: Person) -> str:
    return f"dicom/{person.patient_id}/{person.laterality}{person.view}.dcm"


def _clinical(women: tuple[Person, ...]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("patient_id", "sex", "age", "diagnosis", "outcome"))
    for person in women:
        writer.writerow((person.patient_id, "female", person.age, person.diagnosis, person.outcome))
    return out.getvalue().encode()


def _text(marker: dict[str, Any]) -> bytes:
    return (json.dumps(marker, indent=1) + "\n").encode()


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, so that what an interruption leaves can be kept."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        aside.chmod(0o644)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
