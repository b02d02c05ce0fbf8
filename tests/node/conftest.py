"""A node with a small synthetic collection, and the keys of the people it deals with."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dicom_files import write_collection
from node_people import ABOUT, APP, PATIENTS, People, fixed_key

from unica_sdk.node.about import say
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import ingest
from unica_sdk.schemas.app import AppManifest, ImageInput, LabelInput, MetricBound, NumberParameter


@pytest.fixture(scope="session")
def people() -> People:
    return People(*(Ed25519PrivateKey.generate() for _ in range(3)))


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory, people: People) -> NodeHome:
    folder = tmp_path_factory.mktemp("template")
    images, clinical = write_collection(folder / "source", patients=PATIENTS)
    fixed_key(folder / "gr")
    home = NodeHome.create(folder / "gr", site="gr", name="Aegean Breast Centre", country="GR")
    home.pin(people.steward.public_key().public_bytes_raw(), people.gateway.public_key().public_bytes_raw())
    home.approve(APP)
    say(home, None, ABOUT)
    ingest(
        home,
        images,
        dataset="screening",
        title="Screening mammograms",
        description="Synthetic.",
        synthetic=True,
        clinical=clinical,
    )
    return home


@pytest.fixture
def node(_template: NodeHome, tmp_path: Path) -> NodeHome:
    """A node of one's own with the collection of 88 synthetic patients, a cancer in every fourth."""
    return NodeHome.open(shutil.copytree(_template.folder, tmp_path / "gr"))


@pytest.fixture
def empty_node(tmp_path: Path) -> NodeHome:
    fixed_key(tmp_path / "lt")
    return NodeHome.create(tmp_path / "lt", site="lt", name="Baltic Clinic", country="LT")


@pytest.fixture
def set_policy() -> Callable[..., None]:
    def write(home: NodeHome, **settings: Any) -> None:
        lines = [f"{name} = {value}" for name, value in settings.items()]
        lines.append(f'approved_apps = ["{APP}"]')
        (home.folder / "policy.toml").write_text("\n".join(lines))

    return write


@pytest.fixture(scope="session")
def manifest() -> AppManifest:
    return AppManifest(
        name="breast-screen",
        version="1.0.0",
        title="Breast screening",
        description="A small network.",
        image=ImageInput(modality="MG", rows=8, columns=10),
        label=LabelInput(field="outcome", positive=("screen_detected",)),
        parameters={"epochs": NumberParameter(description="", default=1, low=1, high=5, integer=True)},
        metrics={"loss": MetricBound(description="", low=0, high=10)},
        minimum_cases=50,
        maximum_rounds=20,
    )
