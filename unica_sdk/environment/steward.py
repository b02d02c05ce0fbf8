"""The data steward's own work: a key, and permits signed with it. The hub never holds this key."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.signing import SignedDocument


def make_key(path: Path) -> Ed25519PrivateKey:
    """Return the key in a file, making it (PKCS 8, readable by its owner alone) where there is none.

    Raises:
        ConfigurationError: the file cannot be read or written, or holds something else.
    """
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    except FileExistsError:
        pass
    except OSError as err:
        raise ConfigurationError(f"The key cannot be written: {err.strerror}.", where=str(path)) from err
    return read_key(path)


def read_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file.

    Raises:
        ConfigurationError: the file cannot be read or holds something else.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as err:
        raise ConfigurationError("The steward's key cannot be read.", where=str(path)) from err
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError("The steward's key is not an Ed25519 key.", where=str(path))
    return key


def read_public_key(text: str) -> Ed25519PublicKey:
    """Return the public key that 64 hex digits stand for.

    Raises:
        ConfigurationError: they do not.
    """
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text.strip()))
    except ValueError as err:
        raise ConfigurationError(
            "This is no Ed25519 public key.", hint="It is 64 hexadecimal digits; see `unica permit key`."
        ) from err


def read_permit(path: Path) -> Permit:
    """Return the permit that a JSON file describes, unsigned.

    Raises:
        DataError: it does not describe one; the message says which field.
    """
    try:
        return Permit.model_validate_json(path.read_bytes())
    except OSError as err:
        raise DataError(f"The file cannot be read: {err.strerror}.", where=str(path)) from err
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise DataError(f"This is not a permit: {field}: {first['msg']}.", where=str(path)) from err


def read_signed(path: Path) -> SignedDocument:
    """Return the signed document in a JSON file, without verifying it.

    Raises:
        DataError: it holds something else.
    """
    try:
        return SignedDocument.model_validate_json(path.read_bytes())
    except OSError as err:
        raise DataError(f"The file cannot be read: {err.strerror}.", where=str(path)) from err
    except ValidationError as err:
        raise DataError("This is not a signed document.", where=str(path)) from err
