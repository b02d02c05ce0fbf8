from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_world import World, build


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = build(tmp_path)
    yield made
    made.gateway.close()
    made.store.close()
