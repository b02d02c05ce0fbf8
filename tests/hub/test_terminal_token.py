"""The token of this machine's terminal: kept while it works, made anew by `unica up` when it does not."""

from __future__ import annotations

import os
import socket
import time

import pytest
from running_gateway import RunningGateway
from running_hub import RunningHub

from unica_sdk.environment.layout import Layout
from unica_sdk.environment.ports import Ports
from unica_sdk.environment.probes import answers
from unica_sdk.environment.up import TOKEN_SECONDS, renew_token


@pytest.fixture
def layout(hub: RunningHub, gateway: RunningGateway) -> Layout:
    layout = Layout(hub.state)
    layout.token.parent.mkdir(exist_ok=True)
    layout.token.unlink(missing_ok=True)
    assert layout.gateway_socket == hub.settings.gateway_socket
    return layout


@pytest.fixture
def ports(hub: RunningHub) -> Ports:
    known = hub.settings
    return Ports(
        public=known.hub_port, hub_api=known.hub_api_port, proxy_api=known.proxy_api_port,
        dashboards=known.dashboards_port, service=known.service_port, node=1, superlink=1,
    )  # fmt: skip


def accepted(layout: Layout) -> bool:
    token = layout.token.read_text()
    return answers("http://gateway/v1/me", status=200, socket=layout.gateway_socket, token=token)


def test_a_token_is_renewed_where_it_is_missing_refused_or_old_and_else_kept(
    layout: Layout, ports: Ports
) -> None:
    renew_token(layout, ports)
    first = layout.token.read_text()
    assert accepted(layout)

    renew_token(layout, ports)
    assert layout.token.read_text() == first

    layout.token.write_text("a token of an earlier hub")
    renew_token(layout, ports)
    second = layout.token.read_text()
    assert second not in (first, "a token of an earlier hub")
    assert accepted(layout)

    long_ago = time.time() - TOKEN_SECONDS - 1
    os.utime(layout.token, (long_ago, long_ago))
    renew_token(layout, ports)
    assert layout.token.read_text() != second


def test_a_gateway_that_does_not_answer_says_nothing_against_the_token(
    layout: Layout, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.token.write_text("perhaps good")
    monkeypatch.setattr(Layout, "gateway_socket", layout.run / "silent.sock")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(layout.gateway_socket))
        silent.listen()
        renew_token(layout, ports)
    assert layout.token.read_text() == "perhaps good"
