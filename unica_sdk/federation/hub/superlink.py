"""The engine's own process (SuperLink): its secret, its certificate, its command line.

It listens on loopback only and for three kinds of caller: the sites' connections (through a reverse proxy
from issue E on), the coordinator, which alone holds the secret that takes server tasks, and the gateway,
which starts and stops runs. It starts no process of its own, installs nothing and calls nobody.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from unica_sdk.errors import ConfigurationError
from unica_sdk.federation import adapter

SECRET = "superexec.secret"  # noqa: S105 - a file name
CERTIFICATE = "superlink.crt"
KEY = "superlink.key"
DATABASE = "superlink.db"


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A process to start: its command line, which holds no secret, and its whole environment."""

    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)


def prepare(folder: Path) -> None:
    """Make the engine's folder, secret and certificate where they are not there yet.

    The certificate is for loopback and signs itself; its key never leaves the folder. It is there because the
    engine checks sites' keys on encrypted connections only.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder / SECRET).exists():
            _write_private(folder / SECRET, secrets.token_bytes(32))
        if not (folder / CERTIFICATE).exists() or not (folder / KEY).exists():
            key, certificate = _self_signed()
            _write_private(folder / KEY, key)
            (folder / CERTIFICATE).write_bytes(certificate)
    except OSError as err:
        raise ConfigurationError(
            "The engine's folder cannot be written.",
            where=str(folder),
            hint="It must belong to the user that the environment runs as.",
        ) from err


def run_superlink(folder: Path, *, port: int, host: str = "127.0.0.1") -> Launch:
    """Prepare the engine's folder and return what starts the engine, for the supervisor to execute."""
    prepare(folder)
    start = "from flwr.superlink.cli import flower_superlink; flower_superlink()"
    command = (
        *(sys.executable, "-c", start, "--host", host, "--port", str(port)),
        *("--isolation", "process", "--superexec-auth-secret-file", str(folder / SECRET)),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
        *("--ssl-certfile", str(folder / CERTIFICATE), "--ssl-keyfile", str(folder / KEY)),
        *("--ssl-ca-certfile", str(folder / CERTIFICATE)),
        *("--database", str(folder / DATABASE)),
    )
    environment = dict(os.environ) | adapter.environment(folder / "flwr")
    return Launch(command=command, environment=environment)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _self_signed() -> tuple[bytes, bytes]:
    """Return a private key and a certificate of it for loopback, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "UNICA engine")])
    now = datetime.datetime.now(datetime.UTC)
    addresses = [x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)
