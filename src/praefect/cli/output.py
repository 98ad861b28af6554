"""What a command says: its lines, or with ``-format json`` one document; on a terminal also how far it is."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERRUPTED = 130
_STATUS_SECONDS = 0.1


class Output:
    """Where a command says what it does.

    Attributes:
        result: what the document says of the command's work; filled as it goes on, so that it is right at any moment.
        summary: says in one line what a command that changes something has done, for whoever interrupts it.
    """

    def __init__(self, command: str = "", *, is_json: bool = False, is_silent: bool = False) -> None:
        self.result: dict[str, object] = {}
        self.summary: Callable[[], str] | None = None
        self._command = command
        self._is_json = is_json
        self._is_silent = is_json or is_silent
        self._has_terminal = not is_silent and sys.stderr.isatty()
        self._shown_at = 0.0
        self._has_status = False
        self._hints: list[str] = []

    def say(self, text: str, *, end: str = "\n") -> None:
        """Print a line at once; a document has no lines."""
        if not self._is_silent:
            self._clear_status()
            print(text, end=end, flush=True)

    def append(self, key: str, value: object) -> None:
        """Add to a list of the document."""
        values = self.result.setdefault(key, [])
        assert isinstance(values, list)  # noqa: S101 - a key is used one way
        values.append(value)

    def hint(self, lines: Sequence[str]) -> None:
        """Say on stderr what the operator may have meant, although the command succeeds as upstream's does."""
        self._clear_status()
        self._hints += lines
        for line in lines:
            print(line, file=sys.stderr, flush=True)

    def show(self, status: str) -> None:
        """Say how far the command is, to somebody at a terminal; each status takes the place of the one before."""
        now = time.monotonic()
        if not self._has_terminal or now - self._shown_at < _STATUS_SECONDS:
            return
        self._shown_at, self._has_status = now, True
        print(f"\r{status}\x1b[K", end="", file=sys.stderr, flush=True)

    def finish(self, error: str | None = None, hints: Sequence[str] = ()) -> None:
        """Print the document, once the command has ended."""
        self._clear_status()
        if self._is_json:
            print(self._document(error, hints), flush=True)

    def interrupt(self) -> None:
        """End the process because somebody asked for it, saying what was done."""
        self._clear_status()
        summary = self.summary() if self.summary is not None else ""
        if self._is_json:
            os.write(sys.stdout.fileno(), f"{self._document('interrupted', [summary] if summary else [])}\n".encode())
        if summary:
            # Python's own buffers may be in use by what was interrupted.
            os.write(sys.stderr.fileno(), f"interrupted: {summary}\n".encode())
        os._exit(INTERRUPTED)

    def _document(self, error: str | None, hints: Sequence[str]) -> str:
        from praefect.cli.json_output import dump_json

        document: dict[str, object] = {"command": self._command, "ok": error is None}
        if error is not None:
            document["error"] = error
        if hints or self._hints:
            document["hints"] = [*self._hints, *hints]
        return dump_json({**document, "result": self.result})

    def _clear_status(self) -> None:
        if self._has_status:
            os.write(sys.stderr.fileno(), b"\r\x1b[K")
            self._has_status = False
