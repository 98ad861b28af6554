"""Certificates for tests: an authority and what it issues, as files."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate_path: Path
    key_path: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates."""

    directory: Path
    certificate_path: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def issue(self, host: str, *, expired: bool = False) -> Pair:
        """Issue a certificate for a host name or IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        name: x509.GeneralName
        try:
            name = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        lasts = timedelta(minutes=-1) if expired else timedelta(days=1)
        builder = _builder(host, self.certificate.subject, key, lasts).add_extension(
            x509.SubjectAlternativeName([name]), critical=False
        )
        file = f"{host}-expired" if expired else host
        return _write(self.directory, file, builder.sign(self.key, hashes.SHA256()), key)


def make_authority(directory: Path, name: str = "test authority") -> Authority:
    """Make an authority whose files lie in ``directory``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    builder = _builder(name, subject, key).add_extension(constraints, critical=True)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    pair = _write(directory, "authority", certificate, key)
    return Authority(directory, pair.certificate_path, certificate, key)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lasts: timedelta = timedelta(days=1)
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + lasts)
    )


def _write(directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
    pair.certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key_path.touch(mode=0o600)
    pair.key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair
