"""Sign-in against the registry; a person removed from it is out within seconds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from jupyterhub import orm  # type: ignore[import-untyped]
from jupyterhub.auth import Authenticator  # type: ignore[import-untyped]
from sqlalchemy.orm import object_session
from traitlets import Unicode

from hub_config.registry import Registry
from unica_sdk.audit import AuditLog


class RegistryAuthenticator(Authenticator):  # type: ignore[misc]
    """Names, passwords, groups and expiry from `registry.json`; the groups decide everything else.

    With `auth_refresh_strict` the hub asks again every `auth_refresh_age` seconds, cookies and tokens alike.
    """

    registry_file = Unicode(help="The registry of people.").tag(config=True)
    audit_file = Unicode(help="The audit that sign-ins are recorded in.").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # One attempt at a time: a password costs 32 MiB to check, and guessing stays slow.
        self._turn = asyncio.Semaphore(1)

    @property
    def registry(self) -> Registry:
        """The registry as it now is on disk."""
        return Registry(Path(self.registry_file))

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:
        """Return the person's name and groups, or None where name and password do not fit.

        Raises:
            AuditBroken: the sign-in cannot be recorded, so it does not happen.
        """
        name = self.normalize_username(data["username"])
        async with self._turn:
            return await asyncio.to_thread(self._sign_in, name, data["password"])

    def _sign_in(self, name: str, password: str) -> dict[str, Any] | None:
        account = self.registry.check(name, password)
        audit = AuditLog(Path(self.audit_file))
        if account is None:
            # What was typed as a name may be a password: record it only where somebody has that name.
            known = any(person.name == name for person in self.registry.people())
            audit.append(actor=name if known else "unknown", action="sign-in-refused", subject="hub")
            return None
        audit.append(actor=name, action="sign-in", subject="hub", groups=list(account.groups))
        return {"name": name, "groups": list(account.groups)}

    def check_allowed(self, username: str, authentication: Any = None) -> bool:
        """Whether the person is registered and their account has not expired."""
        return self.registry.active(username) is not None

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> dict[str, Any] | bool:
        """Return the person's groups as they now are, or False where they may no longer be inside."""
        account = self.registry.active(user.name)
        return {"name": user.name, "groups": list(account.groups)} if account else False

    def add_user(self, user: Any) -> None:
        """Give a person the hub comes to know their groups, before their first sign-in.

        Without this the operator could not make a terminal token for somebody who never signed in.
        """
        super().add_user(user)
        account = self.registry.active(user.name)
        _set_groups(getattr(user, "orm_user", user), account.groups if account else ())


def _set_groups(person: orm.User, names: tuple[str, ...]) -> None:
    session = object_session(person)
    if session is None:
        raise ValueError(f"{person.name} is not in the hub's database")
    groups = [orm.Group.find(session, name) or orm.Group(name=name) for name in names]
    person.groups = groups
    session.commit()
