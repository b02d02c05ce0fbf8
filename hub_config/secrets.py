"""The tokens by which the parts of one environment know each other, each in a file of its own."""

from __future__ import annotations

import os
import secrets as random
import stat
from dataclasses import dataclass, field
from pathlib import Path

from unica_sdk.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class HubSecrets:
    """Tokens of the hub's services and of its proxy; they never show in a repr.

    Example:
        >>> HubSecrets(gateway="a", operator="b", proxy="c")
        HubSecrets()
    """

    gateway: str = field(repr=False)
    operator: str = field(repr=False)
    proxy: str = field(repr=False)


def token_file(state: Path, name: str) -> Path:
    """Return the path of one token: `gateway`, `operator` or `proxy`."""
    return state / "hub" / f"{name}.token"


def ensure(state: Path) -> HubSecrets:
    """Return the environment's tokens, making those that do not exist yet (files 0600, folder 0700).

    Safe to call from the supervisor and the hub at the same time: whoever comes first writes.

    Raises:
        ConfigurationError: a token file is empty, unreadable, or open to other users of the machine.
    """
    return HubSecrets(
        gateway=_ensure(token_file(state, "gateway")),
        operator=_ensure(token_file(state, "operator")),
        proxy=_ensure(token_file(state, "proxy")),
    )


def _ensure(path: Path) -> str:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _write_new(path, random.token_hex(32))
        mode = stat.S_IMODE(path.stat().st_mode)
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigurationError(
            "A token of the hub cannot be read or written.",
            where=str(path),
            hint="The folder must belong to the user that the hub runs as.",
        ) from err
    if mode & 0o077:
        raise ConfigurationError(
            "A token of the hub is open to other users.", where=str(path), hint="Delete it and start again."
        )
    if not token:
        raise ConfigurationError(
            "A token of the hub is empty.", where=str(path), hint="Delete it and start again."
        )
    return token


def _write_new(path: Path, token: str) -> None:
    """Write a whole file or none: a second process never reads half a token."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{random.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(file.fileno())
        # link, unlike rename, fails where the other process was first.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
