"""Why a server's certificate is not accepted: libpq says only that it is not."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Final

from praefect.config.praefect_sections import ConnectionConfig

_SSL_REQUEST: Final = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""What asks a server for TLS. Source: PostgreSQL's manual, "Message Formats", SSLRequest."""

_UNKNOWN_AUTHORITY: Final = frozenset({18, 19, 20, 21})
"""OpenSSL's numbers for a chain that ends at nobody who is trusted. Source: its manual page verify(1)."""

_JUDGED: Final = frozenset({"require", "verify-ca", "verify-full"})
"""Modes in which libpq holds the certificate against sslrootcert: "require" does so too once there is one."""

_DEFAULT_PORT: Final = 5432
_LIMIT_SECONDS: Final = 5.0


async def explain_certificate(config: ConnectionConfig) -> str | None:
    """Return what is wrong with the server's certificate; ``None`` if nothing is, or that cannot be found out."""
    if config.sslmode not in _JUDGED or not config.sslrootcert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Nothing is sent on this connection but the handshake.
    with suppress(OSError, EOFError, TimeoutError, ssl.SSLError):
        context.load_verify_locations(config.sslrootcert)
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                await _shake_hands(config, context)
        except ssl.SSLCertVerificationError as exc:
            if exc.verify_code in _UNKNOWN_AUTHORITY:
                return f'its authority is not in "{config.sslrootcert}" ({exc.verify_message})'
            return exc.verify_message
    return None


async def _shake_hands(config: ConnectionConfig, context: ssl.SSLContext) -> None:
    host = config.host.partition(",")[0]
    reader, writer = await asyncio.open_connection(host, config.port or _DEFAULT_PORT)
    try:
        writer.write(_SSL_REQUEST)
        if await reader.readexactly(1) == b"S":
            await writer.start_tls(context, server_hostname=host)
    finally:
        writer.transport.abort()
