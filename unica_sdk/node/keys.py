"""A site's secrets: the key of its pseudonyms, of its signatures and of its engine connection."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from unica_sdk.errors import ConfigurationError
from unica_sdk.files import write_new

SITE_KEY_BYTES = 32

_REPLACE = (
    "Restore it from a backup, or remove it, make a new one and have the hub's operator enrol the site again."
)


class SiteKey:
    """The secret under which a site names its patients, images and snapshots.

    Each use has its own purpose word, so that a name made for one thing tells nothing about another.

    Example:
        >>> key = SiteKey(bytes(32))
        >>> key.name("patient", b"4711") == key.name("patient", b"4711")
        True
        >>> key.name("patient", b"4711") == key.name("instance", b"4711")
        False
        >>> key
        SiteKey(…)
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SITE_KEY_BYTES:
            raise ConfigurationError(f"A site key has {SITE_KEY_BYTES} bytes, not {len(secret)}.")
        self._secret = secret

    def __repr__(self) -> str:
        return "SiteKey(…)"

    def digest(self, purpose: str, value: bytes) -> bytes:
        """Return the 32 bytes of HMAC-SHA-256 over the purpose and the value."""
        return hmac.new(self._secret, purpose.encode() + b"\0" + value, hashlib.sha256).digest()

    def name(self, purpose: str, value: bytes) -> str:
        """Return a pseudonym: the first 128 bits of the digest, in hex."""
        return self.digest(purpose, value)[:16].hex()


def plain(identifier: str) -> str:
    r"""Return a patient's identifier as every name is made from it: blanks and padding do not count.

    Example:
        >>> plain(" 4711\0")
        '4711'
    """
    return identifier.replace("\0", "").strip()


def patient_pseudonym(key: SiteKey, patient: str) -> str:
    """Return the name under which the index knows a patient; only this site can make it again.

    It is the one in the copies: `deidentify.Engine.pseudonym`.
    """
    return key.name("patient", plain(patient).encode())


def make_key_files(folder: Path) -> None:
    """Write site.key, signing.key and engine.key, each readable by its owner alone; existing ones are kept.

    A site key that is lost cannot be made again: every pseudonym and snapshot hangs on it.
    """
    write_new(folder / "site.key", os.urandom(SITE_KEY_BYTES))
    write_new(folder / "signing.key", _pem(Ed25519PrivateKey.generate()))
    write_new(folder / "engine.key", _openssh(ec.generate_private_key(ec.SECP384R1())))


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """Return the Ed25519 key that signs the node's short-lived tokens.

    Raises:
        ConfigurationError: the file is missing or holds something else.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as err:
        raise ConfigurationError(
            "The node's signing key cannot be read.", where=str(path), hint=_REPLACE
        ) from err
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError("The node's signing key is not an Ed25519 key.", where=str(path))
    return key


def read_engine_public_key(path: Path) -> str:
    """Return the public half of the engine key in OpenSSH form, as the hub enrols it.

    Raises:
        ConfigurationError: the file is missing or holds something else.
    """
    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as err:
        raise ConfigurationError(
            "The node's engine key cannot be read.", where=str(path), hint=_REPLACE
        ) from err
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode()


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _openssh(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
