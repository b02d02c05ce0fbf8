r"""Signed documents: Ed25519 over a domain and canonical JSON.

A signature covers ``b"unica:" + kind + b"\0" + payload``, so that a signed ticket can never pass as a
signed permit. Source: RFC 8032 (Ed25519), by the `cryptography` package.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, ClassVar, TypeVar

from pydantic import ValidationError

from unica_sdk.errors import SignatureInvalid
from unica_sdk.schemas.contract import Contract

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class Signable(Contract):
    """A contract that somebody puts a name to; `KIND` keeps kinds of documents apart."""

    KIND: ClassVar[str]


class SignedDocument(Contract):
    """A document as it was signed: the payload is kept as text, never re-encoded."""

    kind: str
    payload: str
    key: str
    signature: str


SignableT = TypeVar("SignableT", bound=Signable)


def key_fingerprint(public_key: Ed25519PublicKey) -> str:
    """Return the first 16 hex digits of the SHA-256 of the raw public key: a name, not a proof."""
    return hashlib.sha256(public_key.public_bytes_raw()).hexdigest()[:16]


def sign(document: Signable, private_key: Ed25519PrivateKey) -> SignedDocument:
    """Sign a document.

    Example:
        >>> from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        >>> class Note(Signable):
        ...     KIND = "note"
        ...     text: str
        >>> key = Ed25519PrivateKey.generate()
        >>> verify(sign(Note(text="hello"), key), Note, key.public_key()).text
        'hello'
    """
    payload = document.canonical()
    signature = private_key.sign(_message(document.KIND, payload))
    return SignedDocument(
        kind=document.KIND,
        payload=payload.decode(),
        key=key_fingerprint(private_key.public_key()),
        signature=base64.b64encode(signature).decode(),
    )


def verify(signed: SignedDocument, model: type[SignableT], public_key: Ed25519PublicKey) -> SignableT:
    """Return the document inside, if and only if this key signed it as this kind.

    Raises:
        SignatureInvalid: another kind, another key, changed bytes, or a payload that is not the model.
    """
    from cryptography.exceptions import InvalidSignature

    where = f"{signed.kind} signed by {signed.key}"
    if signed.kind != model.KIND:
        raise SignatureInvalid(f"A {model.KIND} was expected.", where=where)
    try:
        signature = base64.b64decode(signed.signature, validate=True)
        public_key.verify(signature, _message(signed.kind, signed.payload.encode()))
        return model.model_validate_json(signed.payload)
    except (InvalidSignature, binascii.Error) as err:
        raise SignatureInvalid(
            "The signature does not verify against the pinned key.",
            where=where,
            hint="Ask the steward for the document again; if it persists, its key was changed.",
        ) from err
    except ValidationError as err:
        raise SignatureInvalid(f"The signed payload is not a {model.KIND}.", where=where) from err


def _message(kind: str, payload: bytes) -> bytes:
    return b"unica:" + kind.encode() + b"\0" + payload
