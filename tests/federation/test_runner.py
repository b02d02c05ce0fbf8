"""The site's runner on messages that no gateway of ours would send."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from world import SITES, ArraySite, Authority, markers

from unica_sdk.audit import AuditLog
from unica_sdk.federation import adapter, records
from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.packing import pack
from unica_sdk.federation.site.executor import ThreadExecutor
from unica_sdk.federation.site.runner import SiteRunner
from unica_sdk.schemas.job import FailureCode, JobOrder

Sites = Callable[..., dict[str, ArraySite]]


@pytest.fixture
def order(authority: Authority, app: Bundle) -> JobOrder:
    return authority.order(app, sites=dict.fromkeys(SITES, ""))


def message(order: JobOrder, kind: str = "train", **changed: object) -> Message:
    """A message to the site, with parts of its job changed or, where None, taken out."""
    adapter.identify()
    made = records.instruct(order, task="train", number=1, arrays=None, node=1, seconds=60)
    job = dict(made.content.config_records["job"]) | changed
    kept = ConfigRecord({name: value for name, value in job.items() if value is not None})  # type: ignore[misc]
    return adapter.stamp(Message(RecordDict({"job": kept}), 1, kind), "m")


def told(site: ArraySite, tmp_path: Path, sent: Message, content: bytes) -> FailureCode | None:
    """What the runner answers, where it is a failure."""
    runner = SiteRunner(site, ThreadExecutor(lambda: tmp_path / "apps"))
    reply = runner.handle(sent, bundle=content, wanted=lambda: True)
    return records.failure_of(reply) if reply.has_error() else None


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"ticket": None}, FailureCode.NO_TICKET),
        ({"ticket": ""}, FailureCode.NO_TICKET),
        ({"ticket": "{}"}, FailureCode.TICKET_INVALID),
        ({"ticket": "not json"}, FailureCode.TICKET_INVALID),
        ({"parameters": None}, FailureCode.PARAMETERS_INVALID),
        ({"parameters": "[1]"}, FailureCode.PARAMETERS_INVALID),
        ({"parameters": "{}"}, FailureCode.PARAMETERS_INVALID),
        ({"round": "many"}, FailureCode.PARAMETERS_INVALID),
        ({"round": 0}, FailureCode.TICKET_INVALID),
        ({"round": 99}, FailureCode.TICKET_INVALID),
        ({"model": b"junk"}, FailureCode.PARAMETERS_INVALID),
        ({"model": "text"}, FailureCode.PARAMETERS_INVALID),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_a_message_that_is_not_the_gateways_runs_no_line(
    marked: Path, tmp_path: Path, sites: Sites, app: Bundle, order: JobOrder, changed: dict, code: FailureCode
) -> None:
    assert told(sites()["gr"], tmp_path, message(order, **changed), app.content) is code
    assert markers(marked) == []


@pytest.mark.parametrize("kind", ["query", "evaluate", "train.secret"])
def test_only_what_a_ticket_covers_is_done(
    marked: Path, tmp_path: Path, sites: Sites, app: Bundle, order: JobOrder, kind: str
) -> None:
    assert told(sites()["gr"], tmp_path, message(order, kind), app.content) in {
        FailureCode.TICKET_INVALID,
        FailureCode.PARAMETERS_INVALID,
    }
    assert markers(marked) == []


def test_a_message_without_a_job_runs_no_line(
    marked: Path, tmp_path: Path, sites: Sites, app: Bundle
) -> None:
    adapter.identify()
    empty = adapter.stamp(Message(RecordDict(), 1, "train"), "m")
    assert told(sites()["gr"], tmp_path, empty, app.content) is FailureCode.NO_TICKET
    assert markers(marked) == []


def test_approval_is_of_the_actual_bytes(
    marked: Path, tmp_path: Path, sites: Sites, app: Bundle, order: JobOrder
) -> None:
    assert told(sites()["gr"], tmp_path, message(order), app.content + b"\0") is FailureCode.APP_NOT_APPROVED
    assert markers(marked) == []


def test_where_the_audit_cannot_be_written_nothing_is_done(
    marked: Path, tmp_path: Path, sites: Sites, app: Bundle, order: JobOrder
) -> None:
    site = sites()["gr"]
    site.audit = AuditLog(Path("/proc/audit.jsonl"))
    assert told(site, tmp_path, message(order), app.content) is FailureCode.AUDIT_UNAVAILABLE
    assert markers(marked) == []


def test_a_model_of_another_shape_is_not_sent_back(
    marked: Path, tmp_path: Path, sites: Sites, app: Bundle, authority: Authority
) -> None:
    import numpy as np

    order = authority.order(app, sites=dict.fromkeys(SITES, ""), behaviour="shape")
    sent = message(order, model=pack({}, {"shift": np.zeros(3, np.float32)}))
    assert told(sites()["gr"], tmp_path, sent, app.content) is FailureCode.REPLY_INVALID


def test_the_hub_believes_no_reply_of_another_site(
    marked: Path, tmp_path: Path, sites: Sites, app: Bundle, order: JobOrder
) -> None:
    runner = SiteRunner(sites()["gr"], ThreadExecutor(lambda: tmp_path / "apps"))
    reply = runner.handle(message(order), bundle=app.content, wanted=lambda: True)
    assert records.read_reply(reply, task="train", site="gr", manifest=app.manifest).about.weight == 120
    for task, site in (("train", "lt"), ("evaluate", "gr")):
        with pytest.raises(records.ReplyInvalid):
            records.read_reply(reply, task=task, site=site, manifest=app.manifest)  # type: ignore[arg-type]
