"""Addresses as configuration writes them: where to listen, and whom to dial.

Source: the Praefect wire reference, sections 1.1 and 1.2.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from praefect.domain.errors import InvalidArgumentError
from praefect.transport.peer import ListenerKind

if TYPE_CHECKING:
    from urllib.parse import SplitResult

DEFAULT_PORT = 443
"""What name resolution assumes; always write the port."""
_DNS_PORT = 53


class InvalidAddressError(InvalidArgumentError):
    """An address cannot be understood."""


def split_host_port(text: str) -> tuple[str, str | None]:
    """Split ``host:port``; a host with colons needs brackets. Without a port the second part is ``None``.

    Raises:
        InvalidAddressError: too many colons, or brackets that do not match.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            msg = f"address {text}: missing ']' in address"
            raise InvalidAddressError(msg)
        return host, rest[1:] if rest else None
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, None
    if ":" in host:
        msg = f"address {text}: too many colons in address"
        raise InvalidAddressError(msg)
    return host, port


def join_host_port(host: str, port: int) -> str:
    """Return ``host:port``, with brackets where the host has colons."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_port(text: str, address: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        msg = f"address {address}: invalid port"
        raise InvalidAddressError(msg)
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where to listen.

    Attributes:
        kind: TCP, TLS or unix socket.
        host: empty for all interfaces.
        port: 0 lets the system choose.
        path: of the unix socket.
    """

    kind: ListenerKind
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str, kind: ListenerKind = ListenerKind.TCP) -> ListenAddress:
        """Parse a configured value; a prefix ``tcp://``, ``tls://`` or ``unix://`` overrides ``kind``.

        Raises:
            InvalidAddressError: the prefix is unknown, or the rest is no address.
        """
        schema, separator, rest = text.partition("://")
        if separator:
            if schema not in {"tcp", "tls", "unix"}:
                msg = f'unsupported schema: "{schema}"'
                raise InvalidAddressError(msg)
            if "://" in rest:
                msg = f'unsupported format: "{text}"'
                raise InvalidAddressError(msg)
            kind = ListenerKind(schema)
        else:
            rest = text
        if kind is ListenerKind.UNIX:
            if not rest:
                msg = f'empty address can\'t be used: "{text}"'
                raise InvalidAddressError(msg)
            return cls(kind=kind, path=rest)
        try:
            host, port = split_host_port(rest)
            number = None if port is None else _parse_port(port, rest)
        except InvalidAddressError as exc:
            msg = f"listen tcp: {exc}"
            raise InvalidAddressError(msg) from exc
        if number is None:
            msg = f"listen tcp: address {rest}: missing port in address"
            raise InvalidAddressError(msg)
        return cls(kind=kind, host=host, port=number)

    @property
    def text(self) -> str:
        """The address without its kind: ``host:port`` or the path."""
        return self.path if self.kind is ListenerKind.UNIX else join_host_port(self.host, self.port)

    @property
    def dial_address(self) -> str:
        """What to dial to reach a socket that listens here on this machine."""
        if self.kind is ListenerKind.UNIX:
            return f"unix:{self.path}"
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - read, not bound
        return f"{self.kind.value}://{join_host_port(host, self.port)}"

    def __str__(self) -> str:
        return f"{self.kind.value}://{self.text}"


class DialKind(enum.StrEnum):
    """The schemes of addresses to dial."""

    TCP = "tcp"
    TLS = "tls"
    UNIX = "unix"
    DNS = "dns"
    DNS_TLS = "dns+tls"


@dataclass(frozen=True, slots=True, kw_only=True)
class DialAddress:
    """Whom to dial.

    Attributes:
        raw: as configured.
        kind: the scheme.
        host: name or IP address; empty for unix sockets.
        port: 443 if none was written.
        path: of the unix socket.
        authority: the ``:authority`` of requests.
        nameserver: host and port of the name server to ask, ``None`` for the system's.
    """

    raw: str
    kind: DialKind
    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    authority: str = "localhost"
    nameserver: tuple[str, int] | None = None

    @classmethod
    def parse(cls, raw: str) -> DialAddress:
        """Parse an address to dial.

        Raises:
            InvalidAddressError: it cannot be understood.
        """
        try:
            kind = DialKind(raw.partition(":")[0].lower())
            url = urlsplit(raw)
            if kind is DialKind.UNIX:
                return cls._parse_unix(raw, url)
            if kind in {DialKind.TCP, DialKind.TLS}:
                return cls._parse_remote(raw, url, kind)
            return cls._parse_dns(raw, url, kind)
        except ValueError as exc:
            msg = f'invalid connection string: "{raw}"'
            raise InvalidAddressError(msg) from exc

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.kind in {DialKind.TLS, DialKind.DNS_TLS}

    @property
    def scheme(self) -> str:
        """The ``:scheme`` of requests."""
        return "https" if self.tls else "http"

    @classmethod
    def _parse_unix(cls, raw: str, url: SplitResult) -> DialAddress:
        path = raw.partition(":")[2]
        if path.startswith("//"):
            path = url.path
        if not path:
            msg = "no path"
            raise ValueError(msg)
        return cls(raw=raw, kind=DialKind.UNIX, path=path)

    @classmethod
    def _parse_remote(cls, raw: str, url: SplitResult, kind: DialKind) -> DialAddress:
        prefix = f"failed to extract host for '{kind.value}' connection"
        if url.path:
            msg = f'{prefix}: remote addresses should not have a path: "{url.path}"'
            raise InvalidAddressError(msg)
        if not url.netloc:
            msg = f"{prefix}: remote addresses should have a host"
            raise InvalidAddressError(msg)
        host, port = split_host_port(url.netloc)
        return cls(raw=raw, kind=kind, host=host, port=_port(port, raw), authority=url.netloc)

    @classmethod
    def _parse_dns(cls, raw: str, url: SplitResult, kind: DialKind) -> DialAddress:
        endpoint = url.path.removeprefix("/") if raw.partition(":")[2].startswith("//") else url.path
        if not endpoint or "/" in endpoint:
            msg = "no endpoint"
            raise ValueError(msg)
        host, port = split_host_port(endpoint)
        if not host:
            msg = "no host"
            raise ValueError(msg)
        nameserver = None
        if url.netloc:
            name, name_port = split_host_port(url.netloc)
            ipaddress.ip_address(name)  # a name server is given by its address
            nameserver = (name, _port(name_port, raw, _DNS_PORT))
        return cls(
            raw=raw,
            kind=kind,
            host=host,
            port=_port(port, raw),
            authority=host if kind is DialKind.DNS_TLS else endpoint,
            nameserver=nameserver,
        )


def _port(text: str | None, address: str, default: int = DEFAULT_PORT) -> int:
    return _parse_port(text, address) if text else default
