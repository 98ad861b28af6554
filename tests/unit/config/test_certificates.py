from pathlib import Path

import pytest

from praefect.config.certificates import key_pair_fault
from praefect.config.praefect import parse_config
from praefect.config.sections import TlsConfig
from praefect.config.serve_rules import serve_faults
from tests.support.tls_certificates import Pair, make_authority
from tests.unit.config.config_table import section

ROOT = "create gRPC server: load certificate key pair: "


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_authority(tmp_path).issue("localhost")


def fault(certificate: Path, *, key_path: Path | None = None, key: str = "") -> str | None:
    found = key_pair_fault(TlsConfig(certificate_path=str(certificate), key_path=str(key_path or ""), key=key))
    return None if found is None else str(found)


def test_a_pair_that_fits(pair: Pair) -> None:
    assert fault(pair.certificate_path, key_path=pair.key_path) is None
    assert fault(pair.certificate_path, key=pair.key_path.read_text()) is None


def test_a_key_of_another_certificate(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make_authority(tmp_path / "other").issue("localhost")
    expected = "loading x509 keypair: tls: private key does not match public key"
    assert fault(pair.certificate_path, key_path=other.key_path) == f"key_path: {expected}"
    assert fault(pair.certificate_path, key=other.key_path.read_text()) == f"key: {expected}"


def test_files_without_pem_data(pair: Pair, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    expected = "loading x509 keypair: tls: failed to find any PEM data in"
    assert fault(empty, key_path=pair.key_path) == f"certificate_path: {expected} certificate input"
    assert fault(pair.certificate_path, key_path=empty) == f"key_path: {expected} key input"
    assert fault(pair.certificate_path, key="secret") == f"key: {expected} key input"


def test_the_server_looks_at_the_pair_only_if_it_listens_with_tls(pair: Pair) -> None:
    keys = '[tls]\ncertificate_path = "/none/c"\nkey_path = "/none/k"'
    assert list(serve_faults(parse_config(section(keys).encode()).config)) == []
    text = f'tls_listen_addr = "x:1"\n{section(keys)}'
    expected = f"{ROOT}loading x509 keypair: open /none/c: no such file or directory"
    assert list(serve_faults(parse_config(text.encode()).config)) == [expected]
    good = section(f'[tls]\ncertificate_path = "{pair.certificate_path}"\nkey_path = "{pair.key_path}"')
    assert list(serve_faults(parse_config(f'tls_listen_addr = "x:1"\n{good}'.encode()).config)) == []


def test_the_server_without_a_section(pair: Pair) -> None:
    text = f'tls_listen_addr = "x:1"\n{section("")}'
    expected = f"{ROOT}loading x509 keypair: open : no such file or directory"
    assert list(serve_faults(parse_config(text.encode()).config)) == [expected]
    inline = f'tls_listen_addr = "x:1"\n{section("[tls]")}key = """{pair.key_path.read_text()}"""'
    expected = f"{ROOT}reading certificate_path: open : no such file or directory"
    assert list(serve_faults(parse_config(inline.encode()).config)) == [expected]
