"""The transfer syntaxes that take no codec (DICOM PS3.5 annex A): pixel data of any other is compressed.

One list for all: whoever checks that pixels decode, looks for text in them, or reads them where they lie.
"""

from __future__ import annotations

from typing import Final

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
"""The whole data set is compressed, and no pixels in it."""

NATIVE: Final = frozenset({IMPLICIT, EXPLICIT, BIG_ENDIAN})
"""Those whose pixels lie in the file as they are."""

UNCOMPRESSED: Final = NATIVE | {DEFLATED}
"""Those whose pixels take no codec."""
