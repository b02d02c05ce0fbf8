"""The registry keeps people, and nothing but their own password opens an account."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_config.registry import Registry, hash_password, password_matches
from unica_sdk.errors import ConfigurationError, InvalidRequest, NotFound

PASSWORD = "a long enough password"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "hub" / "registry.json")


def test_add_list_remove(registry: Registry) -> None:
    assert registry.people() == ()
    registry.add("bob", password=PASSWORD, groups=["managers"])
    registry.add("alice", password=PASSWORD, groups=["researchers", "auditors"])
    assert [(one.name, one.groups) for one in registry.people()] == [
        ("alice", ("auditors", "researchers")),
        ("bob", ("managers",)),
    ]
    registry.remove("bob")
    assert registry.check("bob", PASSWORD) is None
    with pytest.raises(NotFound):
        registry.remove("bob")


def test_the_file_is_private_and_holds_no_password(registry: Registry) -> None:
    account = registry.add("alice", password=PASSWORD, groups=["researchers"])
    assert registry.path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in registry.path.read_text()
    assert account.password not in repr(account) + str(account)


def test_an_expired_account_is_shut(registry: Registry) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert registry.add("alice", password=PASSWORD, groups=["researchers"], expires=soon).active()
    assert registry.check("alice", PASSWORD) is not None
    registry.add("alice", password=PASSWORD, groups=["researchers"], expires=datetime(2020, 1, 1, tzinfo=UTC))
    assert registry.active("alice") is None
    assert registry.check("alice", PASSWORD) is None


@pytest.mark.parametrize(
    ("name", "password", "groups"),
    [
        ("", PASSWORD, ["researchers"]),
        ("Alice", PASSWORD, ["researchers"]),
        ("../alice", PASSWORD, ["researchers"]),
        (".alice", PASSWORD, ["researchers"]),
        ("a" * 33, PASSWORD, ["researchers"]),
        ("alice", "short", ["researchers"]),
        ("alice", PASSWORD, []),
        ("alice", PASSWORD, ["admins"]),
    ],
)
def test_what_cannot_be_added(registry: Registry, name: str, password: str, groups: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        registry.add(name, password=password, groups=groups)
    assert not registry.path.exists()


def test_a_naive_expiry_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidRequest, match="time zone"):
        registry.add("alice", password=PASSWORD, groups=["managers"], expires=datetime(2040, 1, 1))


def test_concurrent_additions_are_all_kept(registry: Registry) -> None:
    names = [f"person{i}" for i in range(6)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: registry.add(name, password=PASSWORD, groups=["trainees"]), names))
    assert [one.name for one in registry.people()] == names


@pytest.mark.parametrize("content", ["", "[]", '{"alice": {"name": "alice"}}'])
def test_a_damaged_registry_opens_to_nobody(registry: Registry, content: str) -> None:
    registry.path.parent.mkdir()
    registry.path.write_text(content)
    with pytest.raises(ConfigurationError):
        registry.check("alice", PASSWORD)
    with pytest.raises(ConfigurationError):
        registry.add("alice", password=PASSWORD, groups=["managers"])
    assert registry.path.read_text() == content, "a damaged registry must not be written over"


@settings(max_examples=4)
@given(password=st.text(max_size=40), other=st.text(max_size=40))
def test_only_the_same_password_matches(password: str, other: str) -> None:
    stored = hash_password(password)
    assert password_matches(password, stored)
    assert password_matches(other, stored) == (password == other)


@pytest.mark.parametrize(
    "stored", ["", "plain", "md5$1$1$1$aa$bb", "scrypt$x$8$1$aa$bb", "scrypt$3$8$1$aa$bb"]
)
def test_a_hash_of_another_kind_is_an_error(stored: str) -> None:
    with pytest.raises(ConfigurationError):
        password_matches("x", stored)
