"""Key files of the gateway: its own ticket key, and the steward's public key that it checks permits with.

A file holds 32 raw bytes in hex. The steward's private key is never here.
"""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from unica_sdk.errors import ConfigurationError
from unica_sdk.files import write_new, write_private


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
    try:
        write_new(path, _line(Ed25519PrivateKey.generate().private_bytes_raw()))
    except OSError as err:
        raise ConfigurationError(
            "The gateway's ticket key cannot be written.",
            where=str(path),
            hint="The folder must belong to the service user.",
        ) from err
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
    write_private(path, _line(key.public_bytes_raw()))


def _line(raw: bytes) -> bytes:
    return raw.hex().encode() + b"\n"


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
