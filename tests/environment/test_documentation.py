"""The documentation is complete and its commands are the ones that are run."""

from __future__ import annotations

import re
from pathlib import Path

from unica_sdk.errors import error_tree
from unica_sdk.schemas.job import FailureCode

ROOT = Path(__file__).parents[2]


def paragraphs() -> dict[str, str]:
    """Return the text under each heading of the third level."""
    text = (ROOT / "docs" / "errors.md").read_text()
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return {heading: body.strip() for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def test_every_error_has_a_paragraph_and_every_paragraph_an_error() -> None:
    errors = {f"{code} {kind.__name__}" for code, kind in error_tree().items()}
    assert set(paragraphs()) == errors | {code.value for code in FailureCode}
    assert all(len(body) > 60 for body in paragraphs().values())


def test_ci_runs_exactly_the_command_that_the_readme_names() -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme.split("## Test")[1]
    command = re.search(r"^```sh\n(.+?)\n```", section, flags=re.MULTILINE)
    assert command is not None
    last = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]
    assert last == f"exec {command.group(1)}"


def test_the_changelog_tells_site_operators_what_concerns_them() -> None:
    releases = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    assert releases
    assert all("### For site operators" in release for release in releases)


def test_constraints_pin_every_dependency_and_name_no_build_or_index() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    assert "torch==2.13.0" in lines
    assert "flwr==1.41.0" in lines


def test_no_file_names_a_registry_or_a_private_folder() -> None:
    names = (
        "Makefile",
        "package.json",
        "package-lock.json",
        "constraints.txt",
        "pyproject.toml",
        "README.md",
    )
    files = [*(ROOT / "unica_sdk").rglob("*.py"), *(ROOT / "hub_config").rglob("*.py")]
    private = re.compile(r"(?:pypi|npmjs)\.org|/root/\w|/work/\w")
    found = [
        str(path) for path in [*files, *(ROOT / name for name in names)] if private.search(path.read_text())
    ]
    assert found == []
