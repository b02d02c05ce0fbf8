"""What is relied on of the engine's internals: read this first when the pinned version moves."""

import importlib.metadata
import inspect
import io
import zipfile

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.superlink.grid import http_grid
from world import SITES, Authority

from unica_sdk.federation import adapter, bundle, records
from unica_sdk.federation.bundle import Bundle


def test_the_engine_is_the_one_that_was_read() -> None:
    assert importlib.metadata.version("flwr") == adapter.VERSION


def test_the_grid_still_fetches_content_by_the_name_that_is_replaced() -> None:
    assert adapter.PULL in inspect.getsource(http_grid.HttpGrid.pull_messages)
    assert hasattr(http_grid, adapter.PULL)


def test_the_engines_archive_keeps_names_and_stores_without_compression(app: Bundle) -> None:
    with zipfile.ZipFile(io.BytesIO(app.content)) as archive:
        assert {"pyproject.toml", "unica.toml", "threshold_app/client_app.py"} <= set(archive.namelist())
        # Another zlib would otherwise give the same app another identity.
        assert {item.compress_type for item in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_message_is_three_objects_of_the_engines_whatever_the_model(app: Bundle) -> None:
    import numpy as np

    order = Authority().order(app, sites=dict.fromkeys(SITES, ""))
    adapter.identify()
    model = {f"layer{n}": np.ones((3, 3), np.float32) for n in range(40)}
    message = records.instruct(order, task="train", number=2, arrays=model, node=1, seconds=60)
    assert len(adapter.get_all_nested_objects(message)) == 3


def test_a_reply_cannot_choose_whom_it_answers() -> None:
    adapter.identify(run=11, node=12, task=13)
    asked = adapter.stamp(Message(RecordDict({"job": ConfigRecord()}), 99, "train"), "question")
    answered = Message(RecordDict(), reply_to=asked).metadata
    assert (answered.run_id, answered.reply_to_message_id, answered.src_node_id) == (11, "question", 99)


@pytest.mark.parametrize(
    ("code", "reason", "known"),
    [
        (adapter.SITE_ERROR, "app_crashed", "app_crashed"),
        (adapter.SITE_ERROR, "ValueError: patient 4711", "reply_invalid"),
        (3, "any words", "site_timeout"),
        (4, "any words", "site_timeout"),
        (5, "any words", "site_offline"),
    ],
)
def test_every_error_becomes_one_of_our_codes(code: int, reason: str, known: str) -> None:
    adapter.identify()
    asked = adapter.stamp(Message(RecordDict(), 1, "train"), "question")
    assert records.failure_of(Message(Error(code, reason), reply_to=asked)).value == known


def test_an_enrolled_key_is_the_one_the_engine_knows() -> None:
    private = ec.generate_private_key(ec.SECP384R1())
    text = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert adapter.engine_key(text.decode()) == pem


def test_other_keys_are_no_engine_keys() -> None:
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    text = other.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    for key in (text.decode(), "", "ssh-rsa AAAA"):
        with pytest.raises(ValueError):
            adapter.engine_key(key)


def test_a_bundle_declares_the_one_setting_a_run_may_carry(app: Bundle) -> None:
    assert bundle._project(app.manifest, app.entry, [])["tool"]["flwr"]["app"]["config"] == {"job": ""}
