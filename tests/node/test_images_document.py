"""What docs/images.md shows is what happens."""

import re
from pathlib import Path

import numpy as np
import pytest
from imaging_files import write_image, write_volume
from pydicom.uid import RLELossless

from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.admission import Reason
from unica_sdk.node.imaging.settings import ImageSettings
from unica_sdk.node.ingest import ingest

TEXT = (Path(__file__).parents[2] / "docs" / "images.md").read_text()


def test_its_examples_run_one_after_the_other(
    empty_node: NodeHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3):
        pixels = np.random.default_rng(number).integers(0, 4096, (40, 50)).astype(np.uint16)
        write_image(tmp_path / "d" / f"{number}", pixels, number=number, transfer_syntax=RLELossless)
    write_volume(tmp_path / "d", places=[0.0, 2.0, 4.0])
    ingest(empty_node, tmp_path / "d", dataset="one", title="t", description="d", synthetic=True)
    names: dict[str, object] = {"home": empty_node.folder}
    for block in re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL):
        exec(compile(block, "images.md", "exec"), names)  # noqa: S102 - our own
    said = capsys.readouterr().out
    assert "percentiles 1 and 99" in said
    assert "('case', 'z', 'y', 'x') mm" in said
    assert names["failures"] == ()


def test_it_has_every_setting_and_every_reason() -> None:
    for name in ImageSettings.model_fields:
        assert re.search(rf"^    {name} = ", TEXT, flags=re.MULTILINE)
    assert all(re.search(rf"^\|.*\b{word}\b.*\|", TEXT, flags=re.MULTILINE) for word in Reason.__args__)
