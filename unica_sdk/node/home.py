"""A node's home: one folder with its keys, its policy, the keys it trusts, its index and its audit.

node.toml      site, name, country, [images]  index/        published versions, CURRENT names one
policy.toml    what the site insists on       snapshots/    frozen lists of patients
site.key       pseudonyms (HMAC)              cache/        images at training resolution
signing.key    tokens for the gateway         audit.jsonl   the site's own hash-chained audit
engine.key     the engine connection          budget.sqlite which questions were asked and paid for
records/       the records that stand         steward.pub, gateway.pub   whom the site trusts
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import TypeAdapter, ValidationError

from unica_sdk.audit import AuditLog
from unica_sdk.errors import ConfigurationError, InvalidRequest
from unica_sdk.files import locked, write_private
from unica_sdk.node.imaging.settings import ImageSettings
from unica_sdk.node.keys import SiteKey, make_key_files, read_engine_public_key, read_signing_key
from unica_sdk.schemas.catalogue import NodeEnrolment
from unica_sdk.schemas.contract import Contract, Digest
from unica_sdk.schemas.policy import SitePolicy

_APPROVED = re.compile(r"^approved_apps\s*=\s*\[[^\]]*\]", re.MULTILINE)
_FOLDERS = ("index", "snapshots", "cache")


class NodeHome:
    """A node's folder. Opening one reads nothing; each part is read when it is asked for.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "gr"
        >>> home = NodeHome.create(folder, site="gr", name="Aegean Breast Centre", country="GR")
        >>> home.site, home.policy().threshold
        ('gr', 10)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"NodeHome({str(self.folder)!r})"

    @classmethod
    def create(cls, folder: Path, *, site: str, name: str, country: str) -> NodeHome:
        """Make a node's folder with fresh keys and the default policy.

        Keys that are already there are kept: a new site key would orphan every pseudonym.

        Raises:
            ConfigurationError: there is a node already, the folder cannot be written, or a name is not one.
        """
        home = cls(folder)
        if home._node_file.exists():
            raise ConfigurationError(
                "There is a node in this folder already.", where=str(folder), hint="Choose another folder."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            for part in _FOLDERS:
                (folder / part).mkdir(exist_ok=True, mode=0o700)
            make_key_files(folder)
            identity = {"site": site, "name": name, "country": country}
            _enrolment(identity, home)
            if not home._policy_file.exists():
                write_private(home._policy_file, policy_text(SitePolicy()).encode())
            # Last: a folder without it is not yet a node, and `create` may be run again.
            write_private(home._node_file, _node_text(identity, ImageSettings()).encode())
        except OSError as err:
            raise ConfigurationError(
                "The node's folder cannot be written.", where=str(folder), hint=err.strerror or ""
            ) from err
        return home

    @classmethod
    def open(cls, folder: Path) -> NodeHome:
        """Return the node in a folder.

        Raises:
            ConfigurationError: there is none.
        """
        home = cls(folder)
        home._identity()
        return home

    @property
    def site(self) -> str:
        """The site's short name in the network."""
        return self._identity()["site"]

    def images(self) -> ImageSettings:
        """Read what the node prepares of its images and how much of the disk they may take.

        Raises:
            ConfigurationError: node.toml cannot be read, or holds an unknown or impossible setting.
        """
        said = self._node().get("images", {})
        try:
            return ImageSettings.model_validate(said)
        except ValidationError as err:
            raise _unset(err, "The node", ImageSettings, self._node_file) from err

    @property
    def audit(self) -> AuditLog:
        """The site's own audit."""
        return AuditLog(self.folder / "audit.jsonl")

    @property
    def index_folder(self) -> Path:
        """Where the published versions of the index are."""
        return self.folder / "index"

    @property
    def snapshot_folder(self) -> Path:
        """Where frozen lists of patients are."""
        return self.folder / "snapshots"

    @property
    def cache_folder(self) -> Path:
        """Where images at training resolution are kept; may be emptied at any time."""
        return self.folder / "cache"

    @property
    def engine_key_file(self) -> Path:
        """The private key of the engine connection, in OpenSSH form."""
        return self.folder / "engine.key"

    def enrolment(self) -> NodeEnrolment:
        """Return what the hub's operator enters about this site: names and public keys."""
        return _enrolment(self._identity(), self)

    def site_key(self) -> SiteKey:
        """Return the key of the site's pseudonyms."""
        path = self.folder / "site.key"
        try:
            return SiteKey(path.read_bytes())
        except (OSError, ConfigurationError) as err:
            raise ConfigurationError(
                "The site key cannot be read.",
                where=str(path),
                hint="Restore it from a backup: every pseudonym and snapshot of this site hangs on it.",
            ) from err

    def signing_key(self) -> Ed25519PrivateKey:
        """Return the key that signs the node's tokens for the gateway."""
        return read_signing_key(self.folder / "signing.key")

    def pin(self, steward_public: bytes, gateway_public: bytes) -> None:
        """Store the raw Ed25519 public keys whose permits and tickets this site accepts.

        Raises:
            InvalidRequest: one of them is not such a key.
        """
        for whose, raw in (("steward", steward_public), ("gateway", gateway_public)):
            try:
                Ed25519PublicKey.from_public_bytes(raw)
            except ValueError as err:
                raise InvalidRequest(f"This is not the {whose}'s Ed25519 public key.", where=whose) from err
        self.audit.append(
            actor="operator", action="pin", subject=self.site, steward=steward_public.hex(),
            gateway=gateway_public.hex(),
        )  # fmt: skip
        write_private(self.folder / "steward.pub", steward_public.hex().encode() + b"\n")
        write_private(self.folder / "gateway.pub", gateway_public.hex().encode() + b"\n")

    def steward_key(self) -> Ed25519PublicKey:
        """Return the pinned key that permits must verify against."""
        return self._pinned("steward")

    def gateway_key(self) -> Ed25519PublicKey:
        """Return the pinned key that tickets must verify against."""
        return self._pinned("gateway")

    def policy(self) -> SitePolicy:
        """Read the site's policy, afresh each time so that a change acts at once.

        Raises:
            ConfigurationError: the file is missing, is not TOML, or holds an unknown or impossible setting.
        """
        return _parse_policy(self._policy_text(), self._policy_file)

    def approve(self, app: str) -> None:
        """Add an app's digest to the approved ones, keeping the rest of policy.toml as it stands.

        Raises:
            InvalidRequest: this is not a digest.
            ConfigurationError: policy.toml cannot be read, or not be changed safely.
        """
        try:
            TypeAdapter(Digest).validate_python(app)
        except ValidationError as err:
            raise InvalidRequest("An app is named by the sha256:… of its bundle.", where=app[:80]) from err
        with locked(self.folder / ".policy.lock"):
            text = self._policy_text()
            policy = _parse_policy(text, self._policy_file)
            approved = tuple(sorted({*policy.approved_apps, app}))
            line = "approved_apps = [" + "".join(f'\n  "{a}",' for a in approved) + "\n]"
            changed, times = _APPROVED.subn(line, text)
            if times == 0:
                changed = text.rstrip("\n") + "\n\n" + line + "\n"
            expected = policy.model_copy(update={"approved_apps": approved})
            if _parse_policy(changed, self._policy_file) != expected:
                raise ConfigurationError(
                    "The approval could not be written into the policy.",
                    where=str(self._policy_file),
                    hint="Add the digest to approved_apps by hand.",
                )
            self.audit.append(actor="operator", action="approve", subject=app)
            write_private(self._policy_file, changed.encode())

    @property
    def _node_file(self) -> Path:
        return self.folder / "node.toml"

    @property
    def _policy_file(self) -> Path:
        return self.folder / "policy.toml"

    def _identity(self) -> dict[str, str]:
        return {key: str(value) for key, value in self._node().items() if key != "images"}

    def _node(self) -> dict[str, Any]:
        try:
            found = tomllib.loads(self._node_file.read_text(encoding="utf-8"))
        except OSError as err:
            raise ConfigurationError(
                "There is no node in this folder.", where=str(self.folder), hint="Run `unica node init`."
            ) from err
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
            raise ConfigurationError(f"Not TOML: {err}", where=str(self._node_file)) from err
        if set(found) - {"images"} != {"site", "name", "country"}:
            raise ConfigurationError(
                "node.toml must hold site, name and country, and may hold [images].",
                where=str(self._node_file),
            )
        return found

    def _policy_text(self) -> str:
        try:
            return self._policy_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigurationError(
                "The site's policy cannot be read; the node answers nothing without it.",
                where=str(self._policy_file),
            ) from err

    def _pinned(self, whose: str) -> Ed25519PublicKey:
        path = self.folder / f"{whose}.pub"
        try:
            return Ed25519PublicKey.from_public_bytes(bytes.fromhex(path.read_text().strip()))
        except (OSError, ValueError) as err:
            raise ConfigurationError(
                f"The {whose}'s public key is not pinned at this site.",
                where=str(path),
                hint="Pin the keys that the hub's operator and the data steward published.",
            ) from err


def policy_text(policy: SitePolicy) -> str:
    """Return a policy as TOML, each setting under what it means.

    Example:
        >>> print(policy_text(SitePolicy()).splitlines()[3])
        threshold = 10
    """
    lines = ["# What this site insists on. The node reads it afresh for every answer.", ""]
    return "\n".join(lines + _settings(policy))


def _settings(model: Contract) -> list[str]:
    """Return the lines of a model's settings, each under what it means."""
    lines: list[str] = []
    for name, field in type(model).model_fields.items():
        lines += [f"# {field.description}", f"{name} = {_toml_value(getattr(model, name))}", ""]
    return lines


def _node_text(identity: dict[str, str], images: ImageSettings) -> str:
    lines = [f"{key} = {_toml_value(value)}" for key, value in identity.items()]
    return "\n".join([*lines, "", "[images]", *_settings(images)])


def _parse_policy(text: str, path: Path) -> SitePolicy:
    try:
        return SitePolicy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as err:
        raise ConfigurationError(f"The policy is not TOML: {err}", where=str(path)) from err
    except ValidationError as err:
        raise _unset(err, "The policy", SitePolicy, path) from err


def _unset(err: ValidationError, whose: str, model: type[Contract], path: Path) -> ConfigurationError:
    """Say which setting of a file is unknown or impossible."""
    first = err.errors()[0]
    setting = ".".join(str(part) for part in first["loc"]) or "settings together"
    return ConfigurationError(
        f"{whose}'s {setting}: {first['msg'].removeprefix('Value error, ')}.",
        where=str(path),
        hint="Settings: " + ", ".join(model.model_fields) + ".",
    )


def _enrolment(identity: dict[str, str], home: NodeHome) -> NodeEnrolment:
    try:
        return NodeEnrolment(
            site=identity["site"],
            name=identity["name"],
            country=identity["country"],
            signing_key=home.signing_key().public_key().public_bytes_raw().hex(),
            engine_key=read_engine_public_key(home.engine_key_file),
        )
    except ValidationError as err:
        first = err.errors()[0]
        raise ConfigurationError(
            f"A node's {first['loc'][0]}: {first['msg']}.",
            where=str(home.folder),
            hint="site: short and lower-case; country: two capital letters.",
        ) from err


def _toml_value(value: Any) -> str:
    # JSON's strings, numbers and arrays are TOML's, DEL excepted, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
