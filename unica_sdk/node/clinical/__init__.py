"""A site's clinical data in the common data model: tables and FHIR bundles, read by a mapping.

Runs in a site's own machine. May see the hospital's identifiers and records. Must never guess: what the
mapping and the vocabulary do not know is left empty and listed, for the site's data manager alone.
"""

from unica_sdk.node.clinical.mapping import FieldMapping, TableMapping, read_mapping, template, templates
from unica_sdk.node.clinical.reader import ClinicalRow, ClinicalTable, read_clinical
from unica_sdk.node.clinical.values import Unmapped

__all__ = [
    "ClinicalRow",
    "ClinicalTable",
    "FieldMapping",
    "TableMapping",
    "Unmapped",
    "read_clinical",
    "read_mapping",
    "template",
    "templates",
]
