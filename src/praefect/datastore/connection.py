"""A connection that never outlives its caller's patience."""

from __future__ import annotations

import asyncio

import psycopg
from psycopg import waiting
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow


class PromptConnection(psycopg.AsyncConnection[DictRow]):
    """A connection that is closed where its caller stops waiting for an answer.

    The driver would ask the server to cancel the statement and wait up to ten seconds for its consent: a caller's
    deadline would not hold against a server that is silent.
    """

    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for an answer; ``timeout`` is the driver's own."""
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=timeout)
        except asyncio.CancelledError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise
