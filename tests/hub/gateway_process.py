"""The real gateway in a process of its own, with two sites enrolled, for the hub's tests.

Run with one argument, a JSON file: what `serve` needs, and what the sites have.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from unica_sdk.audit import AuditLog
from unica_sdk.federation.grid import LocalEngine
from unica_sdk.gateway.keys import read_public_key
from unica_sdk.gateway.operator import Operator
from unica_sdk.gateway.serve import GatewaySettings, serve
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.catalogue import DatasetRecord, NodeEnrolment
from unica_sdk.schemas.contract import Contract


class Plan(Contract):
    """What the tests ask for; `records` are those that sites pushed before."""

    settings: dict[str, str | int]
    enrolments: tuple[NodeEnrolment, ...]
    records: tuple[DatasetRecord, ...]


def main(plan: Plan) -> None:
    """Fill the store as an operator and the sites would, then serve."""
    settings = GatewaySettings.model_validate(plan.settings)
    store = Store.open(settings.database)
    audit = AuditLog(settings.audit)
    operator = Operator(store, audit=audit, steward_public_key=read_public_key(settings.steward_public_key))
    for enrolment in plan.enrolments:
        operator.enrol(enrolment)
        own = tuple(record for record in plan.records if record.site == enrolment.site)
        store.put_records(enrolment.site, own, at=datetime.now(UTC))
    store.close()
    serve(settings, LocalEngine({}, lambda job, update: False))


if __name__ == "__main__":
    main(Plan.model_validate_json(Path(sys.argv[1]).read_text()))
