"""Namespaces and authority codes of the records. They are not settled, so they stand here and nowhere else.

EUCAIM DCAT-AP 2.0 extends HealthDCAT-AP release 7 without printing its prefixes; version 1 had
`https://w3id.org/healthdcat-ap#`. We take release 7's own namespace and the authority tables that 2.0 links;
release 8 moves those from `hdeu-dcat.acceptance.data.health.europa.eu` to `hdeu-dcat.data.health.europa.eu`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PREFIXES: Final[Mapping[str, str]] = {
    "csvw": "http://www.w3.org/ns/csvw#",
    "cv": "http://data.europa.eu/m8g/",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dcatap": "http://data.europa.eu/r5r/",
    "dct": "http://purl.org/dc/terms/",
    "dpv": "https://w3id.org/dpv#",
    "eucaim": "https://cancerimage.eu/ontology/EUCAIM#",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "healthdcatap": "http://healthdataportal.eu/ns/health#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "unica": "urn:unica:ns:",
    "vcard": "http://www.w3.org/2006/vcard/ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
"""`unica` has what no profile has: the interval of a protected number, and what the next tier asks for."""

DATASET: Final = "urn:unica:dataset:"
"""A dataset's address is this and its id."""

CATALOGUE: Final = "urn:unica:catalogue"

HEALTH: Final = "http://publications.europa.eu/resource/authority/data-theme/HEAL"
NON_PUBLIC: Final = "http://publications.europa.eu/resource/authority/access-right/NON_PUBLIC"
COUNTRY: Final = "http://publications.europa.eu/resource/authority/country/"
EHDS: Final = "http://data.europa.eu/eli/reg/2025/327/oj"
ELECTRONIC_HEALTH_RECORDS: Final = (
    "https://hdeu-dcat.acceptance.data.health.europa.eu/resource/authority/healthcategories/EHRS"
)
"""The category of EHDS Art. 51(1)(a), under which images and reports of care fall."""
CANCER: Final = (
    "https://hdeu-dcat.acceptance.data.health.europa.eu/resource/authority/health-theme/CANCER_DISEASE"
)
ACCESS_CONDITION: Final = (
    "https://eucaim.github.io/eucaim_dcat_ap/releases/controlled-vocabularies/access-conditions/#"
)
DICOM: Final = "https://www.iana.org/assignments/media-types/application/dicom"
SNOMED: Final = "http://snomed.info/id/"

SYSTEM_NAMES: Final[Mapping[str, str]] = {
    "eucaim": "EUCAIM hyper-ontology",
    "sct": "SNOMED CT",
    "radlex": "RadLex",
    "dicom": "DICOM",
    "icdo3": "ICD-O-3",
    "ncit": "NCI Thesaurus",
    "dpv": "Data Privacy Vocabulary",
}
"""What people call the systems of the vocabulary's codes."""

COUNTRIES: Final[Mapping[str, str]] = {
    "AL": "ALB", "AD": "AND", "AT": "AUT", "BA": "BIH", "BE": "BEL", "BG": "BGR", "BY": "BLR", "CH": "CHE",
    "CY": "CYP", "CZ": "CZE", "DE": "DEU", "DK": "DNK", "EE": "EST", "ES": "ESP", "FI": "FIN", "FR": "FRA",
    "GB": "GBR", "GR": "GRC", "HR": "HRV", "HU": "HUN", "IE": "IRL", "IS": "ISL", "IT": "ITA", "LI": "LIE",
    "LT": "LTU", "LU": "LUX", "LV": "LVA", "MC": "MCO", "MD": "MDA", "ME": "MNE", "MK": "MKD", "MT": "MLT",
    "NL": "NLD", "NO": "NOR", "PL": "POL", "PT": "PRT", "RO": "ROU", "RS": "SRB", "SE": "SWE", "SI": "SVN",
    "SK": "SVK", "SM": "SMR", "TR": "TUR", "UA": "UKR",
}  # fmt: skip
"""ISO 3166-1, two letters to the three of the EU's authority table: Europe."""


def compact(iri: str) -> str:
    """Return an address as `prefix:name` where a prefix fits.

    Example:
        >>> compact("http://purl.org/dc/terms/title")
        'dct:title'
    """
    for prefix, space in PREFIXES.items():
        if iri.startswith(space):
            return f"{prefix}:{iri.removeprefix(space)}"
    return iri
