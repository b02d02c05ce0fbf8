"""Find a Python 3.11 and hand over to `installation.py`: the first thing that `make run` and `make test` run.

Standard library only, in a syntax that every Python 3 can read, so that an old one gets a sentence and not
a syntax error. Usage: `python3 hub_config/deploy/bootstrap.py run|test|install`.
"""

import os
import shutil
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

WANTED = (3, 11)
SYSTEM_PYTHON = "/usr/bin/python3.11"
PACKAGES = ["python3.11", "python3.11-venv"]


def is_root() -> bool:
    """Whether this process may install system packages."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def fits(python: str) -> bool:
    """Whether this interpreter runs and is the wanted version."""
    code = "import sys; sys.exit(sys.version_info[:2] != (%d, %d))" % WANTED
    try:
        return subprocess.call([python, "-I", "-c", code], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def has_venv(python: str) -> bool:
    """Whether this interpreter can make virtual environments; Debian packs that part apart."""
    return subprocess.call([python, "-I", "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL) == 0


def find_python() -> "str | None":
    """Return a Python 3.11, or None.

    Root takes the system's own: a service user must be able to run it, and the one on PATH may live in a
    private home.
    """
    candidates = [shutil.which("python3.11"), SYSTEM_PYTHON, sys.executable]
    if is_root():
        candidates = [SYSTEM_PYTHON, *candidates]
    for python in candidates:
        if python and fits(python):
            return python
    return None


def apt_install(packages: "list[str]") -> bool:
    """Install system packages where that is possible; return whether it worked."""
    if not (is_root() and shutil.which("apt-get")):
        return False
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "install", "-y", "--no-install-recommends", "-qq", *packages]
    sys.stdout.write("Installing with apt-get: " + " ".join(packages) + "\n")
    sys.stdout.flush()
    if subprocess.call(install, env=environment) == 0:
        return True
    if subprocess.call(["apt-get", "update", "-qq"], env=environment) != 0:
        return False
    return subprocess.call(install, env=environment) == 0


def stop(what: str, command: str) -> "NoReturn":
    """Say what is missing and what to do, and end."""
    sys.exit("UNICA-100 " + what + "\n  -> " + command)


def main(arguments: "list[str]") -> None:
    """Find or install Python 3.11, then become the installation."""
    python = find_python()
    if (python is None or not has_venv(python)) and apt_install(PACKAGES):
        python = find_python()
    advice = "On Debian 12: sudo apt-get install " + " ".join(PACKAGES) + ". Then run this again."
    if python is None:
        found = "%d.%d" % sys.version_info[:2]
        stop("UNICA needs Python 3.11; none was found (this one is %s)." % found, advice)
    if not has_venv(python):
        stop("%s cannot make virtual environments (ensurepip is missing)." % python, advice)
    here = os.path.dirname(os.path.abspath(__file__))
    os.execv(python, [python, "-I", os.path.join(here, "installation.py"), *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
