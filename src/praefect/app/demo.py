"""The demo: a whole cluster in one terminal, and the story that is played on it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from rich.console import Console

from praefect.app.cluster import Cluster, ClusterOptions, run_cluster
from praefect.app.processes import Child, ProcessCrashedError
from praefect.app.scenario import Scenario
from praefect.domain.errors import FailedPreconditionError, PraefectError
from praefect.runtime.signals import InterruptedStartError, stop_on_signals
from praefect.transport.grpc.status import leading_error

DEMO_PROJECT = "demo"
RESTART_SECONDS = 10.0
_EXPECTED = (PraefectError, OSError, aiohttp.ClientError)


class MissingPrerequisiteError(FailedPreconditionError):
    """Something the demo needs is not on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the command line says."""

    directory: Path
    scenario: bool = False


async def run(options: DemoOptions, console: Console) -> int:
    """Start the cluster and wait for Ctrl-C, or play the scenario; return the exit code."""
    check_prerequisites()
    if not options.scenario:
        return await _run_in(options.directory, options, console)
    directory = Path(tempfile.mkdtemp(prefix="praefect-scenario-"))
    code = await _run_in(directory, options, console)
    if code == 0:
        # After a failure it stays, so that the logs can be read.
        shutil.rmtree(directory, ignore_errors=True)
    return code


async def _run_in(directory: Path, options: DemoOptions, console: Console) -> int:
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        status = stack.enter_context(console.status("starting"))
        options_of_cluster = ClusterOptions(
            directory=directory,
            progress=lambda text: status.update(f"starting {text}"),
            ready=_ignore if console.is_terminal else _timed_lines(console),
        )
        try:
            async with stop.interrupting():
                cluster = await stack.enter_async_context(run_cluster(options_of_cluster))
        except InterruptedStartError as exc:
            _say(console, str(exc))
            return 1 if options.scenario else 0
        status.stop()
        if options.scenario:
            return await Scenario(cluster, console).play()
        project = await ensure_project(cluster)
        _introduce(cluster, project, console)
        async with asyncio.TaskGroup() as group:
            watches = [
                group.create_task(_keep_running(cluster, child, console), name=f"watch {child.name}")
                for child in cluster.children()
            ]
            watches.append(group.create_task(_watch_postgres(cluster), name="watch PostgreSQL"))
            await stop.wait()
            for watch in watches:
                watch.cancel()
        console.print("stopping")
    return 0


def _ignore(_text: str) -> None:
    """At a terminal the line that changes is enough."""


def _timed_lines(console: Console) -> Callable[[str], None]:
    """Write a line per part that runs, with the time since the start: nobody sees a line that changes in a file."""
    began = time.monotonic()
    return lambda text: _say(console, f"{time.monotonic() - began:6.1f} s  {text}")


def check_prerequisites() -> None:
    """Name what is missing before anything is started.

    Raises:
        MissingPrerequisiteError: with the command that installs it.
    """
    if shutil.which("git") is None:
        raise MissingPrerequisiteError("git not found; install it: apt-get install git")


async def ensure_project(cluster: Cluster) -> str:
    """Create the demo's project unless an earlier start did; return its path."""
    headers = {"PRIVATE-TOKEN": cluster.secrets.access_token}
    async with aiohttp.ClientSession(cluster.url, headers=headers, trust_env=False) as session:
        form = {"name": DEMO_PROJECT, "path": DEMO_PROJECT, "initialize_with_readme": True}
        async with session.post("/api/v4/projects", json=form) as response:
            if response.status not in (201, 409):
                raise FailedPreconditionError(f"the demo's project was not created: {await response.text()}")
    return DEMO_PROJECT


async def _keep_running(cluster: Cluster, child: Child, console: Console) -> None:
    """Report each crash of a part with the end of its log; start it again after a pause in which others take over."""
    while True:
        try:
            await child.watch()
        except ProcessCrashedError as exc:
            _say(console, f"{exc}\n{child.name} is started again in {RESTART_SECONDS:.0f} s")
        await asyncio.sleep(RESTART_SECONDS)
        await cluster.start_again(child)


async def _watch_postgres(cluster: Cluster) -> None:
    """Wait for the end of the database, without which the demo has no point.

    Raises:
        ProcessCrashedError: once it has ended.
    """
    if cluster.postgres is not None:
        raise ProcessCrashedError("PostgreSQL", await cluster.postgres.wait(), cluster.layout.log("postgres"))


def _introduce(cluster: Cluster, project: str, console: Console) -> None:
    lines = [
        ("front door", cluster.url),
        ("clone", f"git clone {cluster.clone_url(project)}"),
        ("status page", f"{cluster.url}/"),
        ("access token", f"{cluster.secrets.access_token}   (PRIVATE-TOKEN of {cluster.url}/api/v4/projects)"),
        ("data", str(cluster.layout.directory)),
        ("logs", str(cluster.layout.logs)),
        ("stop", "Ctrl-C"),
    ]
    for name, text in lines:
        _say(console, f"{name:>13}  {text}")


def _say(console: Console, text: str) -> None:
    """Print text as it is, wrapped by nobody but the terminal."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def main(options: DemoOptions) -> int:
    """Run the demo and turn its errors into lines; what the command calls."""
    console = Console()
    try:
        return asyncio.run(run(options, console))
    except (*_EXPECTED, ExceptionGroup) as exc:
        error = leading_error(exc)
        if not isinstance(error, _EXPECTED):
            raise
        _say(console, f"praefect demo: {str(error) or type(error).__name__}")
        return 1
