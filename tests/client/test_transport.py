"""The channel to the gateway: errors arrive as what they were, and secrets stay out of sight."""

import json
from pathlib import Path

import httpx
import pytest

from unica_sdk.client.transport import Gateway, open_gateway
from unica_sdk.errors import ConfigurationError, InvalidRequest, NotSignedIn, Unavailable, error_tree
from unica_sdk.schemas.catalogue import NodeStatus


def _gateway(answer: httpx.Response | Exception) -> Gateway:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Gateway(
        base_url="http://gateway", token="secret", transport=httpx.MockTransport(handle), where="test"
    )


@pytest.mark.parametrize("code", error_tree())
def test_an_error_arrives_as_the_class_that_was_raised(code: str) -> None:
    body = {"error": {"code": code, "message": "What happened.", "where": "there", "hint": "Do this."}}
    with pytest.raises(error_tree()[code]) as raised:
        _gateway(httpx.Response(422, json=body)).get("/v1/nodes", list[NodeStatus])
    assert type(raised.value) is error_tree()[code]
    assert (raised.value.message, raised.value.where, raised.value.hint) == (
        "What happened.",
        "there",
        "Do this.",
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"detail": 1}', b'{"error": "no"}'])
def test_an_answer_that_is_no_answer_is_unavailable(body: bytes) -> None:
    with pytest.raises(Unavailable, match="502"):
        _gateway(httpx.Response(502, content=body)).get("/v1/nodes", list[NodeStatus])


def test_a_foreign_shape_names_the_versions() -> None:
    with pytest.raises(Unavailable) as raised:
        _gateway(httpx.Response(200, json=[{"site": 5}])).get("/v1/nodes", list[NodeStatus])
    assert "versions" in raised.value.hint


def test_a_gateway_that_is_away_says_what_to_do() -> None:
    with pytest.raises(Unavailable) as raised:
        _gateway(httpx.ConnectError("refused")).get("/v1/nodes", list[NodeStatus])
    assert "unica up" in raised.value.hint


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not a gateway address"):
        open_gateway("ftp://somewhere", "token")


def test_without_an_environment_the_error_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNICA_STATE", str(tmp_path))
    monkeypatch.delenv("UNICA_GATEWAY", raising=False)
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
    with pytest.raises(ConfigurationError, match="no gateway"):
        open_gateway()
    with pytest.raises(NotSignedIn, match="no token"):
        open_gateway("unix:///nowhere")


def test_a_token_file_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNICA_STATE", str(tmp_path))
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
    token = tmp_path / "client" / "token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    with pytest.raises(NotSignedIn, match="Others can read"):
        open_gateway("unix:///nowhere")


def test_the_token_is_in_no_repr() -> None:
    gateway = _gateway(httpx.Response(200, content=json.dumps([])))
    assert "secret" not in repr(gateway) + str(vars(gateway))
