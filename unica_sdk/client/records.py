"""What of the catalogue is linked data: a dataset's record, its versions, and everything at once."""

from __future__ import annotations

from typing import Any

from unica_sdk.client.transport import Gateway
from unica_sdk.schemas.catalogue import RecordVersion


class LinkedRecord:
    """What a dataset has besides its fields: its record as linked data, and in earlier versions."""

    id: str
    _gateway: Gateway

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


class LinkedCatalogue:
    """What a catalogue has besides searching: everything as linked data."""

    _gateway: Gateway

    def to_jsonld(self) -> dict[str, Any]:
        """Return the whole catalogue as JSON-LD in EUCAIM DCAT-AP."""
        return self._gateway.get("/v1/datasets.jsonld", dict[str, Any])

    def to_turtle(self) -> str:
        """Return the whole catalogue as Turtle in EUCAIM DCAT-AP."""
        return self._gateway.text("/v1/datasets.ttl")


def _path(dataset: str) -> str:
    return f"/v1/datasets/{dataset}"
