"""What the documents say in figures is what the command prints, and every setting is explained."""

import json
import re
from pathlib import Path

from typer.testing import CliRunner

from unica_sdk.cli import app
from unica_sdk.node.home import NodeHome, policy_text
from unica_sdk.schemas.policy import SitePolicy

TEXT = (Path(__file__).parents[2] / "docs" / "disclosure.md").read_text(encoding="utf-8")


def _table(first: str) -> list[list[str]]:
    """Return the rows of the table whose header begins with a word."""
    found = re.search(rf"^\| {re.escape(first)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert found, first
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]


def _printed(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["node", "policy", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_tables_are_those_that_the_command_prints() -> None:
    lines = [line.split() for line in _printed().splitlines()]
    for first in ("people", "periods"):
        for row in _table(first):
            assert row in lines, row


def test_every_setting_about_numbers_is_explained_with_its_default() -> None:
    explained = {name.strip("`"): default for name, default, _ in _table("Setting")}
    settings = SitePolicy().model_dump(exclude={"approved_apps", "job_seconds"})
    assert {name: float(default) for name, default in explained.items()} == settings


def test_a_nodes_own_policy_is_what_is_shown(empty_home: NodeHome) -> None:
    (empty_home.folder / "policy.toml").write_text("noise = 20\nthreshold = 5\n")
    shown = json.loads(_printed("--home", str(empty_home.folder), "--json"))
    assert (shown["settings"]["noise"], shown["released_from"], shown["suppressed_below"]) == (20, 45, 85)
    assert shown["guesses"][0]["everybody_informed"] < 0.6


def test_a_policy_of_before_has_the_defaults_and_a_new_one_says_everything(empty_home: NodeHome) -> None:
    path = empty_home.folder / "policy.toml"
    written = path.read_text()
    assert all(f"\n{name} = " in written for name in SitePolicy.model_fields)
    assert empty_home.policy() == SitePolicy()
    path.write_text(
        "threshold = 10\nrounding = 5\nminimum_cases = 50\njob_seconds = 600\napproved_apps = []\n"
    )
    assert empty_home.policy() == SitePolicy()
    own = SitePolicy(noise=12.5, site_budget=90, person_budget=30, budget_days=30)
    path.write_text(policy_text(own))
    assert empty_home.policy() == own
