"""A node's records, for tests of what numbers and words stand in them."""

from unica_sdk.node.home import NodeHome
from unica_sdk.node.publishing import RecordKeeper
from unica_sdk.schemas.catalogue import DatasetRecord


def drafts(home: NodeHome) -> tuple[DatasetRecord, ...]:
    """Return the records as they stand, whether or not people said all that a record must say."""
    return RecordKeeper(home).current().drafts
