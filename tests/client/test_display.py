"""What is shown: notebook, terminal and frame carry the same, and nothing in it can be markup."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from unica_sdk.client.display import Table

words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


def _table(rows: tuple[tuple[object, ...], ...]) -> Table:
    return Table(title="Things", columns=("name", "number"), rows=rows, empty="Nothing here.", note="A note.")


@given(st.lists(st.tuples(words, st.integers(0, 10**6)), max_size=5))
def test_every_form_carries_every_value(rows: list[tuple[str, int]]) -> None:
    table = _table(tuple(rows))
    text, html, frame = str(table), table.html(), table.frame()
    assert list(frame.itertuples(index=False, name=None)) == rows
    for name, number in rows:
        assert name in text
        assert name in html
        assert f"{number:,}" in text
        assert f"{number:,}" in html


def test_markup_in_data_is_shown_not_run() -> None:
    html = _table((("<script>alert(1)</script>", 1),)).html()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("form", ["text", "html", "rich"])
def test_an_empty_list_says_so(form: str) -> None:
    table = _table(())
    printed = io.StringIO()
    Console(width=80, file=printed).print(table.rich())
    shown = {"text": str(table), "html": table.html(), "rich": printed.getvalue()}[form]
    assert "Nothing here." in shown
