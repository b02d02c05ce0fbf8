"""The faces of the gateway, each an app of its own with its own kind of caller."""

from unica_sdk.gateway.faces.engine import engine_app
from unica_sdk.gateway.faces.explorer import explorer_app
from unica_sdk.gateway.faces.node import node_app
from unica_sdk.gateway.faces.pages import service_app
from unica_sdk.gateway.faces.researcher import researcher_app
from unica_sdk.gateway.faces.sign_in import HubOAuth

__all__ = ["HubOAuth", "engine_app", "explorer_app", "node_app", "researcher_app", "service_app"]
