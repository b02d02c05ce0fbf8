"""Key files of the gateway: its own ticket key, and the steward's public key that it checks permits with.

A file holds 32 raw bytes in hex. The steward's private key is never here.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from unica_sdk.errors import ConfigurationError


def ensure_ticket_key(path: Path) -> Ed25519PrivateKey:
    """Return the gateway's ticket key, making it (0600) where there is none.

    Raises:
        ConfigurationError: the file cannot be written or read, or others can read it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ticket.key"
        >>> ensure_ticket_key(path).private_bytes_raw() == ensure_ticket_key(path).private_bytes_raw()
        True
    """
    if not path.exists():
        _write_new(path, Ed25519PrivateKey.generate().private_bytes_raw())
    return read_ticket_key(path)


def read_ticket_key(path: Path) -> Ed25519PrivateKey:
    """Return the gateway's ticket key.

    Raises:
        ConfigurationError: it cannot be read, or others can read it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as err:
        raise _unreadable(path) from err
    if mode & 0o077:
        raise ConfigurationError(
            "Others can read the gateway's ticket key.",
            where=str(path),
            hint="Make a new one and have the sites pin its public key: this one may be known.",
        )
    return Ed25519PrivateKey.from_private_bytes(_read(path))


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Return a public key, such as the steward's.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return Ed25519PublicKey.from_public_bytes(_read(path))


def write_public_key(path: Path, key: Ed25519PublicKey) -> None:
    """Write a public key where `read_public_key` finds it."""
    path.write_text(key.public_bytes_raw().hex() + "\n", encoding="ascii")


def _read(path: Path) -> bytes:
    try:
        raw = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as err:
        raise _unreadable(path) from err
    if len(raw) != 32:
        raise _unreadable(path)
    return raw


def _unreadable(path: Path) -> ConfigurationError:
    return ConfigurationError(
        "A key of the gateway cannot be read.",
        where=str(path),
        hint="It is one line of 64 hex digits, owned by the service user.",
    )


def _write_new(path: Path, raw: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(raw.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError as err:
        raise ConfigurationError(
            "The gateway's ticket key cannot be written.",
            where=str(path),
            hint="The folder must belong to the service user.",
        ) from err
