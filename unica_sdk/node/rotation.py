"""Changing the site key: every pseudonym, every copy and every seal anew, and an end to old snapshots.

    begin     a new key and the registry under it lie in rotation/; rotation.json says so: no way back
    swap      both take their places; snapshots and prepared images go
    empty     the index gets a version without anybody, so that versions go on counting
    ingest    every folder that was ingested before is taken in again under the new key
    end       rotation.json goes

While rotation.json is there the node answers nothing, trains nothing and records no consent. Killed at any
moment, before it was written nothing has happened, and after it another `rotate` goes on where it ended.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pydantic import ValidationError

from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.files import locked, sync, write_private
from unica_sdk.node.clinical import read_mapping
from unica_sdk.node.consent import FILE, ROTATION, ConsentRegistry, rotating
from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.opening import image_cache
from unica_sdk.node.index import Index, current_version, start_anew
from unica_sdk.node.ingest import IngestReport, ingest
from unica_sdk.node.keys import SITE_KEY_BYTES, SiteKey
from unica_sdk.node.sources import Source, sources_of
from unica_sdk.schemas.contract import Contract

STAGE = "rotation"
KEY = "site.key"
CLEARED = ("snapshots", "quarantine")
"""Folders of the home whose content hangs on the old key, as the cache does; an ingest makes it again."""


class _Plan(Contract):
    """How far it is; kept in rotation.json."""

    emptied: bool = False


def rotate(
    home: NodeHome, *, progress: Callable[[str, int, int], None] | None = None, workers: int | None = None
) -> list[IngestReport]:
    """Change the site key, or go on with a change that was cut short; return what each ingest did.

    Args:
        home: the node.
        progress: called with a folder and the number of its files done and of all.
        workers: processes of each ingest.

    Raises:
        ConfigurationError: a folder, a table or a mapping is not there any more, or the index has a folder
            that nobody knows how to ingest again; nothing was done.
        DataError: the registry or the index cannot be read or written; another `rotate` goes on.
        AuditBroken: the audit cannot be written; nothing was done.
    """
    with locked(home.folder / ".rotation.lock"):
        if not rotating(home.folder):
            _begin(home)
        return _finish(home, progress or (lambda folder, done, total: None), workers)


def _begin(home: NodeHome) -> None:
    with locked(home.folder / ".ingest.lock"):
        sources = sources_of(home.folder)
        _check(home, sources)
        registry = ConsentRegistry.of(home)
        there = registry.revision() > 0
        home.audit.append(actor="operator", action="key_rotate", subject=home.site, sources=len(sources))
        stage = home.folder / STAGE
        if stage.exists():
            shutil.rmtree(stage)
        stage.mkdir(mode=0o700)
        secret = os.urandom(SITE_KEY_BYTES)
        write_private(stage / KEY, secret)
        rekeyed: AbstractContextManager[None] = nullcontext()
        if there:
            rekeyed = registry.rekeyed(SiteKey(secret), stage / FILE)
        with rekeyed:
            if there:
                sync(stage / FILE)
            sync(stage)
            sync(home.folder)
            write_private(home.folder / ROTATION, _Plan().canonical())
            _swap(home)


def _check(home: NodeHome, sources: tuple[Source, ...]) -> None:
    known = {(source.dataset, source.folder) for source in sources}
    lost = [folder for dataset, folder in _indexed(home) if (dataset, folder) not in known]
    for source in sources:
        named = [source.folder, source.clinical, source.mapping]
        lost += [name for name in named if name is not None and not Path(name).exists()]
        if source.mapping is not None and source.mapping not in lost:
            read_mapping(Path(source.mapping))
    if lost:
        raise ConfigurationError(
            "Not everything in the index could be ingested again, so the key stays.",
            where=", ".join(sorted(set(lost))[:5]),
            hint="Put the folders back, or ingest them once more from where they are now.",
        )


def _swap(home: NodeHome) -> None:
    """Put the new key and registry into their places; does no harm twice."""
    stage = home.folder / STAGE
    for name in (FILE, KEY):
        if (stage / name).exists():
            (stage / name).replace(home.folder / name)
    sync(home.folder)
    image_cache(home).clear()
    for name in CLEARED:
        folder = home.folder / name
        if folder.is_dir():
            for child in folder.iterdir():
                shutil.rmtree(child) if child.is_dir() else child.unlink()


def _finish(
    home: NodeHome, progress: Callable[[str, int, int], None], workers: int | None
) -> list[IngestReport]:
    marker = home.folder / ROTATION
    try:
        plan = _Plan.model_validate_json(marker.read_bytes())
    except (OSError, ValidationError) as err:
        raise DataError("The plan of the key's change cannot be read.", where=str(marker)) from err
    with locked(home.folder / ".ingest.lock"):
        _swap(home)
        if not plan.emptied:
            if current_version(home.index_folder):
                start_anew(home.index_folder)
            plan = plan.model_copy(update={"emptied": True})
            write_private(marker, plan.canonical())
        # As they are now: somebody may have ingested one more after this was cut short.
        sources = sources_of(home.folder)
    reports = []
    for source in sources:
        reports.append(
            ingest(
                home,
                Path(source.folder),
                dataset=source.dataset,
                title=source.title,
                description=source.description,
                synthetic=source.synthetic,
                clinical=Path(source.clinical) if source.clinical else None,
                mapping=Path(source.mapping) if source.mapping else None,
                progress=lambda done, total, folder=source.folder: progress(folder, done, total),  # type: ignore[misc]
                workers=workers,
            )
        )
    home.audit.append(actor="operator", action="key_rotated", subject=home.site, ingested=len(reports))
    shutil.rmtree(home.folder / STAGE, ignore_errors=True)
    marker.unlink()
    sync(home.folder)
    return reports


def _indexed(home: NodeHome) -> list[tuple[str, str]]:
    if not current_version(home.index_folder):
        return []
    with Index.open(home.index_folder) as index:
        return index.rows(
            "SELECT DISTINCT dataset, folder FROM instance"
            " UNION SELECT DISTINCT dataset, folder FROM clinical"
        )
