"""
What stands before a Prometheus: its own TLS, passwords and base path, and a proxy that lets in whom it knows.

The proxy is strict: a request without each header that it asks for never reaches the Prometheus behind it.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from canaryd.settings import Source
from tests.metrics.answering import Answering

PASSWORD = "correct-horse"
HASHED = "$2b$04$LC3HeV189eOray44lEUKXexSJzyiE.3s8Zi7u45S99/kkYTecwy1q"
"""PASSWORD as bcrypt has it, which Prometheus' web.config wants."""


class Authority:
    """A certificate authority of the test's own, with a certificate for a server and one for us, as files."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(name, self._key, ca=True)
        self.ca = folder / f"{name}.crt"
        self.ca.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, kept = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.write_bytes(self._sign(name, key, ca=False).public_bytes(serialization.Encoding.PEM))
        kept.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, kept

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now, public = datetime.now(UTC), key.public_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = subject if ca else self._certificate.subject
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, **usage),
                True,
            )
            .add_extension(x509.ExtendedKeyUsage(both), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
            .sign(self._key, hashes.SHA256())
        )


@dataclass
class Guard:
    """How a real Prometheus is guarded: TLS with an authority of its own, a password, a base path, our certificate."""

    folder: Path
    prefix: str = "/team/prometheus"
    certificates: bool = True
    authority: Authority = field(init=False)

    def __post_init__(self) -> None:
        self.authority = Authority(self.folder)
        certificate, key = self.authority.issue("server")
        self.cert, self.key = self.authority.issue("client")
        self.password = self.folder / "password"
        self.password.write_text(f"{PASSWORD}\n")
        tls: dict[str, str] = {"cert_file": str(certificate), "key_file": str(key)}
        if self.certificates:
            tls |= {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": str(self.authority.ca)}
        config = {"tls_server_config": tls, "basic_auth_users": {"canaryd": HASHED}}
        (self.folder / "web.yml").write_text(yaml.safe_dump(config))

    @property
    def arguments(self) -> list[str]:
        """Of Prometheus' command line."""
        return [f"--web.config.file={self.folder / 'web.yml'}", f"--web.route-prefix={self.prefix}"]

    def source(self, port: int) -> Source:
        """How it is reached."""
        return Source(
            url=f"https://127.0.0.1:{port}{self.prefix}",
            ca=self.authority.ca,
            cert=self.cert if self.certificates else None,
            key=self.key if self.certificates else None,
            username="canaryd",
            password_file=self.password,
        )

    def open(self, request: urllib.request.Request, seconds: float) -> int:
        """The status of an answer, asked for without canaryd."""
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        context.load_cert_chain(self.cert, self.key)
        pair = base64.b64encode(f"canaryd:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {pair}")
        with urllib.request.urlopen(request, timeout=seconds, context=context) as answer:
            return int(answer.status)


class Proxy(Answering):
    """
    A proxy before ``upstream``, on a port of 127.0.0.1; use as a context manager.

    A request is passed on if it shows each of ``wanted`` (header: value); otherwise it is answered with 401 and
    ``refusal``, in which ``{shown}`` is what it showed. ``asked`` are the paths that came, ``statuses`` the answers.
    """

    def __init__(self, upstream: str, wanted: Mapping[str, str], refusal: str = "Unauthorized") -> None:
        self.upstream = upstream
        self.wanted = dict(wanted)
        self.refusal = refusal
        self.asked: list[str] = []
        self.statuses: list[int] = []
        super().__init__(self._pass_on, name="proxy", lasting=True)

    def _pass_on(self, path: str, shown: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        self.asked.append(path)
        names = {name.lower(): value for name, value in shown.items()}
        if all(names.get(name.lower()) == value for name, value in self.wanted.items()):
            status, answer = _forward(f"{self.upstream}{path}", body)
        else:
            status, answer = 401, self.refusal.format(shown=shown).encode()
        self.statuses.append(status)
        return status, answer


def _forward(url: str, body: bytes) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=5) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
