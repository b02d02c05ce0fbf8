"""SYNTHETIC mammograms as DICOM files, with the site shift that federated learning has to cope with.

No patient, no scanner and no vendor stands behind them: a simple model of X-rays in breast-like tissue, drawn
from seeded random numbers. They serve demonstrations and tests, never a statement about care.

Runs on the operator's machine. May see nothing but its own random numbers. Must never read patient data.
"""

from unica_sdk.pilots.phantom.collection import Collection, write_collection
from unica_sdk.pilots.phantom.profiles import PROFILES, SiteProfile

__all__ = ["PROFILES", "Collection", "SiteProfile", "write_collection"]
