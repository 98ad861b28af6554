"""The listener hears what is announced, and knows when it would not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import DictRow

from praefect.config.praefect_sections import ConnectionConfig
from praefect.datastore.embedded import EmbeddedPostgres
from praefect.datastore.notifications import ListenerObserver, NotificationListener
from praefect.datastore.pool import connect

ROLE, DATABASE, PASSWORD = "praefect", "praefect", "secret"
CHANNELS = ("repositories_updates", "storage_repositories_updates")


class Heard:
    """A handler that keeps what it was told, and lets the test wait for more."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._more = asyncio.Event()

    def connected(self) -> None:
        self._add("connected")

    def disconnected(self) -> None:
        self._add("disconnected")

    def notified(self, channel: str, payload: str) -> None:
        self._add(f"{channel}: {payload}")

    async def wait_for(self, count: int) -> list[str]:
        while len(self.events) < count:
            self._more.clear()
            await self._more.wait()
        return self.events

    def _add(self, event: str) -> None:
        self.events.append(event)
        self._more.set()


@asynccontextmanager
async def running_server(directory: Path) -> AsyncIterator[tuple[EmbeddedPostgres, ConnectionConfig]]:
    async with EmbeddedPostgres(directory, settings={"fsync": "off"}) as server:
        await server.provision(role=ROLE, password=PASSWORD, database=DATABASE)
        yield (
            server,
            ConnectionConfig(host=server.host, port=server.port, user=ROLE, password=PASSWORD, dbname=DATABASE),
        )


@asynccontextmanager
async def listening(
    open_connection: Callable[[], Awaitable[psycopg.AsyncConnection[DictRow]]],
    heard: Heard,
    observer: ListenerObserver | None = None,
) -> AsyncIterator[None]:
    listener = NotificationListener(open_connection, CHANNELS, [heard], observer=observer)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(listener.run(), name="listen")
        await listener.wait_connected()
        yield
        task.cancel()


def postmaster_of(directory: Path) -> int:
    return int((directory / "cluster" / "postmaster.pid").read_text().splitlines()[0])


async def notify(config: ConnectionConfig, channel: str, payload: str) -> None:
    async with await connect(config) as connection:
        await connection.execute("SELECT pg_notify(%s, %s)", [channel, payload])


async def test_announcements_are_heard_in_order_on_each_channel(tmp_path: Path) -> None:
    heard = Heard()
    async with running_server(tmp_path) as (_, config), listening(lambda: connect(config), heard):
        for number in range(50):
            await notify(config, CHANNELS[number % 2], str(number))
        await notify(config, "unrelated", "unheard")
        await notify(config, CHANNELS[0], "last")
        events = await heard.wait_for(52)
    expected = [f"{CHANNELS[number % 2]}: {number}" for number in range(50)]
    assert events[:52] == ["connected", *expected, f"{CHANNELS[0]}: last"]


async def test_announcement_made_while_the_connection_is_probed_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Probes follow each other without a pause, so that nearly every announcement meets one.
    monkeypatch.setattr("praefect.datastore.notifications.PROBE_SECONDS", 0.0)
    heard = Heard()
    async with running_server(tmp_path) as (_, config), listening(lambda: connect(config), heard):
        async with await connect(config) as connection:
            for number in range(200):
                await connection.execute("SELECT pg_notify(%s, %s)", [CHANNELS[0], str(number)])
        events = await heard.wait_for(201)
    assert events[1:201] == [f"{CHANNELS[0]}: {number}" for number in range(200)]


async def test_killed_session_is_noticed_and_replaced(tmp_path: Path) -> None:
    heard = Heard()
    states: list[str] = []
    observer = ListenerObserver(
        connected=lambda: states.append("connected"), disconnected=lambda: states.append("disconnected")
    )
    async with running_server(tmp_path) as (_, config), listening(lambda: connect(config), heard, observer):
        async with await connect(config) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = current_user AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        await heard.wait_for(3)
        await notify(config, CHANNELS[1], "after")
        events = await heard.wait_for(4)
    assert events[:4] == ["connected", "disconnected", "connected", f"{CHANNELS[1]}: after"]
    assert states[:3] == ["connected", "disconnected", "connected"]


async def test_silent_server_counts_as_away_until_it_answers(tmp_path: Path) -> None:
    heard = Heard()
    async with running_server(tmp_path) as (_, config), listening(lambda: connect(config), heard):
        async with await connect(config) as connection:
            cursor = await connection.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE usename = current_user AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            backends = [row["pid"] for row in await cursor.fetchall()]
        stopped = [postmaster_of(tmp_path), *backends]
        for process_id in stopped:
            os.kill(process_id, signal.SIGSTOP)
        try:
            assert await heard.wait_for(2) == ["connected", "disconnected"]
        finally:
            for process_id in reversed(stopped):
                os.kill(process_id, signal.SIGCONT)
        assert (await heard.wait_for(3))[2] == "connected"


async def test_server_killed_and_started_again_is_listened_to_again(tmp_path: Path) -> None:
    heard = Heard()
    async with running_server(tmp_path) as (_, config), listening(lambda: connect(config), heard):
        os.kill(postmaster_of(tmp_path), signal.SIGKILL)
        await heard.wait_for(2)
        async with EmbeddedPostgres(tmp_path, settings={"fsync": "off"}):
            await heard.wait_for(3)
            await notify(config, CHANNELS[0], "back")
            events = await heard.wait_for(4)
    assert events[:4] == ["connected", "disconnected", "connected", f"{CHANNELS[0]}: back"]
