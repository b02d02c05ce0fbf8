"""One dataset of the catalogue: what its site says of it, as linked data, and in earlier versions."""

from __future__ import annotations

import re
from typing import Any

from unica_sdk.client.cohorts import answer_words
from unica_sdk.client.display import Shown, Table, joined
from unica_sdk.client.transport import Gateway
from unica_sdk.errors import NotFound
from unica_sdk.schemas.catalogue import DATASET_ID, DatasetRecord, RecordVersion


class CatalogueEntry(Shown):
    """One dataset, taken by its id: `net.catalogue["gr/mammograms"]`."""

    def __init__(self, record: DatasetRecord, gateway: Gateway) -> None:
        self.record = record
        self._gateway = gateway

    @property
    def id(self) -> str:
        """The dataset's id: its site's name and its own."""
        return self.record.id

    def to_jsonld(self, *, version: int | None = None) -> dict[str, Any]:
        """Return the record as JSON-LD in EUCAIM DCAT-AP, as it stands or in an earlier version.

        Raises:
            NotFound: there is no such version.
        """
        return self._gateway.get(f"{_path(self.id)}.jsonld", dict[str, Any], version=version)

    def to_turtle(self, *, version: int | None = None) -> str:
        """Return the record as Turtle in EUCAIM DCAT-AP, as it stands or in an earlier version.

        Raises:
            NotFound: there is no such version.
        """
        return self._gateway.text(f"{_path(self.id)}.ttl", version=version)

    @property
    def versions(self) -> tuple[RecordVersion, ...]:
        """Every version of the record that the hub received, the newest first."""
        return tuple(self._gateway.get(f"{_path(self.id)}/versions", list[RecordVersion]))

    def _table(self) -> Table:
        record = self.record
        ages = f"{record.ages.low} to {record.ages.high}" if record.ages else "not said"
        rows = {
            "title": record.title,
            "description": record.description,
            "data": "SYNTHETIC" if record.synthetic else "real",
            "patients": answer_words(record.patients)[0],
            "studies": answer_words(record.studies)[0],
            "ages": ages,
            "sexes": joined(record.sexes),
            "conditions": joined(record.conditions),
            "modalities": joined(record.modalities),
            "body parts": joined(record.body_parts),
            "manufacturers": joined(record.manufacturers),
            "variables": joined(record.variables),
            "tier": f"{record.tier} of 3",
            "for the next tier": " ".join(record.missing),
            "publisher": record.publisher,
            "contact": record.contact,
        }
        return Table(
            title=record.id,
            columns=("", "as the site says"),
            rows=tuple((name, value) for name, value in rows.items() if value),
            empty="",
            note="Numbers are protected by the site's policy.",
        )


class RecordsByName:
    """What a catalogue has besides searching: one dataset by its id, and everything as linked data."""

    _gateway: Gateway

    def __getitem__(self, dataset: str) -> CatalogueEntry:
        """Return one dataset by its id, `site/name`.

        Raises:
            NotFound: there is no such dataset.
        """
        if not re.fullmatch(DATASET_ID, dataset):
            raise NotFound(
                f"There is no dataset {dataset!r}.", where="dataset", hint="An id is written site/name."
            )
        return CatalogueEntry(self._gateway.get(_path(dataset), DatasetRecord), self._gateway)

    def to_jsonld(self) -> dict[str, Any]:
        """Return the whole catalogue as JSON-LD in EUCAIM DCAT-AP."""
        return self._gateway.get("/v1/datasets.jsonld", dict[str, Any])

    def to_turtle(self) -> str:
        """Return the whole catalogue as Turtle in EUCAIM DCAT-AP."""
        return self._gateway.text("/v1/datasets.ttl")


def _path(dataset: str) -> str:
    return f"/v1/datasets/{dataset}"
