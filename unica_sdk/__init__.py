"""UNICA: federated cancer-imaging research in a secure environment.

    import unica_sdk as unica

    net = unica.connect()                       # inside the environment
    net = unica.LocalNetwork(nodes=3)           # on a laptop, synthetic data

Runs in the researcher's notebook first of all. May see what the imported parts may see. Must never import
anything heavy: names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unica_sdk.client.cohorts import Cohort
    from unica_sdk.client.jobs import JobHandle, Result
    from unica_sdk.client.network import Network, connect
    from unica_sdk.errors import UnicaError
    from unica_sdk.testing.local import LocalNetwork

__version__ = "0.1.0"

_HOMES = {
    "Cohort": "unica_sdk.client.cohorts",
    "JobHandle": "unica_sdk.client.jobs",
    "LocalNetwork": "unica_sdk.testing.local",
    "Network": "unica_sdk.client.network",
    "Result": "unica_sdk.client.jobs",
    "UnicaError": "unica_sdk.errors",
    "connect": "unica_sdk.client.network",
}

__all__ = ["Cohort", "JobHandle", "LocalNetwork", "Network", "Result", "UnicaError", "connect"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
