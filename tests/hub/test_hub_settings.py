"""Settings name what is missing or wrong; tokens are made once and stay private."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hub_config import secrets
from hub_config.settings import HubSettings
from unica_sdk.errors import ConfigurationError

COMPLETE = {
    "UNICA_STATE": "/var/lib/unica",
    "UNICA_HUB_PORT": "8000",
    "UNICA_HUB_API_PORT": "8001",
    "UNICA_PROXY_API_PORT": "8002",
    "UNICA_DASHBOARDS_PORT": "8003",
    "UNICA_SERVICE_PORT": "8004",
    "UNICA_PROXY_COMMAND": '["node", "proxy"]',
}


def test_complete_environment() -> None:
    settings = HubSettings.from_environment({**COMPLETE, "UNICA_ENVIRONMENT": "demo"})
    assert settings.hub_port == 8000
    assert settings.proxy_command == ("node", "proxy")
    assert settings.inherited() == settings.inherited_by_services() == {"UNICA_ENVIRONMENT": "demo"}
    assert settings.hub_api == "http://127.0.0.1:8001/hub/api"


def test_services_end_with_the_hub_and_workspaces_do_not() -> None:
    settings = HubSettings.from_environment({**COMPLETE, "UNICA_ENVIRONMENT": "demo", "UNICA_PART": "hub"})
    assert settings.inherited() == {"UNICA_ENVIRONMENT": "demo"}
    assert settings.inherited_by_services() == {"UNICA_ENVIRONMENT": "demo", "UNICA_PART": "hub"}


@pytest.mark.parametrize("name", COMPLETE)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        HubSettings.from_environment({key: value for key, value in COMPLETE.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UNICA_STATE", "var/lib"),
        ("UNICA_HUB_PORT", "0"),
        ("UNICA_HUB_PORT", "65536"),
        ("UNICA_HUB_API_PORT", "-1"),
        ("UNICA_SERVICE_PORT", "eighty"),
        ("UNICA_PROXY_COMMAND", "node proxy"),
        ("UNICA_PROXY_COMMAND", "[]"),
        ("UNICA_PROXY_COMMAND", '["node", 1]'),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as trouble:
        HubSettings.from_environment({**COMPLETE, name: value})
    assert trouble.value.where == name


def test_tokens_are_made_once_and_private(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: secrets.ensure(tmp_path), range(8)))
    assert len(made) == 1, "two processes got different tokens"
    (tokens,) = made
    assert len({tokens.gateway, tokens.operator, tokens.proxy}) == 3
    files = list((tmp_path / "hub").iterdir())
    assert sorted(file.name for file in files) == ["gateway.token", "operator.token", "proxy.token"]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert tokens.gateway not in repr(tokens)


def test_a_token_open_to_others_is_refused(tmp_path: Path) -> None:
    secrets.ensure(tmp_path)
    secrets.token_file(tmp_path, "proxy").chmod(0o644)
    with pytest.raises(ConfigurationError, match="open to other users"):
        secrets.ensure(tmp_path)


def test_an_empty_token_is_refused(tmp_path: Path) -> None:
    secrets.ensure(tmp_path)
    secrets.token_file(tmp_path, "operator").write_text("")
    with pytest.raises(ConfigurationError, match="empty"):
        secrets.ensure(tmp_path)
