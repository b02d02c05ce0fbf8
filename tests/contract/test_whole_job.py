"""What a researcher does, on a whole network: find, count, freeze, submit, watch, read, and be refused."""

import io

import pytest
from rich.console import Console
from whole_environment import PATIENTS

from unica_sdk.client.jobs import JobHandle, Result
from unica_sdk.client.network import Network
from unica_sdk.errors import InvalidRequest, NotFound, PermitProblem, UnknownTerm
from unica_sdk.records import documents
from unica_sdk.records.validation import validate
from unica_sdk.schemas.cohort import Released, Suppressed
from unica_sdk.schemas.job import JobState, ParticipantState


@pytest.fixture(scope="session")
def job(network: Network) -> JobHandle:
    cohort = network.cohort(modality="MG").freeze()
    return network.submit("breast-screen", cohort=cohort, rounds=2, quorum=3, seed=7)


@pytest.fixture(scope="session")
def result(job: JobHandle) -> Result:
    return job.result()


def test_the_network_says_who_you_are_and_that_it_is_not_isolated(network: Network) -> None:
    assert "3 of 3 nodes online" in repr(network)
    assert "not isolated" in repr(network)
    assert "not isolated" in network._repr_html_()


def test_every_dataset_says_it_is_synthetic(network: Network) -> None:
    found = network.catalogue.search("mammograms")
    assert [d.id for d in found] == ["gr/mammograms", "lt/mammograms", "pt/mammograms"]
    assert all(d.synthetic for d in found)
    assert "SYNTHETIC" in found._repr_html_()
    assert found["gr/mammograms"].site == "gr"


def test_a_search_without_a_match_is_empty_not_an_error(network: Network) -> None:
    assert len(network.catalogue.search("no such words")) == 0
    assert "No dataset matches" in repr(network.catalogue.search(modality="CT"))
    with pytest.raises(UnknownTerm):
        network.catalogue.search(modality="XYZ")


def test_a_count_is_a_range_that_holds_the_truth(network: Network) -> None:
    count = network.cohort(modality="MG").count()
    assert all(isinstance(a, Released) for a in count.answers)
    assert count.upper is not None
    assert count.lower <= 3 * PATIENTS <= count.upper
    assert count.lower < count.upper


def test_nobody_and_few_look_the_same(network: Network) -> None:
    nobody = network.cohort(modality="CT").count().answers
    few = network.cohort(modality="MG", age=(50, 50), outcome="interval_cancer").count().answers
    # One in 40 draws is a number that says nothing; all others are one and the same answer.
    suppressed = [a for a in (*nobody, *few) if isinstance(a, Suppressed)]
    assert len(suppressed) >= 3
    assert len({a.model_dump_json() for a in suppressed}) == len({a.site for a in suppressed})


def test_only_the_sites_that_are_named_are_asked(network: Network) -> None:
    assert [a.site for a in network.cohort(modality="MG", sites="gr").count().answers] == ["gr"]
    with pytest.raises(InvalidRequest, match="xx"):
        network.cohort(modality="MG", sites="xx").count()


def test_a_frozen_cohort_keeps_its_identity(network: Network) -> None:
    first, second = (network.cohort(modality="MG").freeze() for _ in range(2))
    other = network.cohort(modality="MG", age=(50, 69)).freeze()
    assert first.id == second.id
    assert first.id != other.id
    assert first.sites == ("gr", "lt", "pt")


def test_a_cohort_of_nobody_cannot_be_frozen(network: Network) -> None:
    refused = 0
    for modality in ("CT", "MR", "US", "NM"):
        try:
            network.cohort(modality=modality).freeze()
        except InvalidRequest:
            refused += 1
    # A site may take noise for people, one time in 40; not three sites, nor each time.
    assert refused >= 2


def test_a_permit_that_is_not_yours_is_refused(network: Network) -> None:
    with pytest.raises((PermitProblem, NotFound)):
        network.cohort(modality="MG").freeze("somebody-elses")


def test_a_job_ends_with_figures_of_every_site(result: Result) -> None:
    assert result.job.state is JobState.COMPLETED
    assert {p.state for p in result.participants} == {ParticipantState.COMPLETED}
    assert len(result.history) == 2
    assert sorted(result.sites) == ["gr", "lt", "pt"]
    assert result.pooled is not None
    auc = result.pooled.auc
    assert auc.low <= auc.value <= auc.high
    assert 0.5 < auc.value <= 1
    assert auc.n == sum(figures.auc.n for figures in result.sites.values())


def test_a_result_carries_the_same_figures_in_every_form(result: Result) -> None:
    assert result.pooled is not None
    auc = result.pooled.auc
    written = f"{auc.value:.3f} ({auc.low:.3f}–{auc.high:.3f})"
    assert written in repr(result)
    assert written in result._repr_html_()
    assert written in set(result.to_frame()["AUC (95 % interval)"])


def test_watching_a_finished_job_tells_its_story(job: JobHandle, result: Result) -> None:
    printed = io.StringIO()
    job.watch(console=Console(file=printed, width=200))
    lines = printed.getvalue().splitlines()
    assert any("Round 2 of 2" in line and "AUC" in line for line in lines)
    assert "complete" in lines[-1]


def test_your_jobs_are_listed_newest_first(network: Network, result: Result) -> None:
    jobs = network.jobs
    assert jobs[result.job.id].last_known.state is JobState.COMPLETED
    assert [j.last_known.created for j in jobs] == sorted((j.last_known.created for j in jobs), reverse=True)
    with pytest.raises(NotFound, match="no job"):
        _ = jobs["no-such-job"]


def test_the_same_seed_gives_the_same_model(network: Network, result: Result) -> None:
    cohort = network.cohort(modality="MG").freeze()
    again = network.submit("breast-screen", cohort=cohort, rounds=2, quorum=3, seed=7).result()
    assert again.metrics == result.metrics


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"parameters": {"epochs": 10_000}}, InvalidRequest),
        ({"parameters": {"unknown": 1}}, InvalidRequest),
        ({"quorum": 9}, InvalidRequest),
        ({"rounds": 1000}, InvalidRequest),
        ({"rounds": 0}, InvalidRequest),
        ({"deadline": 1}, InvalidRequest),
        ({"seed": -1}, InvalidRequest),
    ],
    ids=[
        "out-of-bounds",
        "unknown-parameter",
        "quorum-too-large",
        "too-many-rounds",
        "no-round",
        "no-time",
        "negative-seed",
    ],
)
def test_a_job_that_cannot_be_is_refused_before_it_starts(
    network: Network, changes: dict[str, object], error: type[Exception]
) -> None:
    cohort = network.cohort(modality="MG").freeze()
    before = len(network.jobs)
    with pytest.raises(error):
        network.submit("breast-screen", cohort=cohort, **changes)  # type: ignore[arg-type]
    assert len(network.jobs) == before


def test_an_app_that_is_not_there_lists_those_that_are(network: Network) -> None:
    cohort = network.cohort(modality="MG").freeze()
    with pytest.raises(NotFound) as raised:
        network.submit("no-such-app", cohort=cohort)
    assert "breast-screen" in raised.value.hint


def test_a_cancelled_job_ends_as_cancelled(network: Network) -> None:
    cohort = network.cohort(modality="MG").freeze()
    job = network.submit("breast-screen", cohort=cohort, rounds=50, quorum=3)
    assert job.cancel().state is JobState.CANCELLED


def test_every_record_of_the_network_is_valid_linked_data(network: Network) -> None:
    document = network.catalogue.to_jsonld()
    catalogue = documents.from_jsonld(document)
    wrong = [problem for problem in validate(catalogue) if problem.required and "/" in problem.dataset]
    assert wrong == []
    assert documents.to_jsonld(catalogue)["@graph"] == sorted(
        document["@graph"], key=lambda node: node["@id"]
    )
    assert {dataset.id for dataset in network.catalogue.search()} <= {
        node["@id"].removeprefix("urn:unica:dataset:") for node in document["@graph"]
    }
    assert all(node.problems == () for node in network.nodes)
