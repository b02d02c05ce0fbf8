"""New names for patients and UIDs, and the shift of a patient's dates: all by HMAC under the site key.

The same input gives the same output for as long as the key lives, in any file, process or order; without the
key nothing can be recomputed. Each use has its own purpose word, so one name tells nothing about another.
"""

from __future__ import annotations

import hmac
from typing import Final

from pydicom._uid_dict import UID_dictionary

from unica_sdk.errors import ConfigurationError

MINIMUM_KEY_BYTES: Final = 16

LONGEST_SHIFT: Final = 3650
"""Dates move 1 to 3650 days into the past; each patient's by another number."""

_UUID_VERSION_8: Final = 0x8 << 76
_UUID_VARIANT: Final = 0x2 << 62
_UUID_FREE: Final = ~(0xF << 76 | 0x3 << 62) & (1 << 128) - 1


class Names:
    """The names that one site key gives.

    Example:
        >>> names = Names(bytes(32))
        >>> names.patient("4711") == names.patient("4711"), len(names.patient("4711"))
        (True, 32)
        >>> names.uid(b"1.2.3")[:5]
        b'2.25.'
        >>> names
        Names(…)
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < MINIMUM_KEY_BYTES:
            raise ConfigurationError(f"A site key has at least {MINIMUM_KEY_BYTES} bytes, not {len(key)}.")
        self._key = key

    def __repr__(self) -> str:
        return "Names(…)"

    def patient(self, identifier: str) -> str:
        """Return a patient's pseudonym at this site: 32 hex digits, legal as LO and as PN.

        It is the pseudonym under which the site's index knows the patient.
        """
        return self._digest(b"patient\0" + identifier.encode())[:16].hex()

    def uid(self, value: bytes) -> bytes:
        """Return the new UID of one UID: `2.25.` and a UUID as a number (PS3.5 B.2), at most 44 characters.

        UIDs that the standard itself registers (well-known frames of reference, …) stay as they are.
        """
        if value.decode("latin-1") in UID_dictionary:
            return value
        number = int.from_bytes(self._digest(b"uid\0" + value)[:16], "big")
        return b"2.25.%d" % (number & _UUID_FREE | _UUID_VERSION_8 | _UUID_VARIANT)

    def shift(self, identifier: str) -> int:
        """Return by how many days a patient's dates move; a secret as much as the key is."""
        return -1 - int.from_bytes(self._digest(b"days\0" + identifier.encode())[:8], "big") % LONGEST_SHIFT

    def _digest(self, message: bytes) -> bytes:
        return hmac.digest(self._key, message, "sha256")
