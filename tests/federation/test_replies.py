"""What the hub believes of a site's reply: numbers that agree with one another, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from world import SITES, ArraySite, Authority

from unica_sdk.federation import adapter, records
from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.packing import pack
from unica_sdk.federation.site.executor import ThreadExecutor
from unica_sdk.federation.site.runner import SiteRunner


@pytest.fixture
def answer(
    marked: Path,
    tmp_path: Path,
    sites: Callable[..., dict[str, ArraySite]],
    app: Bundle,
    authority: Authority,
) -> Callable[..., Message]:
    """Makes a true reply of gr's, with parts of its numbers changed."""
    order = authority.order(app, sites=dict.fromkeys(SITES, ""))
    runner = SiteRunner(sites()["gr"], ThreadExecutor(lambda: tmp_path / "apps"))

    def make(task: str, change: Callable[[dict[str, Any]], object] = lambda about: None) -> Message:
        adapter.identify()
        model = {"shift": np.zeros(3, np.float32)}
        asked = records.instruct(order, task=task, number=1, arrays=model, node=1, seconds=60)  # type: ignore[arg-type]
        adapter.stamp(asked, "m")
        record = runner.handle(asked, bundle=app.content, wanted=lambda: True).content.config_records["reply"]
        about = json.loads(str(record["about"]))
        change(about)
        changed = ConfigRecord(dict(record) | {"about": json.dumps(about)})  # type: ignore[arg-type]
        return Message(RecordDict({"reply": changed}), reply_to=asked)

    return make


def read(reply: Message, app: Bundle, task: str) -> records.About:
    return records.read_reply(reply, task=task, site="gr", manifest=app.manifest).about  # type: ignore[arg-type]


def test_a_training_counts_as_the_people_the_site_released(
    answer: Callable[..., Message], app: Bundle
) -> None:
    about = read(answer("train"), app, "train")
    assert (about.weight, about.cases.n, about.tested) == (120, 120, None)


def test_an_evaluation_counts_as_the_tested_people_the_site_released(
    answer: Callable[..., Message], app: Bundle
) -> None:
    about = read(answer("evaluate"), app, "evaluate")
    assert about.tested and about.weight == about.tested.people.n == about.tested.images < 120
    assert about.cases.n == 120


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.update(weight=10**9),
        lambda about: about["cases"].update(n=10**9),
        lambda about: about["cases"].update(low=10**9),
        lambda about: about["cases"].update(site="lt"),
        lambda about: about["metrics"].update(loss="nan"),
    ],
    ids=["weight", "number", "interval", "site", "metric"],
)
def test_a_training_whose_numbers_do_not_agree_is_not_believed(
    answer: Callable[..., Message], app: Bundle, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(records.ReplyInvalid):
        read(answer("train", change), app, "train")


def flood(about: dict[str, Any], *, told: bool) -> None:
    """Two million million cases in one bin; `told`: said as the number of images too."""
    about["tested"]["histogram"]["positives"][5] = 2 * 10**12
    if told:
        tested = about["tested"]["histogram"]
        about["tested"]["images"] = sum(tested["positives"]) + sum(tested["negatives"])


@pytest.mark.parametrize(
    "change",
    [
        lambda about: flood(about, told=False),
        lambda about: flood(about, told=True),
        lambda about: about["tested"].update(images=about["tested"]["images"] + 1),
        lambda about: about["tested"]["people"].update(low=39, n=40, high=40),
        lambda about: about["tested"]["people"].update(n=10**9, low=10**9, high=10**9),
        lambda about: about["tested"]["people"].update(n=10**9),
        lambda about: about["tested"]["people"].update(site="lt"),
        lambda about: about.update(tested=None),
    ],
    ids=["flood", "told flood", "images", "more people", "all people", "number", "site", "nothing"],
)
def test_an_evaluation_whose_numbers_do_not_agree_is_not_believed(
    answer: Callable[..., Message], app: Bundle, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(records.ReplyInvalid):
        read(answer("evaluate", change), app, "evaluate")


def test_a_site_with_several_images_of_a_person_is_believed(
    answer: Callable[..., Message], app: Bundle
) -> None:
    def one_in_two(about: dict[str, Any]) -> None:
        about["tested"]["people"].update(n=12, low=10, high=14)

    assert read(answer("evaluate", one_in_two), app, "evaluate").weight == 12


@pytest.mark.parametrize("kind", ["(1,f4", "f4,(", "|O"])
def test_arrays_of_no_known_kind_are_one_sites_fault(
    answer: Callable[..., Message], app: Bundle, kind: str
) -> None:
    reply = answer("train")
    packed = pack({}, {"shift": np.zeros(3, np.float32)})
    size = int.from_bytes(packed[:8], "little")
    front = packed[8 : 8 + size].replace(b"<f4", kind.encode())
    model = len(front).to_bytes(8, "little") + front + packed[8 + size :]
    reply.content.config_records["reply"]["model"] = model
    with pytest.raises(records.ReplyInvalid):
        read(reply, app, "train")
