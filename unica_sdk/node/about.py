"""What people say of a dataset, for the catalogue: two small TOML files in the node's home.

    about.toml            what is true of every dataset of the site: publisher, contact
    about/DATASET.toml    what is true of this one; it goes before the site's

They are read afresh whenever a record is made, so that a corrected word needs no ingest. No number stands in
them: numbers come from the index.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from unica_sdk.errors import ConfigurationError, UnknownTerm
from unica_sdk.files import private_folder, write_private
from unica_sdk.node.home import NodeHome
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.catalogue import AccessBody
from unica_sdk.schemas.contract import Contract, Names


def _term(field: vocabulary.Field) -> AfterValidator:
    def check(word: str) -> str:
        try:
            return vocabulary.recognised(field, word).term if word else ""
        except UnknownTerm as err:
            raise ValueError(f"{err.message} {err.hint}") from err

    return AfterValidator(check)


class About(Contract):
    """What a data holder says of a dataset; empty where nothing is said."""

    title: str = Field(default="", max_length=300, description="What people read first, in English.")
    description: str = Field(
        default="", max_length=10_000, description="What the data are, of whom, and what they are good for."
    )
    keywords: Names = Field(
        default=(), max_length=50, description="Words to be found by, besides the data's."
    )
    publisher: str = Field(
        default="", max_length=300, description="Who makes the data available; the site's name without it."
    )
    contact: str = Field(
        default="", max_length=300, description="Whom to ask: a shared mailbox, or a page with https://."
    )
    provenance: str = Field(
        default="", max_length=5_000, description="Where the data come from and what was done to them."
    )
    collection_method: Annotated[str, _term("collection_method")] = Field(
        default="", description="How they were put together: `unica vocabulary list collection_method`."
    )
    legal_basis: Annotated[str, _term("legal_basis")] = Field(
        default="", description="Why they may be processed: `unica vocabulary list legal_basis`."
    )
    condition: Annotated[str, _term("diagnosis")] = Field(
        default="", description="The cancer that the data are about: `unica vocabulary list diagnosis`."
    )
    access_body: AccessBody | None = Field(
        default=None, description="The health data access body with its contact, once one is designated."
    )


SITE_FILE = "about.toml"
FOLDER = "about"


def read_about(home: NodeHome, dataset: str) -> About:
    """Return what is said of a dataset: its own file before the site's.

    Raises:
        ConfigurationError: a file is not TOML, or says something that cannot be.
    """
    said: dict[str, object] = {}
    for path in _files(home, dataset):
        if path.exists():
            said.update({name: value for name, value in load(path) if value})
    return About.model_validate(said)


def load(path: Path) -> About:
    """Read one file.

    Raises:
        ConfigurationError: it cannot be read, is not TOML, or says something that cannot be.
    """
    try:
        return About.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as err:
        raise ConfigurationError(
            "The description cannot be read.", where=str(path), hint=err.strerror or ""
        ) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigurationError(f"The description is not TOML: {err}", where=str(path)) from err
    except ValidationError as err:
        first = err.errors()[0]
        setting = ".".join(map(str, first["loc"]))
        raise ConfigurationError(
            f"The description's {setting}: {first['msg'].removeprefix('Value error, ')}",
            where=str(path),
            hint="It may have " + ", ".join(About.model_fields) + ": `unica node about`.",
        ) from err


def keep(home: NodeHome, dataset: str, about: Path) -> None:
    """Copy a description into the node's home, as it stands, comments included.

    Raises:
        ConfigurationError: it cannot be read, or says something that cannot be.
    """
    load(about)
    target = _files(home, dataset)[-1]
    private_folder(target.parent)
    write_private(target, about.read_bytes())


def say(home: NodeHome, dataset: str | None, about: About) -> None:
    """Write what is said of a dataset, or of all of the site's, unless that is what the file says already."""
    target = home.folder / SITE_FILE if dataset is None else _files(home, dataset)[-1]
    text = text_of(about).encode()
    if not target.exists() or target.read_bytes() != text:
        private_folder(target.parent)
        write_private(target, text)


def state(home: NodeHome, dataset: str) -> tuple[tuple[int, int], ...]:
    """Return by what a later look sees that a file changed: its size and time."""
    found = []
    for path in _files(home, dataset):
        try:
            status = path.stat()
            found.append((status.st_size, status.st_mtime_ns))
        except FileNotFoundError:
            found.append((-1, 0))
    return tuple(found)


def text_of(about: About) -> str:
    """Return a description as TOML, each setting under what it means; what is empty is left for people to
    fill.

    Example:
        >>> print(text_of(About(title="Mammograms")).splitlines()[3])
        title = "Mammograms"
    """
    lines = ["# What people say of a dataset, for the catalogue. Numbers are none of it.", ""]
    for name, field in About.model_fields.items():
        if name == "access_body":
            continue
        # JSON's strings and arrays are TOML's, DEL excepted.
        value = json.dumps(getattr(about, name), ensure_ascii=False).replace("\x7f", "\\u007f")
        lines += [f"# {field.description}", f"{name} = {value}", ""]
    lines.append(f"# {About.model_fields['access_body'].description}")
    body = about.access_body
    lines += ["# [access_body]", '# name = ""', '# contact = ""'] if body is None else [
        "[access_body]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in body)
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _files(home: NodeHome, dataset: str) -> tuple[Path, Path]:
    return home.folder / SITE_FILE, home.folder / FOLDER / f"{dataset}.toml"
