"""The real environment, driven by its own commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PATIENTS = 800
"""Synthetic women at each site: enough for figures to leave, few enough to draw in seconds."""


class WholeEnvironment:
    """What `unica up` starts, in a folder of its own that a service user can be given."""

    def __init__(self, *, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self._port = port
        self._folder = Path(tempfile.mkdtemp(prefix="unica-test-"))
        self._folder.chmod(0o755)
        self.state = self._folder / "state"
        self.gateway = f"unix://{self.state / 'run' / 'gateway.sock'}"

    def unica(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment."""
        command = [sys.executable, "-m", "unica_sdk.cli", *arguments, "--state", str(self.state)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def up(self) -> str:
        """Start it, or find it started."""
        return self.unica("up", "--port", str(self._port), "--patients", str(PATIENTS)).stdout

    def status(self) -> dict[str, Any]:
        """Return what `unica status --json` says."""
        found: dict[str, Any] = json.loads(self.unica("status", "--json", check=False).stdout)
        return found

    def sign_ins(self) -> dict[str, str]:
        """Return the generated passwords."""
        found: dict[str, str] = json.loads((self.state / "demonstration" / "sign-ins.json").read_text())
        return found

    def token(self) -> str:
        """Return the terminal's token."""
        return (self.state / "client" / "token").read_text().strip()

    def processes(self) -> list[int]:
        """Return every process that carries this environment's mark, or its folder in its command line."""
        marks = [str(self.state).encode()]
        found = []
        for entry in Path("/proc").iterdir():
            try:
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except (OSError, ValueError):
                continue
            if entry.name.isdigit() and any(mark in text for mark in marks):
                found.append(int(entry.name))
        return found

    def supervisor(self) -> int:
        """Return the process that keeps all others."""
        mark = b"UNICA_PART=supervisor"
        return next(p for p in self.processes() if mark in Path(f"/proc/{p}/environ").read_bytes())

    def remove(self) -> None:
        """End everything and remove the folder."""
        self.unica("down", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)
