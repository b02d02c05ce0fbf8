"""The registry of people who may sign in: scrypt hashes, groups and expiry in one JSON file."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from unica_sdk.errors import ConfigurationError, InvalidRequest, NotFound
from unica_sdk.schemas.contract import Contract, Moment, Name, Names

GROUPS = ("researchers", "trainees", "managers", "stewards", "auditors", "operators")
"""Every group a person can be in; what a group may do stands in `hub_config.roles`."""

MIN_PASSWORD = 12
"""The shortest password, in characters."""

# N, r, p: one of OWASP's equivalent minima, about 0.2 s and 32 MiB for each attempt.
_COST = (2**15, 8, 3)
_MAX_MEMORY = 64 * 2**20
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class Account(Contract):
    """One person's entry. `expires` None means until removed."""

    name: Name
    groups: Names
    expires: Moment | None
    added: Moment
    password: str

    def active(self, *, at: datetime | None = None) -> bool:
        """Whether the person may be inside at this moment (now where none is given)."""
        return self.expires is None or (at or datetime.now(UTC)) < self.expires

    def __repr__(self) -> str:
        return f"Account(name={self.name!r}, groups={self.groups!r}, expires={self.expires!r})"

    __str__ = __repr__


_ACCOUNTS = TypeAdapter(dict[str, Account])


class Registry:
    """The people of one environment. Every change replaces the file at once; readers never see half of it.

    Example:
        >>> import tempfile
        >>> registry = Registry(Path(tempfile.mkdtemp()) / "registry.json")
        >>> registry.add("alice", password="correct horse battery", groups=["researchers"]).groups
        ('researchers',)
        >>> registry.check("alice", "correct horse battery").name
        'alice'
        >>> registry.check("alice", "wrong") is None
        True
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(
        self,
        name: str,
        *,
        password: str,
        groups: list[str] | tuple[str, ...],
        expires: datetime | None = None,
    ) -> Account:
        """Add a person, or replace their password, groups and expiry.

        Raises:
            InvalidRequest: the name, a group, the expiry or the password's length is not allowed.
            ConfigurationError: the registry cannot be read or written.
        """
        _check_new(name, password, groups, expires)
        account = Account(
            name=name,
            groups=tuple(groups),
            expires=expires,
            added=datetime.now(UTC),
            password=hash_password(password),
        )
        self._change(lambda accounts: {**accounts, name: account})
        return account

    def remove(self, name: str) -> None:
        """Remove a person; their tokens and servers stop being accepted within seconds.

        Raises:
            NotFound: there is no such person.
        """

        def without(accounts: dict[str, Account]) -> dict[str, Account]:
            if name not in accounts:
                raise NotFound(f"Nobody called {name} is registered.", where=str(self.path))
            return {key: account for key, account in accounts.items() if key != name}

        self._change(without)

    def people(self) -> tuple[Account, ...]:
        """Return everybody, in order of name.

        Raises:
            ConfigurationError: the file is not a registry. A missing file is an empty one.
        """
        return tuple(account for _, account in sorted(self._read().items()))

    def active(self, name: str) -> Account | None:
        """Return the person if they are registered and their account has not expired."""
        account = self._read().get(name)
        return account if account and account.active() else None

    def check(self, name: str, password: str) -> Account | None:
        """Return the person if the password is theirs; the time it takes does not tell why not."""
        account = self.active(name)
        matches = password_matches(password, account.password if account else _nobody())
        return account if matches else None

    def _read(self) -> dict[str, Account]:
        try:
            return _ACCOUNTS.validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as err:
            # The cause would show the hashes: name the file only.
            raise ConfigurationError(
                "The registry of people cannot be read.",
                where=str(self.path),
                hint="Restore it from a backup, or remove it and add the people again.",
            ) from (err if isinstance(err, OSError) else None)

    def _change(self, change: Callable[[dict[str, Account]], dict[str, Account]]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self.path.with_suffix(".lock")):
                _replace(self.path, change(self._read()))
        except OSError as err:
            raise ConfigurationError(
                "The registry of people cannot be written.",
                where=str(self.path),
                hint="The folder must belong to the user that the hub runs as.",
            ) from err


def hash_password(password: str) -> str:
    """Return a salted scrypt hash with its costs: `scrypt$N$r$p$salt$hash`."""
    salt = os.urandom(16)
    derived = _derive(password, salt, *_COST)
    parts = (base64.b64encode(part).decode() for part in (salt, derived))
    return "$".join(("scrypt", *map(str, _COST), *parts))


def password_matches(password: str, stored: str) -> bool:
    """Whether the password gives the stored hash, compared in constant time.

    Raises:
        ConfigurationError: the stored text is not a hash this version knows.
    """
    try:
        kind, n, r, p, salt, expected = stored.split("$")
        if kind != "scrypt":
            raise ValueError(kind)
        derived = _derive(password, base64.b64decode(salt), int(n), int(r), int(p))
        return hmac.compare_digest(derived, base64.b64decode(expected))
    except ValueError:
        raise ConfigurationError(
            "A password in the registry is not stored as it should be.", hint="Add the person again."
        ) from None


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, dklen=32, maxmem=_MAX_MEMORY
    )


@lru_cache(maxsize=1)
def _nobody() -> str:
    """The hash that unknown names are compared with."""
    return hash_password(base64.b64encode(os.urandom(16)).decode())


def _check_new(
    name: str, password: str, groups: list[str] | tuple[str, ...], expires: datetime | None
) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot be a sign-in name.",
            hint="Use up to 32 small letters, digits, dots, hyphens; begin with a letter or digit.",
        )
    unknown = sorted(set(groups) - set(GROUPS))
    if unknown or not groups:
        what = f"There is no group {', '.join(unknown)}." if unknown else "A person needs a group."
        raise InvalidRequest(what, hint=f"The groups are {', '.join(GROUPS)}.")
    if len(password) < MIN_PASSWORD:
        raise InvalidRequest(f"The password is shorter than {MIN_PASSWORD} characters.")
    if expires is not None and expires.tzinfo is None:
        raise InvalidRequest("The expiry has no time zone.", hint="Give it in UTC.")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, accounts: Mapping[str, Account]) -> None:
    document = {name: account.model_dump(mode="json") for name, account in sorted(accounts.items())}
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".registry-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
