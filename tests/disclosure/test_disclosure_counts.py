"""What a count tells: laws over all numbers and policies, not examples."""

from hypothesis import assume, given
from hypothesis import strategies as st

from unica_sdk.node.disclosure import decide, protect
from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas.cohort import AgeRange, CohortQuery, Released, Suppressed
from unica_sdk.schemas.policy import SitePolicy
from unica_sdk.schemas.vocabulary import terms

POLICIES = st.builds(SitePolicy, threshold=st.integers(3, 200), rounding=st.integers(1, 50))
PEOPLE = st.integers(0, 100_000)
KEY = SiteKey(bytes(range(32)))


def _asked(n: int, policy: SitePolicy, question: bytes = b"q", version: int = 1) -> Released | Suppressed:
    return protect(n, policy=policy, site="gr", key=KEY, question=question, index_version=version)


@given(POLICIES, st.data())
def test_zero_and_small_look_the_same(policy: SitePolicy, data: st.DataObject) -> None:
    small = data.draw(st.integers(0, policy.threshold - 1))
    answer = _asked(small, policy)
    assert isinstance(answer, Suppressed)
    assert answer.canonical() == _asked(0, policy).canonical()
    assert decide(small, policy=policy).public_text == decide(0, policy=policy).public_text


@given(POLICIES, PEOPLE)
def test_a_released_interval_holds_the_truth(policy: SitePolicy, n: int) -> None:
    assume(n >= policy.threshold)
    answer = _asked(n, policy)
    assert isinstance(answer, Released)
    assert answer.low <= n <= answer.high
    assert answer.n % policy.rounding == 0
    assert abs(answer.n - n) <= policy.rounding / 2
    # The interval ends where suppression begins: it never says less than what the release itself says.
    assert answer.low >= policy.threshold


@given(POLICIES, PEOPLE)
def test_every_number_of_an_interval_gives_the_same_answer(policy: SitePolicy, n: int) -> None:
    assume(n >= policy.threshold)
    answer = _asked(n, policy)
    assert isinstance(answer, Released)
    others = {_asked(other, policy).canonical() for other in range(answer.low, answer.high + 1)}
    assert others == {answer.canonical()}
    assert answer.high - answer.low + 1 <= policy.rounding


@given(POLICIES, PEOPLE, st.binary(max_size=40), st.integers(0, 9))
def test_asking_again_or_in_other_words_teaches_nothing(
    policy: SitePolicy, n: int, question: bytes, version: int
) -> None:
    first = _asked(n, policy, question, version)
    assert first == _asked(n, policy, question, version)
    assert first.model_copy(update={"index_version": 1}) == _asked(n, policy)


@given(POLICIES, PEOPLE)
def test_more_people_never_look_like_fewer(policy: SitePolicy, n: int) -> None:
    def shown(answer: Released | Suppressed) -> int:
        return answer.n if isinstance(answer, Released) else -1

    assert shown(_asked(n, policy)) <= shown(_asked(n + 1, policy))


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
