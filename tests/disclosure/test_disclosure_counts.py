"""What a number tells when it leaves: laws over all numbers and policies, not examples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unica_sdk.node.disclosure import PUBLIC_TEXTS, decide, named, protect, release_limit, suppressed_below
from unica_sdk.node.keys import SiteKey
from unica_sdk.node.utility import expected
from unica_sdk.schemas.cohort import AgeRange, CohortQuery, Released, Suppressed
from unica_sdk.schemas.policy import SitePolicy
from unica_sdk.schemas.vocabulary import terms


@st.composite
def policies(draw: st.DrawFn) -> SitePolicy:
    site = draw(st.integers(1, 400))
    return SitePolicy(
        threshold=draw(st.integers(3, 200)),
        rounding=draw(st.integers(1, 50)),
        noise=draw(st.floats(math.ceil(math.sqrt(site)), 60)),
        site_budget=site,
        person_budget=draw(st.integers(1, site)),
    )


PEOPLE = st.integers(0, 100_000)
KEYS = st.binary(min_size=32, max_size=32).map(SiteKey)
KEY = SiteKey(bytes(range(32)))


def _asked(
    n: int, policy: SitePolicy, question: bytes = b"q", version: int = 1, key: SiteKey = KEY
) -> Released | Suppressed:
    return protect(n, policy=policy, site="gr", key=key, question=question, index_version=version)


@given(policies(), KEYS, st.binary(max_size=40), st.data())
def test_zero_and_every_small_number_are_one_and_the_same(
    policy: SitePolicy, key: SiteKey, question: bytes, data: st.DataObject
) -> None:
    small = data.draw(st.integers(0, policy.threshold - 1))
    none, few = (_asked(n, policy, question, key=key) for n in (0, small))
    assert none.canonical() == few.canonical()
    told = [
        decide(n, policy=policy, key=key, question=question, index_version=1).public_text for n in (0, small)
    ]
    assert told[0] == told[1]
    words = [named(n, policy=policy, key=key, question=question, index_version=1) for n in (0, small)]
    assert words[0] == words[1]


@given(policies(), PEOPLE, KEYS)
def test_a_suppressed_answer_is_the_same_whatever_the_number(
    policy: SitePolicy, n: int, key: SiteKey
) -> None:
    answer = _asked(n, policy, key=key)
    if isinstance(answer, Suppressed):
        assert answer == Suppressed(site="gr", below=suppressed_below(policy), index_version=1)


@given(policies(), PEOPLE, KEYS)
def test_a_released_number_is_rounded_and_within_its_interval(
    policy: SitePolicy, n: int, key: SiteKey
) -> None:
    answer = _asked(n, policy, key=key)
    if isinstance(answer, Released):
        assert answer.n % policy.rounding == 0
        assert 0 <= answer.low <= answer.n <= answer.high
        assert answer.n >= release_limit(policy) - policy.rounding / 2
        assert answer.high - answer.low >= 2 * 1.95 * policy.noise or answer.low == 0


@given(policies(), PEOPLE, KEYS)
def test_one_person_more_moves_a_number_by_one_at_most_and_never_down(
    policy: SitePolicy, n: int, key: SiteKey
) -> None:
    """The noise of a question is the same for all numbers, so each answer is what this law is about."""
    fine = policy.model_copy(update={"rounding": 1})
    one, more = _asked(n, fine, key=key), _asked(n + 1, fine, key=key)
    if isinstance(one, Released):
        assert isinstance(more, Released)
        assert one.n <= more.n <= one.n + 1
    elif isinstance(more, Released):
        # It was released by one person more, so it is the least that is.
        assert more.n <= math.ceil(release_limit(policy) + 1)
    coarse, coarser = _asked(n, policy, key=key), _asked(n + 1, policy, key=key)
    shown = [answer.n if isinstance(answer, Released) else -1 for answer in (coarse, coarser)]
    assert shown[0] <= shown[1]


@given(policies(), PEOPLE, KEYS, st.binary(max_size=40), st.integers(0, 9))
def test_asking_again_teaches_nothing(
    policy: SitePolicy, n: int, key: SiteKey, question: bytes, version: int
) -> None:
    assert _asked(n, policy, question, version, key) == _asked(n, policy, question, version, key)


@given(policies(), st.integers(300, 100_000))
def test_another_question_version_key_or_policy_has_other_noise(policy: SitePolicy, n: int) -> None:
    fine = policy.model_copy(update={"rounding": 1, "threshold": 3})
    settings_ = [
        (fine, b"q", 1, KEY),
        (fine, b"p", 1, KEY),
        (fine, b"q", 2, KEY),
        (fine, b"q", 1, SiteKey(bytes(32))),
        (fine.model_copy(update={"threshold": 4}), b"q", 1, KEY),
        (fine.model_copy(update={"noise": fine.noise + 1}), b"q", 1, KEY),
    ]

    def errors(number: int) -> list[int]:
        found = []
        for policy_, question, version, key in settings_:
            answer = _asked(n, policy_, question + b"%d" % number, version, key)
            found.append(answer.n - n if isinstance(answer, Released) else 0)
        return found

    table = np.array([errors(number) for number in range(12)])
    assert len({tuple(column) for column in table.T.tolist()}) == len(settings_)


@settings(max_examples=10)
@given(st.integers(10, 400), st.randoms(use_true_random=False))
def test_the_interval_or_the_bound_holds_the_truth_95_times_in_100(n: int, random) -> None:
    policy = SitePolicy()
    key = SiteKey(random.randbytes(32))
    answers = [_asked(n, policy, b"%d" % number, key=key) for number in range(1500)]
    held = [a.low <= n <= a.high if isinstance(a, Released) else n < a.below for a in answers]
    assert sum(held) / len(held) > 0.95 - 5 * math.sqrt(0.95 * 0.05 / len(held))


@pytest.mark.parametrize("n", [0, 9, 30, 300, 3000])
def test_the_documented_utility_is_what_the_gate_gives(n: int) -> None:
    policy, asked = SitePolicy(), 4000
    answers = [_asked(n, policy, b"%d" % number) for number in range(asked)]
    bounds = [(a.low, a.high) if isinstance(a, Released) else (0, a.below - 1) for a in answers]
    errors = [abs((low + high) / 2 - n) for low, high in bounds]
    said = expected(n, policy)
    suppressed = sum(isinstance(a, Suppressed) for a in answers) / asked
    assert abs(suppressed - said.suppressed) < 3 * 0.5 / math.sqrt(asked)
    assert abs(sum(errors) / asked - said.error) < 3 * 10 / math.sqrt(asked)
    assert abs(sum(high - low for low, high in bounds) / asked - said.width) < 1


def test_a_group_below_the_threshold_is_released_in_three_of_a_hundred_draws_at_most() -> None:
    policy = SitePolicy()
    answers = [_asked(9, policy, b"%d" % number) for number in range(5000)]
    assert sum(isinstance(a, Released) for a in answers) / 5000 < 0.03


def test_a_word_of_few_people_is_as_good_as_never_named_and_one_of_many_always() -> None:
    policy = SitePolicy()

    def rate(people: int) -> float:
        asked = (
            named(people, policy=policy, key=KEY, question=b"%d" % n, index_version=1) for n in range(5000)
        )
        return sum(asked) / 5000

    assert rate(9) < 0.001
    assert 0.4 < rate(130) < 0.6
    assert rate(260) > 0.999


@given(policies(), PEOPLE)
def test_the_public_text_is_one_of_two_and_the_true_number_is_for_the_audit(
    policy: SitePolicy, n: int
) -> None:
    decision = decide(n, policy=policy, key=KEY, question=b"q", index_version=1)
    answer = _asked(n, policy)
    assert decision.allow is isinstance(answer, Released)
    assert decision.public_text == PUBLIC_TEXTS[decision.code]
    assert not any(digit in decision.public_text for digit in "0123456789")
    assert decision.audit_text.startswith(f"{n} people")


FIELDS = {
    "sex": st.lists(st.sampled_from(terms("sex")), max_size=4),
    "outcome": st.lists(st.sampled_from(terms("outcome")), max_size=4),
    "modality": st.lists(st.sampled_from(terms("modality")), max_size=6),
    "manufacturer": st.lists(st.text("abcXYZ", min_size=1, max_size=6), max_size=4),
    "age": st.none() | st.tuples(st.integers(0, 120), st.integers(0, 120)).map(sorted),
}


def _query(values: dict, sites: tuple[str, ...] = ()) -> CohortQuery:
    age = values["age"] and AgeRange(low=values["age"][0], high=values["age"][1])
    return CohortQuery(**{k: tuple(v) for k, v in values.items() if k != "age"}, age=age, sites=sites)


@given(st.fixed_dictionaries(FIELDS), st.randoms())
def test_the_same_question_in_any_order_has_the_same_bytes(values: dict, random) -> None:
    turned = {
        name: [v.upper() if name == "manufacturer" else v for v in random.sample(value, len(value))] * 2
        if isinstance(value, list) and name != "age"
        else value
        for name, value in values.items()
    }
    assert _query(values).question() == _query(turned, sites=("gr", "pt")).question()


@given(st.fixed_dictionaries(FIELDS), st.fixed_dictionaries(FIELDS))
def test_different_questions_have_different_bytes(one: dict, other: dict) -> None:
    def meaning(values: dict) -> dict:
        folded = {**values, "manufacturer": [word.lower() for word in values["manufacturer"]]}
        return {k: set(v) if k != "age" and v else v for k, v in folded.items()}

    same = meaning(one) == meaning(other)
    assert (_query(one).question() == _query(other).question()) is same
