"""Bundles: the same folder gives the same bytes, and nothing in them escapes or speaks for the hub."""

import io
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
from world import APPS

from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.federation import adapter, bundle
from unica_sdk.federation.bundle import Bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(APPS / "threshold", tmp_path / "an app_folder"))


def test_equal_folders_give_equal_bytes_wherever_they_are(app: Bundle, folder: Path) -> None:
    (folder / "threshold_app" / "__pycache__").mkdir(exist_ok=True)
    (folder / "threshold_app" / "__pycache__" / "junk.pyc").write_bytes(b"junk")
    assert bundle.build(folder).content == app.content


def test_one_changed_byte_gives_another_identity(app: Bundle, folder: Path) -> None:
    with (folder / "threshold_app" / "client_app.py").open("a") as file:
        file.write("\n")
    assert bundle.build(folder).id != app.id


def test_the_manifest_is_read_back_from_the_bytes(app: Bundle) -> None:
    assert bundle.read_manifest(app.content) == app.manifest
    assert bundle.read(app.content) == app


def test_the_server_side_is_ours_and_not_in_the_bundle(app: Bundle) -> None:
    names = zipfile.ZipFile(io.BytesIO(app.content)).namelist()
    assert not [name for name in names if "server" in name]
    assert bundle.SERVER_SIDE.startswith("unica_sdk.federation.hub.server:")


def test_a_folder_cannot_bring_a_server_side_of_its_own(folder: Path) -> None:
    project = folder / "pyproject.toml"
    project.write_text(project.read_text() + 'serverapp = "threshold_app.server:app"\n')
    (folder / "threshold_app" / "server.py").write_text("app = None\n")
    assert bundle.SERVER_SIDE in _project(bundle.build(folder).content)


def test_bytes_with_another_server_side_are_no_bundle(app: Bundle) -> None:
    files = {name: zipfile.ZipFile(io.BytesIO(app.content)).read(name) for name in _names(app.content)}
    text = files["pyproject.toml"].decode().replace(bundle.SERVER_SIDE, "evil.server:app")
    content = adapter.build_fab(files | {"pyproject.toml": text.encode()})
    with pytest.raises(DataError, match="server side"):
        bundle.read(content)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\0" * 1000])
def test_other_bytes_are_no_bundle(content: bytes) -> None:
    with pytest.raises(DataError):
        bundle.read(content)


@pytest.mark.parametrize("name", ["unica.toml", "pyproject.toml"])
def test_a_missing_description_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ConfigurationError, match=name):
        bundle.build(folder)


def test_a_malformed_manifest_is_told(folder: Path) -> None:
    with (folder / "unica.toml").open("a") as file:
        file.write("\nunknown_table = 1\n")
    with pytest.raises(ConfigurationError):
        bundle.build(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "threshold_app" / "data.toml").symlink_to("/etc/hostname")
    with pytest.raises(ConfigurationError, match="links"):
        bundle.build(folder)


def test_unpacking_twice_gives_one_folder(app: Bundle, tmp_path: Path) -> None:
    home = bundle.unpack(app, tmp_path / "apps")
    assert (home / "unica.toml").is_file()
    assert bundle.unpack(app, tmp_path / "apps") == home
    assert [path.name for path in (tmp_path / "apps").iterdir()] == [app.id.removeprefix("sha256:")]


@pytest.mark.parametrize("entry", ["../escaped.py", "/tmp/escaped.py", "a/../../escaped.py", "link"])  # noqa: S108
def test_nothing_is_unpacked_outside_of_the_folder(app: Bundle, tmp_path: Path, entry: str) -> None:
    buffer = io.BytesIO(app.content)
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo(entry)
        if entry == "link":
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "../..")
    evil = bundle.read(buffer.getvalue())
    with pytest.raises(DataError, match="points out"):
        bundle.unpack(evil, tmp_path / "apps")
    assert list((tmp_path / "apps").iterdir()) == []


def _names(content: bytes) -> list[str]:
    return [n for n in zipfile.ZipFile(io.BytesIO(content)).namelist() if not n.startswith(".info")]


def _project(content: bytes) -> str:
    return zipfile.ZipFile(io.BytesIO(content)).read("pyproject.toml").decode()
