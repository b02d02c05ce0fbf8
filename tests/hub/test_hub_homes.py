"""Homes get the notebooks, and what people did with them stands."""

from pathlib import Path

import pytest

from hub_config import homes, lab
from hub_config.settings import ISOLATION
from unica_sdk.errors import ConfigurationError


class Place:
    """A source of notebooks, a home and its ledger."""

    def __init__(self, folder: Path) -> None:
        self.source, self.home, self.ledger = (
            folder / "source",
            folder / "home",
            folder / "ledgers" / "a.json",
        )
        self.source.mkdir()
        self.edition("first")

    def edition(self, text: str) -> None:
        (self.source / "study.ipynb").write_text(text)

    def prepare(self) -> tuple[str, ...]:
        return homes.prepare(self.home, notebooks=self.source, ledger=self.ledger)

    @property
    def notebook(self) -> Path:
        return self.home / "study.ipynb"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_new_home_gets_the_notebooks(place: Place) -> None:
    assert place.prepare() == ("study.ipynb",)
    assert place.notebook.read_text() == "first"
    assert place.home.stat().st_mode & 0o777 == 0o700
    assert place.notebook.stat().st_mode & 0o777 == 0o600
    assert place.prepare() == ()
    assert [path.name for path in place.ledger.parent.iterdir()] == ["a.json"]


def test_a_notebook_left_alone_follows_its_edition(place: Place) -> None:
    place.prepare()
    place.edition("second")
    assert place.prepare() == ("study.ipynb",)
    assert place.notebook.read_text() == "second"


def test_a_changed_notebook_is_never_overwritten(place: Place) -> None:
    place.prepare()
    place.notebook.write_text("mine")
    place.edition("second")
    assert place.prepare() == ()
    assert place.notebook.read_text() == "mine"


def test_a_file_of_that_name_that_was_there_before_stays(place: Place) -> None:
    place.home.mkdir()
    place.notebook.write_text("mine")
    assert place.prepare() == ()
    assert place.notebook.read_text() == "mine"


def test_a_deleted_notebook_stays_deleted(place: Place) -> None:
    place.prepare()
    place.notebook.unlink()
    place.edition("second")
    assert place.prepare() == ()
    assert not place.notebook.exists()


@pytest.mark.parametrize("content", ["first", "something else"])
def test_a_link_in_the_home_is_not_followed(place: Place, tmp_path: Path, content: str) -> None:
    place.prepare()
    victim = tmp_path / "victim"
    victim.write_text(content)
    place.notebook.unlink()
    place.notebook.symlink_to(victim)
    place.edition("second")
    assert place.prepare() == ()
    assert victim.read_text() == content


def test_a_home_that_cannot_be_made_is_a_clear_error(place: Place) -> None:
    place.home.write_text("a file where the home should be")
    with pytest.raises(ConfigurationError, match="home folder"):
        place.prepare()


def test_the_installed_lab_page_gets_the_banner(tmp_path: Path) -> None:
    lab.write_page(tmp_path / "lab")
    page = (tmp_path / "lab" / "index.html").read_text()
    body = page[page.index("<body") :]
    assert body.index(ISOLATION) < body.index("<script")


def test_a_lab_page_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        lab.with_banner("<html>no body</html>")
    with pytest.raises(ConfigurationError):
        lab.write_page(tmp_path / "lab", prefix=tmp_path)
