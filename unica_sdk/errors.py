"""Every error UNICA raises, as one tree.

Runs in every zone. May see nothing but the texts it is given. Must never import another UNICA module.

    UnicaError
    ├── ConfigurationError        the installation, a folder, a port, a settings file
    ├── InvalidRequest            what was asked is malformed; nothing was done
    │   ├── UnknownTerm           a word outside the shared vocabulary
    │   └── Inexpressible         a query in another language that ours cannot say
    ├── NotFound                  no such job, dataset, node, cohort
    ├── AccessDenied              identity or scope
    │   ├── NotSignedIn
    │   └── PermitProblem         missing, expired, foreign or too narrow permit
    ├── SignatureInvalid          a signed document that does not verify
    ├── Unavailable               the other side did not answer
    ├── JobFailed                 a job ended without a result
    ├── AuditBroken               the audit cannot be written, or its chain does not hold
    └── DataError                 a file or table that cannot be read as it should be

Each class has a stable `code`; `docs/errors.md` has a paragraph on every one of them, kept by a test.
"""

from __future__ import annotations

from typing import ClassVar


class UnicaError(Exception):
    """The root of all UNICA errors: what happened, where, and what to do.

    Example:
        >>> print(UnicaError("The gateway did not answer.", where="gateway.sock", hint="Run `unica up`."))
        UNICA-000 The gateway did not answer. [gateway.sock] → Run `unica up`.
    """

    code: ClassVar[str] = "UNICA-000"

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        where = f" [{self.where}]" if self.where else ""
        hint = f" → {self.hint}" if self.hint else ""
        return f"{self.code} {self.message}{where}{hint}"


class ConfigurationError(UnicaError):
    """The installation, a folder, a port or a settings file is not as it must be."""

    code = "UNICA-100"


class InvalidRequest(UnicaError):  # noqa: N818 - named as a researcher would say it
    """What was asked is malformed; nothing was done."""

    code = "UNICA-200"


class UnknownTerm(InvalidRequest):
    """A word outside the shared vocabulary was used in a query or a table."""

    code = "UNICA-201"


class Inexpressible(InvalidRequest):
    """A query in another language says what ours cannot; `criteria` are the fields that it is about."""

    code = "UNICA-202"

    def __init__(
        self, message: str, *, where: str = "", hint: str = "", criteria: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.criteria = criteria


class NotFound(UnicaError):  # noqa: N818
    """No such job, dataset, node, cohort or app, or none that the caller may see."""

    code = "UNICA-210"


class AccessDenied(UnicaError):  # noqa: N818
    """The caller is known and may not do this."""

    code = "UNICA-300"


class NotSignedIn(AccessDenied):
    """The caller's token is missing, expired or unknown to the hub."""

    code = "UNICA-301"


class PermitProblem(AccessDenied):
    """The permit is missing, expired, somebody else's, or too narrow for what was asked."""

    code = "UNICA-310"


class SignatureInvalid(UnicaError):  # noqa: N818
    """A signed document does not verify against the pinned key."""

    code = "UNICA-320"


class Unavailable(UnicaError):  # noqa: N818
    """The other side did not answer; trying again later may help."""

    code = "UNICA-400"


class JobFailed(UnicaError):  # noqa: N818
    """A job ended without a result; the failure names its code, site and hint."""

    code = "UNICA-500"


class AuditBroken(UnicaError):  # noqa: N818
    """The audit could not be written, so the action did not happen; or its chain does not hold."""

    code = "UNICA-600"


class DataError(UnicaError):
    """A file or table cannot be read as it should be."""

    code = "UNICA-700"


def error_tree() -> dict[str, type[UnicaError]]:
    """Return every error class by its stable code.

    Example:
        >>> error_tree()["UNICA-310"].__name__
        'PermitProblem'
    """
    found: dict[str, type[UnicaError]] = {}
    todo: list[type[UnicaError]] = [UnicaError]
    while todo:
        kind = todo.pop()
        if "code" in vars(kind):  # a class without a code of its own is its parent to the outside
            found[kind.code] = kind
        todo.extend(kind.__subclasses__())
    return dict(sorted(found.items()))
