"""Root starts the environment, a service user runs it."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from unica_sdk.environment import relocation
from unica_sdk.environment.layout import SERVICE_USER, SOFTWARE, Layout
from unica_sdk.errors import ConfigurationError

_TRY = """
import sys
import hub_config, unica_sdk.errors
sys.exit(not unica_sdk.errors.__file__.startswith(sys.argv[1]))
"""


def prepare(layout: Layout, *, say: Callable[[str], None]) -> None:
    """As root: make the service user and give it the state folder. As anybody else: nothing.

    Where that user cannot enter this clone, the software is copied beside the state folder, and this process
    becomes the same command run from there.

    Raises:
        ConfigurationError: the user cannot be made, or cannot reach the copy, its Python or the state folder.
    """
    if os.geteuid() != 0:
        return
    account = _account(layout)
    _hand_over(layout.state, account)
    if _reaches(account, layout, SOFTWARE, Path(sys.executable)):
        return
    copy = relocation.place(layout)
    if closed_folder(layout.state.parent) is None:
        say(f"The user {account.pw_name!r} cannot enter this clone: the parts run from a copy, {copy}.")
        relocation.refresh(layout)
        if _reaches(account, layout, copy, copy / ".venv" / "bin" / "python"):
            relocation.become_copy(layout)
    raise ConfigurationError(
        f"The service user {account.pw_name!r} cannot reach the state folder, the software or its Python.",
        where=str(closed_folder(layout.state.parent, Path(sys.executable).resolve()) or SOFTWARE),
        hint="Choose a --state in a folder that every user may enter, and install with the system's Python "
        "(`make run` does).",
    )


def become_owner(layout: Layout) -> None:
    """As root: become the owner of the state folder for good. As anybody else: nothing.

    So that no command leaves a file behind that the parts cannot write, nor trusts theirs with root's powers.
    """
    if os.geteuid() != 0 or not layout.state.exists():
        return
    owner = layout.state.stat().st_uid
    if owner == 0:
        return
    if closed_folder(SOFTWARE, Path(sys.prefix)) and relocation.place(layout).is_dir():
        relocation.become_copy(layout)
    account = pwd.getpwuid(owner)
    os.chdir("/")
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ.update(HOME=str(layout.home), USER=account.pw_name, LOGNAME=account.pw_name)


def _account(layout: Layout) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SERVICE_USER)
    except KeyError:
        pass
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    try:
        subprocess.run(
            [*command, "--home-dir", str(layout.home), SERVICE_USER],
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        return pwd.getpwnam(SERVICE_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as err:
        detail = getattr(err, "stderr", "") or str(err)
        raise ConfigurationError(
            f"The service user {SERVICE_USER!r} could not be made: {detail.strip()}",
            hint="Make it by hand (useradd --system), or start UNICA as an ordinary user.",
        ) from err


def _hand_over(state: Path, account: pwd.struct_passwd) -> None:
    """Give the folder, and what an earlier root left in it, to the service user."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        owner = state.stat().st_uid
        if owner == account.pw_uid:
            return
        if owner != 0:
            raise ConfigurationError(
                f"The state folder belongs to {_name(owner)}.",
                where=str(state),
                hint="Start UNICA as that user, or choose another folder with --state.",
            )
        if any(state.iterdir()) and not (state / "run").is_dir():
            raise ConfigurationError(
                "The folder holds something that is not UNICA's state.",
                where=str(state),
                hint="Choose an empty or new folder with --state.",
            )
        state.chmod(0o700)
        for folder, folders, files in os.walk(state):
            for name in (*folders, *files):
                os.chown(Path(folder) / name, account.pw_uid, account.pw_gid, follow_symlinks=False)
        os.chown(state, account.pw_uid, account.pw_gid)
    except OSError as err:
        raise ConfigurationError(
            f"The state folder cannot be made: {err.strerror}.",
            where=str(state),
            hint="Choose another one with --state.",
        ) from err


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _reaches(account: pwd.struct_passwd, layout: Layout, software: Path, python: Path) -> bool:
    """Try what the parts will do: run a Python, import this code, enter the state folder."""
    try:
        tried = subprocess.run(
            [python, "-B", "-c", _TRY, str(software)],
            cwd=layout.state,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0


def closed_folder(*paths: Path) -> Path | None:
    """Return the first folder on the way to these paths that other users may not enter."""
    for path in paths:
        for folder in (*reversed(path.parents), path):
            if folder.is_dir() and not folder.stat().st_mode & 0o001:
                return folder
    return None
