"""What the demonstration says of its data is all that a record needs, whatever numbers stay hidden."""

import shutil
from pathlib import Path

import pydicom.data
import pytest

from unica_sdk import assembly
from unica_sdk.environment.demonstration import MAMMOGRAMS, SAMPLES, DemonstrationDataset
from unica_sdk.node.ingest import ingest
from unica_sdk.node.publishing import RecordKeeper
from unica_sdk.pilots.phantom import write_collection
from unica_sdk.records import documents
from unica_sdk.records.graph import dataset_graph

FILES = ("CT_small.dcm", "MR_small.dcm")


@pytest.mark.parametrize("site", assembly.SITES)
def test_every_record_of_a_demonstration_node_validates(tmp_path: Path, site: str) -> None:
    home = assembly.open_home(tmp_path / "home", site)
    drawn = write_collection(tmp_path / "drawn", site=site, patients=10, seed=1)
    bundled = Path(pydicom.data.__file__).parent / "test_files"
    (tmp_path / "samples").mkdir()
    for name in FILES:
        shutil.copy(bundled / name, tmp_path / "samples")
    given: tuple[tuple[DemonstrationDataset, Path, Path | None], ...] = (
        (MAMMOGRAMS, drawn.dicom, drawn.clinical),
        (SAMPLES, tmp_path / "samples", None),
    )
    for dataset, folder, clinical in given:
        assembly.describe(
            home,
            dataset.name,
            provenance=dataset.provenance,
            keywords=dataset.keywords,
            condition=dataset.condition,
        )
        ingest(
            home,
            folder,
            dataset=dataset.name,
            title=dataset.title,
            description=dataset.description,
            synthetic=dataset.synthetic,
            clinical=clinical,
        )
    published = RecordKeeper(home).current()
    assert [problem for problem in published.problems if problem.required] == []
    assert [record.id for record in published.records] == [f"{site}/mammograms", f"{site}/pydicom-samples"]
    for record in published.records:
        graph = dataset_graph(record)
        assert set(documents.from_jsonld(documents.to_jsonld(graph))) == set(graph)
