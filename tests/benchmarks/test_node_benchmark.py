"""The node's benchmark runs, says what it measured, and misses nothing that is not a matter of speed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "node.py"
FIELDS = {"name", "ours", "peer", "ratio", "unit", "goal", "met"}
CORRECTNESS = ("values unlike pydicom's", "canaries that survive", "files lost by an ingest")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """One run, as small as it goes, without outside data and peers of another environment."""
    environment = {key: value for key, value in os.environ.items() if key != "UNICA_BENCH_DATA"}
    sizes = ("--files", "40", "--instances", "1000", "--repetitions", "1")
    run = subprocess.run(
        [sys.executable, str(BENCHMARK), "--json", *sizes],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode in (0, 1), run.stderr  # 1: a goal was missed, as may be on a busy machine
    found: list[dict[str, Any]] = json.loads(run.stdout)
    return found


def test_every_row_has_a_figure_or_a_reason_why_not(rows: list[dict[str, Any]]) -> None:
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names) > 25
    for row in rows:
        assert row.keys() - {"skipped"} == FIELDS
        assert ("skipped" in row) == (row["ours"] is None)
        assert row["goal"]
        if row["ours"] is not None:
            assert row["ours"] >= 0
            assert isinstance(row["met"], bool) == ("information" not in row["goal"])


def test_what_needs_data_or_peers_is_skipped_with_its_reason(rows: list[dict[str, Any]]) -> None:
    skipped = {row["name"]: row["skipped"] for row in rows if "skipped" in row}
    assert {name for name in skipped if "outside data" not in name} == {"header scan against fastdicom"}
    assert "--data" in skipped["files lost by an ingest, outside data"]
    assert "--peers-python" in skipped["header scan against fastdicom"]


@pytest.mark.parametrize("kind", CORRECTNESS)
def test_no_goal_of_correctness_is_missed(rows: list[dict[str, Any]], kind: str) -> None:
    judged = [row for row in rows if row["name"].startswith(kind) and "skipped" not in row]
    assert judged
    assert [row for row in judged if not row["met"]] == []
