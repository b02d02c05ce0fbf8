"""Arrays as bytes: what goes in comes out, and nothing else is believed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from unica_sdk.federation.packing import pack, unpack

DTYPES = st.sampled_from(["?", "<f4", "<f8", "<i8", "|u1", "<f2"])
ARRAYS = st.dictionaries(
    st.text(max_size=8),
    DTYPES.flatmap(
        lambda d: stnp.arrays(d, stnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=4,
)


@given(ARRAYS)
def test_what_goes_in_comes_out(arrays: dict[str, np.ndarray]) -> None:
    head, back = unpack(pack({"round": 3}, arrays))
    assert head == {"round": 3}
    assert list(back) == list(arrays)
    for name, value in arrays.items():
        assert back[name].dtype == value.dtype
        assert back[name].shape == value.shape
        assert back[name].tobytes() == value.tobytes()


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused_and_never_crash(content: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(content)


@given(st.data())
def test_a_changed_byte_never_does_more_than_change_a_number(data: st.DataObject) -> None:
    content = bytearray(pack({"a": 1}, {"w": np.arange(6, dtype="<f4").reshape(2, 3)}))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    try:
        _, arrays = unpack(bytes(content))
    except ValueError:
        return
    assert all(value.dtype.kind in "fiub" for value in arrays.values())


def test_objects_are_not_packed() -> None:
    with pytest.raises(ValueError, match="may not be sent"):
        pack({}, {"w": np.array([object()])})


@pytest.mark.parametrize("kind", ["|O", "|V8", "<U4", "|S4", "<M8[s]", "<c16"])
def test_only_numbers_are_unpacked(kind: str) -> None:
    content = pack({}, {"w": np.zeros(8, np.uint8)}).replace(b"|u1", kind.encode())
    length = int.from_bytes(content[:8], "little") + len(kind) - 3
    with pytest.raises(ValueError):
        unpack(length.to_bytes(8, "little") + content[8:])


def test_a_flood_that_is_announced_is_not_allocated() -> None:
    content = pack({}, {"w": np.zeros(8, np.uint8)}).replace(b"[8]", b"[99999999999999]")
    length = int.from_bytes(content[:8], "little") + 13
    with pytest.raises(ValueError):
        unpack(length.to_bytes(8, "little") + content[8:])
