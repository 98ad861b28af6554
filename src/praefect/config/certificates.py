"""Whether a certificate and its key can be used together."""

import os
import re
import ssl
from typing import Final

from praefect.config.faults import ConfigError, Fault
from praefect.config.reading import read_file
from praefect.config.sections import TlsConfig

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----")
_KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")
_MISMATCH: Final = "KEY_VALUES_MISMATCH"


def key_pair_fault(tls: TlsConfig) -> Fault | None:
    """What keeps the pair from being loaded, with a key path relative to ``[tls]``; the files must exist."""
    key_name = "key" if tls.key else "key_path"
    try:
        certificate = read_file(tls.certificate_path)
        key = tls.key.encode() if tls.key else read_file(tls.key_path)
    except ConfigError as exc:
        return _fault("certificate_path", str(exc))
    if not _CERTIFICATE.search(certificate):
        return _fault("certificate_path", "tls: failed to find any PEM data in certificate input")
    if not _KEY.search(key):
        return _fault(key_name, "tls: failed to find any PEM data in key input")
    try:
        _load(certificate + b"\n" + key)
    except ssl.SSLError as exc:
        if exc.reason == _MISMATCH:
            return _fault(key_name, "tls: private key does not match public key")
        return _fault("certificate_path", f"tls: {exc.reason or exc}")
    return None


def _load(pem: bytes) -> None:
    # the pair is handed over in memory: an inline key shall not touch a disk
    descriptor = os.memfd_create("key-pair", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as stream:  # a descriptor has no path
            stream.write(pem)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(f"/proc/self/fd/{descriptor}", password=_refuse)
    finally:
        os.close(descriptor)


def _refuse() -> str:
    return ""  # an encrypted key must not ask on the terminal


def _fault(name: str, text: str) -> Fault:
    return Fault((name,), f"loading x509 keypair: {text}")
