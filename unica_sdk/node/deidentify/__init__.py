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
"""

from __future__ import annotations

from unica_sdk.node.deidentify.burned_in import Header, Verdict, burned_in
from unica_sdk.node.deidentify.engine import Deidentified, Engine
from unica_sdk.node.deidentify.report import Report

__all__ = ["Deidentified", "Engine", "Header", "Report", "Verdict", "burned_in"]
