"""De-identification of DICOM headers: PS3.15 Annex E, driven by its own table.

Runs in a site's own machine. May see a file's whole header and the site key. Must never write the key, an
original identifier, a date shift or the pair of an old and a new name anywhere.

    table      the basic profile, read from a maintained package
    options    what our options change in it
    words      the only words a descriptor may keep
    names      pseudonyms, UIDs and date shifts by HMAC
    values     dummies, dates, raw elements
    plan       one step for every attribute
    engine     `Engine`: a dataset in, a de-identified one out
    encoding   the de-identified dataset as the content of a file
    burned_in  may these pixels hold a name?
    frames     words beside the image in compressed pixels (jpeg, jpeg2000: where such have them)
"""

from __future__ import annotations

from typing import Final

from unica_sdk.node.deidentify.burned_in import Header, Verdict, burned_in
from unica_sdk.node.deidentify.engine import Deidentified, Engine
from unica_sdk.node.deidentify.report import Report
from unica_sdk.node.deidentify.table import EDITION

__all__ = ["PROFILE", "Deidentified", "Engine", "Header", "Report", "Verdict", "burned_in"]

PROFILE: Final = f"{EDITION}-3"
"""What a copy hangs on besides its file and the key: the standard's edition, and a number to raise here when
the same file comes out otherwise. Copies are then made anew, under other names."""
