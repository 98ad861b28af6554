"""Sections that the configuration files of Praefect and of a storage node share."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from praefect.config.schema import setting

GRPC_LATENCY_BUCKETS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 10.0, 30.0, 60.0, 300.0, 1500.0)


class TlsVersion(StrEnum):
    """A lower bound for the version of TLS."""

    TLS_1_2 = "TLS 1.2"
    TLS_1_3 = "TLS 1.3"


class Http2Engine(StrEnum):
    """An implementation of HTTP/2."""

    HTTPUNK = "httpunk"
    H2 = "h2"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """``[auth]``: who may call this server."""

    token: str = setting(
        "",
        "Shared secret that callers prove to know; empty lets everyone in. Loading fills it from `token_file`.",
        secret=True,
    )
    transitioning: bool = setting(False, "Check and count tokens, but let everyone in.")
    token_file: str = setting(
        "", "File that holds the token, mode 0600 or 0400; excludes `token`.", json_key="tokenfile"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """``[tls]``: what the TLS listener presents."""

    certificate_path: str = setting("", "PEM file with the certificate and its chain.", json_key="cert_path")
    key_path: str = setting("", "PEM file with the private key.")
    key: str = setting("", "The private key itself, as PEM text; excludes `key_path`.", secret=True)
    min_version: TlsVersion = setting(TlsVersion.TLS_1_2, "Lowest version of TLS accepted.", noun="TLS version")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingConfig:
    """``[logging]``: what the server writes to its standard output."""

    format: str = setting("text", "`text` or `json`.")
    level: str = setting("info", "panic, fatal, error, warn, warning, info, debug or trace, in any case of letters.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusConfig:
    """``[prometheus]``: how metrics are measured."""

    scrape_timeout: timedelta = setting(timedelta(seconds=10), "Limit for each database query of `/db_metrics`.")
    grpc_latency_buckets: tuple[float, ...] = setting(
        GRPC_LATENCY_BUCKETS, "Upper bounds, in seconds, of the latency histograms of RPCs.", unit="seconds"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Config:
    """``[http2]``: the transport's implementation."""

    engine: Http2Engine = setting(
        Http2Engine.HTTPUNK,
        "Implementation of HTTP/2: `httpunk` (fast) or `h2` (pure Python).",
        own=True,
        noun="HTTP/2 engine",
    )
