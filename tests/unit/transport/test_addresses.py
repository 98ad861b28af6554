"""Addresses to listen on and to dial, as sections 1.1 and 1.2 of the wire reference list them."""

import pytest

from praefect.transport.addresses import DialAddress, DialKind, InvalidAddressError, ListenAddress
from praefect.transport.peer import ListenerKind


@pytest.mark.parametrize(
    ("raw", "kind", "host", "port", "authority", "scheme"),
    [
        ("tcp://gitaly-1:8075", DialKind.TCP, "gitaly-1", 8075, "gitaly-1:8075", "http"),
        ("tcp://gitaly-1", DialKind.TCP, "gitaly-1", 443, "gitaly-1", "http"),
        ("TCP://gitaly-1:1", DialKind.TCP, "gitaly-1", 1, "gitaly-1:1", "http"),
        ("tcp://[::1]:8075", DialKind.TCP, "::1", 8075, "[::1]:8075", "http"),
        ("tcp://[::1]", DialKind.TCP, "::1", 443, "[::1]", "http"),
        ("tls://gitaly-1:9999", DialKind.TLS, "gitaly-1", 9999, "gitaly-1:9999", "https"),
        ("dns:gitaly:8075", DialKind.DNS, "gitaly", 8075, "gitaly:8075", "http"),
        ("dns:gitaly", DialKind.DNS, "gitaly", 443, "gitaly", "http"),
        ("dns:///gitaly:8075", DialKind.DNS, "gitaly", 8075, "gitaly:8075", "http"),
        ("dns:///[::1]:8075", DialKind.DNS, "::1", 8075, "[::1]:8075", "http"),
        ("dns+tls:gitaly:8075", DialKind.DNS_TLS, "gitaly", 8075, "gitaly", "https"),
        ("dns+tls:///gitaly:8075", DialKind.DNS_TLS, "gitaly", 8075, "gitaly", "https"),
    ],
)
def test_remote_address(raw: str, kind: DialKind, host: str, port: int, authority: str, scheme: str) -> None:
    address = DialAddress.parse(raw)
    assert (address.kind, address.host, address.port) == (kind, host, port)
    assert (address.authority, address.scheme) == (authority, scheme)
    assert address.nameserver is None
    assert address.raw == raw


@pytest.mark.parametrize(
    ("raw", "nameserver"),
    [
        ("dns://192.0.2.53/gitaly:8075", ("192.0.2.53", 53)),
        ("dns://192.0.2.53:5353/gitaly:8075", ("192.0.2.53", 5353)),
        ("dns+tls://[2001:db8::53]:5353/gitaly:8075", ("2001:db8::53", 5353)),
    ],
)
def test_name_server_of_an_address(raw: str, nameserver: tuple[str, int]) -> None:
    address = DialAddress.parse(raw)
    assert address.nameserver == nameserver
    assert (address.host, address.port) == ("gitaly", 8075)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("unix:/run/gitaly.socket", "/run/gitaly.socket"),
        ("unix:///run/gitaly.socket", "/run/gitaly.socket"),
        ("unix:run/gitaly.socket", "run/gitaly.socket"),
    ],
)
def test_unix_address(raw: str, path: str) -> None:
    address = DialAddress.parse(raw)
    assert (address.kind, address.path) == (DialKind.UNIX, path)
    assert (address.authority, address.scheme) == ("localhost", "http")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("gitaly-2:8075", 'invalid connection string: "gitaly-2:8075"'),
        ("", 'invalid connection string: ""'),
        ("/run/gitaly.socket", 'invalid connection string: "/run/gitaly.socket"'),
        ("http://gitaly:80", 'invalid connection string: "http://gitaly:80"'),
        ("unix:", 'invalid connection string: "unix:"'),
        ("dns:", 'invalid connection string: "dns:"'),
        ("dns://192.0.2.53", 'invalid connection string: "dns://192.0.2.53"'),
        ("dns://nameserver/gitaly:1", 'invalid connection string: "dns://nameserver/gitaly:1"'),
        (
            "tcp:////10.0.0.1:2305",
            "failed to extract host for 'tcp' connection: remote addresses should not have a path: \"//10.0.0.1:2305\"",
        ),
        ("tls://h/p", "failed to extract host for 'tls' connection: remote addresses should not have a path: \"/p\""),
        ("tcp:/x", "failed to extract host for 'tcp' connection: remote addresses should not have a path: \"/x\""),
        ("tcp:///x", "failed to extract host for 'tcp' connection: remote addresses should not have a path: \"/x\""),
        ("tcp://", "failed to extract host for 'tcp' connection: remote addresses should have a host"),
        ("tcp://::1:80", "address ::1:80: too many colons in address"),
        ("tcp://h:99999", "address tcp://h:99999: invalid port"),
        ("tcp://h:http", "address tcp://h:http: invalid port"),
    ],
)
def test_address_that_cannot_be_dialled(raw: str, message: str) -> None:
    with pytest.raises(InvalidAddressError) as caught:
        DialAddress.parse(raw)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("0.0.0.0:2305", ListenerKind.TCP, ListenAddress(kind=ListenerKind.TCP, host="0.0.0.0", port=2305)),
        (":2305", ListenerKind.TCP, ListenAddress(kind=ListenerKind.TCP, port=2305)),
        ("[::]:2305", ListenerKind.TCP, ListenAddress(kind=ListenerKind.TCP, host="::", port=2305)),
        ("tls://localhost:3305", ListenerKind.TCP, ListenAddress(kind=ListenerKind.TLS, host="localhost", port=3305)),
        ("localhost:3305", ListenerKind.TLS, ListenAddress(kind=ListenerKind.TLS, host="localhost", port=3305)),
        ("tcp://localhost:1", ListenerKind.TLS, ListenAddress(kind=ListenerKind.TCP, host="localhost", port=1)),
        ("/run/p.socket", ListenerKind.UNIX, ListenAddress(kind=ListenerKind.UNIX, path="/run/p.socket")),
        ("unix:///run/p.socket", ListenerKind.TCP, ListenAddress(kind=ListenerKind.UNIX, path="/run/p.socket")),
    ],
)
def test_listen_address(text: str, kind: ListenerKind, expected: ListenAddress) -> None:
    assert ListenAddress.parse(text, kind) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("xx", "listen tcp: address xx: missing port in address"),
        ("1:2:3", "listen tcp: address 1:2:3: too many colons in address"),
        ("[::1", "listen tcp: address [::1: missing ']' in address"),
        ("h:x", "listen tcp: address h:x: invalid port"),
        ("http://h:1", 'unsupported schema: "http"'),
        ("tcp://tcp://h:1", 'unsupported format: "tcp://tcp://h:1"'),
        ("unix://", 'empty address can\'t be used: "unix://"'),
    ],
)
def test_address_that_cannot_be_listened_on(text: str, message: str) -> None:
    with pytest.raises(InvalidAddressError) as caught:
        ListenAddress.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "shown", "dialled"),
    [
        ("tcp://:2305", "tcp://:2305", "tcp://127.0.0.1:2305"),
        ("tcp://0.0.0.0:2305", "tcp://0.0.0.0:2305", "tcp://127.0.0.1:2305"),
        ("tls://[::]:2305", "tls://[::]:2305", "tls://[::1]:2305"),
        ("tcp://10.1.2.3:2305", "tcp://10.1.2.3:2305", "tcp://10.1.2.3:2305"),
        ("unix:///run/p.socket", "unix:///run/p.socket", "unix:/run/p.socket"),
    ],
)
def test_listen_address_can_be_shown_and_dialled(text: str, shown: str, dialled: str) -> None:
    address = ListenAddress.parse(text)
    assert str(address) == shown
    assert address.dial_address == dialled
    DialAddress.parse(dialled)
