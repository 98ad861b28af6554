"""Child processes of the demo: start, watch, stop; each with its own log file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from praefect.domain.errors import InternalError

TAIL_BYTES = 16_000
TAIL_LINES = 12
_LED_BY = ("time", "level", "msg")
_NOT_SHOWN = ("pid",)
STOP_SECONDS = 10.0


class ProcessCrashedError(InternalError):
    """A part ended by itself; the message names it and shows the end of its log."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        reason = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"{name} {reason}; the end of {log}:\n{tail(log)}")
        self.name = name
        self.code = code


@dataclass(slots=True, kw_only=True)
class Child:
    """One part of the cluster, as a process."""

    name: str
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The process id of a started child."""
        if self._process is None:
            raise InternalError(f"{self.name} was not started")
        return self._process.pid

    async def start(self) -> None:
        """Start the process in a session of its own, so that a terminal's Ctrl-C reaches only the parent."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    async def wait(self) -> int:
        """Wait for the end of the process and return its exit code."""
        if self._process is None:
            raise InternalError(f"{self.name} was not started")
        return await self._process.wait()

    async def watch(self) -> None:
        """Wait for the end of the process, which is a failure.

        Raises:
            ProcessCrashedError: always, once it has ended.
        """
        raise ProcessCrashedError(self.name, await self.wait(), self.log)

    def kill(self) -> None:
        """Kill the process and all its children at once."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Ask the process to stop; kill it if it does not."""
        if not self.running or self._process is None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()


def tail(log: Path) -> str:
    """Return the last lines of a log file, indented, for somebody to read."""
    try:
        with log.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
            file.seek(start)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError as exc:
        return f"  (no log: {exc.strerror})"
    if start:
        del lines[:1]  # which may lack its beginning
    return "\n".join(f"  {readable(line)}" for line in lines[-TAIL_LINES:]) or "  (empty)"


def readable(line: str) -> str:
    """Write a log line as ``time level message key=value``; one that is no JSON object stays as it is."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    if not isinstance(fields, dict):
        return line
    words = [str(fields[name]) for name in _LED_BY if name in fields]
    hidden = {*_LED_BY, *_NOT_SHOWN}
    return " ".join([*words, *(f"{name}={_value(value)}" for name, value in fields.items() if name not in hidden)])


def _value(value: object) -> str:
    """Write a value in a way that shows where it ends."""
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if not text or any(character.isspace() for character in text) else text
