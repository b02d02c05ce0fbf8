"""Where each dataset came from, so that a node can take everything in again, as when its key is changed."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from unica_sdk.errors import ConfigurationError
from unica_sdk.files import write_private
from unica_sdk.schemas.contract import Contract

FILE = "sources.json"


class Source(Contract):
    """One folder as it was last ingested: what to pass to `ingest` to do it again."""

    dataset: str
    folder: str
    title: str
    description: str
    synthetic: bool
    clinical: str | None = None
    mapping: str | None = None


class Sources(Contract):
    """All of a node's."""

    sources: tuple[Source, ...] = ()


def sources_of(home: Path) -> tuple[Source, ...]:
    """Return what was ingested into the node in this folder, in the order of its first time.

    Raises:
        ConfigurationError: the list cannot be read.
    """
    try:
        return Sources.model_validate_json((home / FILE).read_bytes()).sources
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as err:
        raise ConfigurationError("The list of sources cannot be read.", where=str(home / FILE)) from err


def last_source(home: Path, dataset: str, folder: Path) -> Source | None:
    """Return how a folder was last ingested into a dataset; None where it never was.

    Raises:
        ConfigurationError: the list cannot be read.
    """
    there = (dataset, str(folder))
    return next((known for known in sources_of(home) if (known.dataset, known.folder) == there), None)


def remember(home: Path, source: Source) -> None:
    """Keep a source in place of what was known of its dataset and folder; the caller holds the ingest's lock.

    Raises:
        ConfigurationError: the list cannot be read or written.
    """
    known = {(each.dataset, each.folder): each for each in sources_of(home)}
    if known.get((source.dataset, source.folder)) == source:
        return
    known[source.dataset, source.folder] = source
    try:
        write_private(home / FILE, Sources(sources=tuple(known.values())).canonical())
    except OSError as err:
        raise ConfigurationError("The list of sources cannot be written.", where=str(home / FILE)) from err
