"""The kernel behind one dashboard page: an environment of its own, and an end with the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub_config.settings import MARKER

SNAPSHOT = "UNICA_INDICATORS"
"""The variable that tells a dashboard where its indicators lie."""

# What a kernel needs of the service's environment, and nothing else: no token, no address of the hub.
_PASSED_ON = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "VIRTUAL_ENV", "IPYTHONDIR", "MPLCONFIGDIR", MARKER}
)


def kernel_environment(service: Mapping[str, str], *, snapshot: Path) -> dict[str, str]:
    """Return the whole environment of a dashboard's kernel.

    Example:
        >>> kernel_environment({"PATH": "/bin", "JUPYTERHUB_API_TOKEN": "x"}, snapshot=Path("/s.json"))
        {'PATH': '/bin', 'UNICA_INDICATORS': '/s.json'}
    """
    return {name: value for name, value in service.items() if name in _PASSED_ON} | {SNAPSHOT: str(snapshot)}


class PageKernel:
    """Stands in for the kernel manager while Voilà makes one page.

    Voilà would hand the service's own environment, its hub token included, to the kernel and leave the kernel
    behind when the page is done; this hands over `environment` and ends it.
    """

    def __init__(self, kernels: Any, *, environment: Mapping[str, str]) -> None:
        self._kernels = kernels
        self._environment = dict(environment)
        self._id: str | None = None

    # What Voilà asks about kernels kept warm: there are none.
    notebook_data: Mapping[str, Any] = {}

    def get_pool_size(self, notebook: str) -> int:
        """Return how many kernels are kept warm for a notebook: none."""
        return 0

    async def start_kernel(self, *, kernel_name: str, path: str, env: Mapping[str, str]) -> str:
        """Start the page's kernel; `env`, Voilà's choice of environment, is not used."""
        self._id = await self._kernels.start_kernel(
            kernel_name=kernel_name, path=path, env=dict(self._environment)
        )
        return self._id

    def get_kernel(self, kernel_id: str) -> Any:
        """Return the page's kernel."""
        return self._kernels.get_kernel(kernel_id)

    async def end(self) -> None:
        """End the kernel, if it was started and still runs."""
        if self._id is not None and self._id in self._kernels:
            await self._kernels.shutdown_kernel(self._id, now=True)
        self._id = None
