"""What a person types becomes a query, or an error that says what is known."""

from typing import Any

import pytest

from unica_sdk.client.cohorts import build_query
from unica_sdk.errors import InvalidRequest


def test_words_lists_and_pairs_are_understood() -> None:
    query = build_query(modality="MG", outcome=["negative", "screen_detected"], age=(50, 69), sex=None)
    assert query.modality == ("MG",)
    assert query.outcome == ("negative", "screen_detected")
    assert (query.age.low, query.age.high) == (50, 69) if query.age else False
    assert query.sex == ()


@pytest.mark.parametrize(
    ("criteria", "where", "message"),
    [
        ({"modality": "MGX"}, "modality", "not a modality"),
        ({"birads": "4"}, "birads", "Extra inputs"),
        ({"age": 50}, "age", "pair of years"),
        ({"age": (70, 50)}, "age", "backwards"),
        ({"age": (50, 130)}, "age.high", "less than or equal"),
    ],
)
def test_what_is_not_understood_is_an_error_with_the_field(
    criteria: dict[str, Any], where: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as raised:
        build_query(**criteria)
    assert raised.value.where == where
    assert raised.value.hint
