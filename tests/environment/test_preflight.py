"""What is missing is said, with what to do about it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from unica_sdk.environment import preflight, service_user, software
from unica_sdk.environment.files import read_json, write_json
from unica_sdk.environment.layout import LONGEST_SOCKET, Layout
from unica_sdk.environment.ports import RANGE, Ports
from unica_sdk.errors import ConfigurationError


@pytest.fixture
def taken_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_named_with_its_holder(taken_port: int) -> None:
    with pytest.raises(ConfigurationError) as raised:
        preflight.check_port(taken_port)
    assert f"Port {taken_port} is taken by python" in raised.value.message
    assert f"(process {os.getpid()})" in raised.value.message
    assert f"--port {taken_port + 1}" in raised.value.hint


def test_a_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="state folder cannot be written") as raised:
        Layout(tmp_path / "file" / "state").create()
    assert "--state" in raised.value.hint


def test_a_state_folder_whose_sockets_would_have_too_long_a_path() -> None:
    with pytest.raises(ConfigurationError, match="too long for a unix socket"):
        Layout(Path("/") / ("x" * LONGEST_SOCKET)).create()


def test_the_state_folder_is_closed_to_others(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    layout.create()
    folders = [path for path in (layout.state, *layout.state.rglob("*")) if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_the_wrong_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "WANTED_PYTHON", (3, 99))
    with pytest.raises(ConfigurationError, match=r"UNICA needs 3\.99") as raised:
        preflight.check_python()
    assert "python3.99-venv" in raised.value.hint


def test_no_proxy_and_no_node_runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(software, "SOFTWARE", tmp_path)
    with pytest.raises(ConfigurationError, match="proxy is not installed") as raised:
        software.proxy_command()
    assert "make run" in raised.value.hint
    monkeypatch.setattr(software, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="no node runtime"):
        software.node_binary()


def test_the_node_runtime_is_the_program_and_not_its_wrapper() -> None:
    assert software.node_binary().read_bytes()[:4] == b"\x7fELF"


def test_everything_that_is_wrong_is_said_at_once(
    tmp_path: Path, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "SOFTWARE", tmp_path)
    with pytest.raises(ConfigurationError) as raised:
        preflight.require(Layout(tmp_path / "state"), port=taken_port)
    assert "proxy is not installed" in raised.value.message
    assert f"Port {taken_port} is taken" in raised.value.message


def test_a_folder_that_others_may_not_enter_is_found(tmp_path: Path) -> None:
    open_folder, closed = tmp_path / "open", tmp_path / "open" / "closed"
    (closed / "deep").mkdir(parents=True)
    open_folder.chmod(0o755)
    closed.chmod(0o700)
    tmp_path.chmod(0o755)
    above = service_user.closed_folder(tmp_path)
    assert service_user.closed_folder(closed / "deep") == (above or closed)
    assert service_user.closed_folder(Path("/usr/bin")) is None


def test_internal_ports_differ_and_stay_out_of_the_way_of_connections(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    ports = Ports.choose(RANGE[0])
    ports.write(layout)
    assert Ports.read(layout) == ports
    values = (read_json(layout.settings) or {}).values()
    assert len(set(values)) == len(values)
    assert all(port in RANGE for port in values)


def test_a_damaged_file_of_the_state_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    assert read_json(path) is None
    write_json(path, {"public": 8000})
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("{")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_json(path)
