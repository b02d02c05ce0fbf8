"""Workspaces: one JupyterLab server for each person who may have one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from jupyterhub.spawner import SimpleLocalProcessSpawner  # type: ignore[import-untyped]
from traitlets import Unicode

from hub_config import homes


class WorkspaceSpawner(SimpleLocalProcessSpawner):  # type: ignore[misc]
    """Starts a person's server as a plain child process of the hub, with the hub's own rights.

    It isolates nothing, and every page says so. What a sandbox needs to know is already in one place: the
    home (`home_dir`), the environment (`get_env`) and the command (`cmd`, `get_args`).
    """

    notebooks = Unicode(help="The folder whose notebooks every home gets.").tag(config=True)
    ledgers = Unicode(help="Where it is remembered which notebooks a home was given.").tag(config=True)

    async def start(self) -> Any:
        """Prepare the home, then start the server.

        Raises:
            ConfigurationError: the home cannot be prepared; the server is not started.
        """
        await asyncio.to_thread(
            homes.prepare,
            Path(self.home_dir),
            notebooks=Path(self.notebooks),
            ledger=Path(self.ledgers) / f"{self.user.name}.json",
        )
        return await super().start()

    def get_args(self) -> list[str]:
        """Return the server's arguments; a server run by root has to be told that this is meant."""
        args: list[str] = super().get_args()
        return [*args, "--allow-root"] if os.geteuid() == 0 else args
