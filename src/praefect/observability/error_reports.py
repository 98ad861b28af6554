"""Reports of errors to a Sentry server, where the library for it is installed (the extra ``sentry``).

Nothing is patched and nothing else is collected: a report is what ``ErrorReporter.report`` was given. Values of
variables are never sent, for they may be secrets. Source: the Praefect reference on Sentry.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import sentry_sdk

CLOSE_SECONDS = 2.0

_PREFIXED = re.compile(r"([\w.]+): (.+)", re.DOTALL)
_log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """What is told of one error.

    Attributes:
        message: its text.
        kind: the name of its type.
        transaction: what was being done.
        fingerprint: what errors of one group have in common.
        tags: what to find it by.
        crash: an error that nobody foresaw, of which the places in the program are told too.
    """

    message: str
    kind: str
    transaction: str
    fingerprint: Sequence[str]
    tags: Mapping[str, str]
    crash: BaseException | None = None


class ErrorReporter:
    """Sends reports in the background; made by ``open_reporter``."""

    def __init__(self, client: sentry_sdk.Client) -> None:
        self._client = client

    def report(self, report: ErrorReport) -> None:
        """Queue a report; it is dropped if the server does not take reports as fast as they come."""
        self._client.capture_event(
            {
                "level": "error",
                "message": report.message,
                "transaction": report.transaction,
                "fingerprint": list(report.fingerprint),
                "tags": dict(report.tags),
                "exception": {"values": self._exceptions(report)},
            }
        )

    def _exceptions(self, report: ErrorReport) -> list[dict[str, object]]:
        if report.crash is not None:
            from sentry_sdk.utils import event_from_exception

            event, _ = event_from_exception(report.crash, client_options=self._client.options)
            return list(event["exception"]["values"])
        parts = _PREFIXED.fullmatch(report.message)
        if parts is None:
            return [{"type": report.kind, "value": report.message}]
        return [{"type": report.kind, "module": parts[1], "value": parts[2]}]


@asynccontextmanager
async def open_reporter(dsn: str, environment: str, release: str) -> AsyncIterator[ErrorReporter | None]:
    """Report to the project that ``dsn`` names until left; ``None`` if that is empty or reporting cannot be had."""
    client = _client(dsn, environment, release) if dsn else None
    if client is None:
        yield None
        return
    try:
        yield ErrorReporter(client)
    finally:
        await asyncio.to_thread(client.close, timeout=CLOSE_SECONDS)


def _client(dsn: str, environment: str, release: str) -> sentry_sdk.Client | None:
    try:
        import sentry_sdk
        from sentry_sdk.utils import BadDsn
    except ImportError:
        error = "the library sentry-sdk is not installed: pip install praefect[sentry]"
        _log.warning("unable to initialize sentry client", error=error)
        return None
    try:
        client = sentry_sdk.Client(
            dsn=dsn,
            environment=environment or None,
            release=release,
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
        )
    except BadDsn as exc:
        _log.warning("unable to initialize sentry client", error=str(exc))
        return None
    _log.debug("Using sentry logging")
    return client
