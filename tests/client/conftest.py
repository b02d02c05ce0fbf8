from collections.abc import Iterator
from pathlib import Path

import pytest
from client_world import ClientWorld


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ClientWorld]:
    """A real gateway with two sites that only tests answer for, and a client at its door."""
    with ClientWorld.built(tmp_path) as made:
        yield made
