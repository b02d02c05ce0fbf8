"""App bundles: what is built, hashed, approved and sent to the sites.

A bundle is an engine archive (FAB) with the app's own code, its manifest `unica.toml`, and a project file
that is written here. It names a server side that is in no bundle: that side is always ours, and the hub
never unpacks a bundle. Equal folders give equal bytes: entries are stored uncompressed, in order, with a
fixed date.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.federation import adapter
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.contract import sha256

MANIFEST = "unica.toml"
PROJECT = "pyproject.toml"
SERVER_SIDE = "unica_sdk.federation.hub.server:run_job"
"""What every bundle's project file names as its server side: a part of the hub, never of the bundle."""

MAXIMUM_BYTES = 64 * 1024 * 1024
"""The most a bundle may hold once unpacked."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An app as bytes; `id` is the SHA-256 of `content`, `entry` its client side as `module:attribute`."""

    id: str
    content: bytes = field(repr=False)
    manifest: AppManifest
    entry: str


def build(folder: Path) -> Bundle:
    """Build the bundle of one app folder: `unica.toml`, `pyproject.toml` and a Python package.

    The project file is only asked for `tool.flwr.app.components.clientapp` and `project.dependencies`.

    Raises:
        ConfigurationError: a file is missing or malformed, or a link points out of the folder.
    """
    files = _files(folder)
    for name in (MANIFEST, PROJECT):
        if name not in files:
            raise ConfigurationError(f"The app folder has no {name}.", where=str(folder))
    try:
        manifest = AppManifest.model_validate(tomllib.loads(files[MANIFEST].decode()))
        project = tomllib.loads(files[PROJECT].decode())
        entry = str(project["tool"]["flwr"]["app"]["components"]["clientapp"])
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as err:
        raise ConfigurationError(f"The app's description cannot be read: {err}", where=str(folder)) from err
    except KeyError as err:
        raise ConfigurationError(
            f"{PROJECT} does not say where the client side is.",
            where=str(folder),
            hint='Add [tool.flwr.app.components] clientapp = "package.client_app:app".',
        ) from err
    module = entry.partition(":")[0].replace(".", "/")
    if f"{module}.py" not in files and f"{module}/__init__.py" not in files:
        raise ConfigurationError(f"The client side {entry} is not in the folder.", where=str(folder))
    dependencies = project.get("project", {}).get("dependencies", [])
    files[PROJECT] = adapter.toml(_project(manifest, entry, dependencies))
    try:
        content = adapter.build_fab(files)
    except ValueError as err:
        raise ConfigurationError(f"The engine does not take this app: {err}", where=str(folder)) from err
    return Bundle(id=sha256(content), content=content, manifest=manifest, entry=entry)


def read(content: bytes) -> Bundle:
    """Return the bundle that these bytes are, without unpacking it.

    Raises:
        DataError: the bytes are no bundle of ours.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            manifest = AppManifest.model_validate(tomllib.loads(_entry(archive, MANIFEST).decode()))
            project = tomllib.loads(_entry(archive, PROJECT).decode())
        components = project["tool"]["flwr"]["app"]["components"]
        entry, server = str(components["clientapp"]), components["serverapp"]
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, NotImplementedError, RuntimeError) as err:
        raise DataError("These bytes are not an app bundle.", where="bundle") from err
    if server != SERVER_SIDE:
        raise DataError("The bundle brings its own server side.", where="bundle", hint="Build it with UNICA.")
    return Bundle(id=sha256(content), content=content, manifest=manifest, entry=entry)


def read_manifest(content: bytes) -> AppManifest:
    """Return the manifest inside a bundle.

    Raises:
        DataError: the bytes are no bundle of ours.
    """
    return read(content).manifest


def unpack(bundle: Bundle, apps: Path) -> Path:
    """Unpack a bundle under `apps` once and return its folder; a second call finds it there.

    Raises:
        DataError: an entry points out of the folder, or the bundle is larger than it may be.
    """
    home = apps / bundle.id.removeprefix("sha256:")
    if home.is_dir():
        return home
    apps.mkdir(parents=True, exist_ok=True, mode=0o700)
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        _check(archive)
        # Aside and then renamed, so that a folder with the final name is always whole.
        aside = Path(tempfile.mkdtemp(dir=apps, prefix="unpacking-"))
        try:
            archive.extractall(aside)
            os.replace(aside, home)  # noqa: PTH105 - pathlib's replace is the same call
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            if not home.is_dir():
                raise
    return home


def _files(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise ConfigurationError("There is no such app folder.", where=str(folder))
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_symlink():
            raise ConfigurationError("An app folder must not hold links.", where=str(name))
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in name.parts):
            files[name.as_posix()] = path.read_bytes()
    return files


def _project(manifest: AppManifest, entry: str, dependencies: list[str]) -> dict[str, Any]:
    name = manifest.name.replace("_", "-").replace(".", "-")
    return {
        "build-system": {"requires": ["hatchling"], "build-backend": "hatchling.build"},
        "project": {
            "name": name,
            "version": manifest.version,
            "description": manifest.title,
            "license": "Apache-2.0",
            "dependencies": sorted(dependencies),
        },
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "unica",
                    "components": {"serverapp": SERVER_SIDE, "clientapp": entry},
                    # The engine takes only settings that a bundle declares: the job's number is the one.
                    "config": {"job": ""},
                }
            }
        },
    }


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > 1024 * 1024:
        raise ValueError(f"{name} is too large")
    return archive.read(name)


def _check(archive: zipfile.ZipFile) -> None:
    total = 0
    for item in archive.infolist():
        path = PurePosixPath(item.filename)
        link = (item.external_attr >> 16) & 0o170000 == 0o120000
        if path.is_absolute() or ".." in path.parts or "\\" in item.filename or link:
            raise DataError("An entry of the bundle points out of it.", where=item.filename)
        total += item.file_size
    if total > MAXIMUM_BYTES:
        raise DataError("The bundle is larger than a bundle may be.", where="bundle")
