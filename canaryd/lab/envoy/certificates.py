"""
The lab's certificate authority: one SPIFFE certificate for each service account, as istiod hands them out.

Keys lie in the lab's directory, readable by their owner only, and are worth nothing a day later.
"""

from __future__ import annotations

import datetime
import os
import threading
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from canaryd.lab.envoy.resources import extension

Json = dict[str, Any]
TRUST_DOMAIN = "cluster.local"
LIFETIME = datetime.timedelta(hours=24)
CLOCK_SKEW = datetime.timedelta(minutes=2)  # Istio backdates by it too
TLS = "envoy.transport_sockets.tls"


def spiffe(namespace: str, account: str) -> str:
    """The identity of a service account. Source: istio/istio pkg/spiffe/spiffe.go."""
    return f"spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{account}"


class Authority:
    """Signs certificates on demand, each once, and writes them for Envoy to read."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory.resolve()
        self._issued: dict[tuple[str, str], Path] = {}
        self._lock = threading.Lock()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, TRUST_DOMAIN)])
        root = self._certificate(self._name, self._key.public_key(), f"spiffe://{TRUST_DOMAIN}", is_authority=True)
        _write(self._root, root.public_bytes(serialization.Encoding.PEM))

    def client(self, namespace: str, account: str) -> Json:
        """The transport socket with which a proxy of this account calls others. Source: Istio's ALPN for mTLS."""
        message = "extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        anyone = [{"san_type": "URI", "matcher": {"prefix": f"spiffe://{TRUST_DOMAIN}/"}}]
        context = self._context(namespace, account, {"match_typed_subject_alt_names": anyone}, ["istio"])
        return extension(TLS, message, common_tls_context=context)

    def server(self, namespace: str, account: str) -> Json:
        """The transport socket with which a pod of this account takes calls: both sides show a certificate."""
        message = "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
        context = self._context(namespace, account, {}, ["istio", "h2", "http/1.1"])
        return extension(TLS, message, common_tls_context=context, require_client_certificate=True)

    @property
    def _root(self) -> Path:
        return self._directory / "root-cert.pem"

    def _context(self, namespace: str, account: str, checks: Json, protocols: list[str]) -> Json:
        place = self._issue(namespace, account)
        return {
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": f"{place}.pem"},
                    "private_key": {"filename": f"{place}.key"},
                }
            ],
            "validation_context": {"trusted_ca": {"filename": str(self._root)}, **checks},
            "alpn_protocols": protocols,
        }

    def _issue(self, namespace: str, account: str) -> Path:
        with self._lock:
            place = self._issued.get((namespace, account))
            if place is None:
                place = self._directory / f"{namespace}~{account}"
                key = ec.generate_private_key(ec.SECP256R1())
                certificate = self._certificate(x509.Name([]), key.public_key(), spiffe(namespace, account))
                _write(
                    Path(f"{place}.key"),
                    key.private_bytes(
                        serialization.Encoding.PEM,
                        serialization.PrivateFormat.PKCS8,
                        serialization.NoEncryption(),
                    ),
                )
                _write(Path(f"{place}.pem"), certificate.public_bytes(serialization.Encoding.PEM))
                self._issued[namespace, account] = place
            return place

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, identity: str, *, is_authority: bool = False
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        # An empty subject must have a critical SAN (RFC 5280, 4.2.1.6); Istio's workload certificates have that too.
        name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(name, critical=not is_authority)
            .sign(self._key, hashes.SHA256())
        )


def _write(place: Path, content: bytes) -> None:
    """Write a file that nobody else can read, not even for a moment."""
    place.unlink(missing_ok=True)
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
