"""Loggers: a fixed message, fields in snake_case, one line each.

Which lines are written and how is one decision for the whole process (``configure``); until it is made, errors go to
standard error as text, as subcommands want it. What Python's own ``logging`` is given by libraries goes the same way.
"""

from __future__ import annotations

import enum
import os
import sys
import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING

from praefect.observability.correlation import correlation_id
from praefect.observability.rendering import render_json, render_text, terminal_renderer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TextIO

    from praefect.observability.rendering import Renderer


class Level(enum.IntEnum):
    """How grave a line is; the names are those of ``logging.level`` and of the field ``level``."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4
    FATAL = 5
    PANIC = 6

    @classmethod
    def parse(cls, name: str) -> Level:
        """Return the level of a name, in any case; ``warn`` is a name too.

        Raises:
            ValueError: it is none.
        """
        try:
            return cls["WARNING" if name.upper() == "WARN" else name.upper()]
        except KeyError:
            msg = f'not a valid logrus Level: "{name}"'
            raise ValueError(msg) from None


class Format(enum.StrEnum):
    """The values of ``logging.format``."""

    TEXT = "text"
    JSON = "json"


_request_fields: ContextVar[Mapping[str, object]] = ContextVar("_request_fields", default=MappingProxyType({}))


class _Output:
    """Where lines go: the one thing of this module that changes, because it belongs to the process."""

    __slots__ = ("_render", "_stream", "pid", "threshold", "write")

    def __init__(self) -> None:
        self.threshold = Level.ERROR
        self.pid = os.getpid()
        self._stream: TextIO | None = None
        self._render: Renderer = render_text
        self.write: Callable[[Level, str, Mapping[str, object]], None] = self.write_line

    def configure(self, render: Renderer, threshold: Level, stream: TextIO) -> None:
        self._render, self.threshold, self._stream = render, threshold, stream
        self.pid = os.getpid()

    def write_line(self, level: Level, message: str, fields: Mapping[str, object]) -> None:
        stream = self._stream or sys.stderr
        line = self._render(time.time(), level.name.lower(), message, fields) + "\n"
        with suppress(OSError):  # nobody reads any more, or the disk is full: work goes on without the line
            try:
                stream.write(line)
            except UnicodeEncodeError:
                encoding = stream.encoding or "utf-8"
                stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()


_output = _Output()


class Logger:
    """Writes lines for one component.

    Fields come from four places; of equal names the later wins: the logger, the request being handled, the correlation
    id (only if no other is given), the call.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def bind(self, **fields: object) -> Logger:
        """Return a logger that writes these fields too."""
        return Logger({**self._fields, **fields})

    def is_enabled(self, level: Level) -> bool:
        """Return whether lines of a level are written, for fields that cost something to find out."""
        return level >= _output.threshold

    def debug(self, message: str, /, **fields: object) -> None:
        """Write what helps to understand a run."""
        if _output.threshold <= Level.DEBUG:
            self.log(Level.DEBUG, message, **fields)

    def info(self, message: str, /, **fields: object) -> None:
        """Write what happens rarely in quiet times."""
        if _output.threshold <= Level.INFO:
            self.log(Level.INFO, message, **fields)

    def warning(self, message: str, /, **fields: object) -> None:
        """Write what may heal by itself."""
        if _output.threshold <= Level.WARNING:
            self.log(Level.WARNING, message, **fields)

    def error(self, message: str, /, *, exc_info: BaseException | None = None, **fields: object) -> None:
        """Write what lost something; with ``exc_info`` also its text and where it comes from."""
        if exc_info is not None:
            import traceback

            fields.setdefault("error", exc_info)
            fields["backtrace"] = "".join(traceback.format_exception(exc_info))
        self.log(Level.ERROR, message, **fields)

    def fatal(self, message: str, /, **fields: object) -> None:
        """Write why the process ends; ending it is the caller's part."""
        self.log(Level.FATAL, message, **fields)

    def log(self, level: Level, message: str, /, **fields: object) -> None:
        """Write a line whose level is not known beforehand."""
        if level < _output.threshold:
            return
        line = {"pid": _output.pid, **self._fields, **_request_fields.get(), **fields}
        if "correlation_id" not in line and (correlation := correlation_id.get()):
            line["correlation_id"] = correlation
        _output.write(level, message, line)


def get_logger(component: str = "") -> Logger:
    """Return the logger of a component; its lines name it unless it is empty."""
    return Logger({"component": component} if component else {})


@contextmanager
def request_fields(fields: Mapping[str, object]) -> Iterator[None]:
    """Put fields into every line written within the block, over those of the loggers, ``component`` included."""
    token = _request_fields.set({**_request_fields.get(), **fields})
    try:
        yield
    finally:
        _request_fields.reset(token)


def start_request(fields: dict[str, object]) -> None:
    """Put fields into every line that the running task, which has just been started for a request, writes.

    Args:
        fields: given away; ``add_request_fields`` changes them.
    """
    _request_fields.set(fields)


def add_request_fields(fields: Mapping[str, object]) -> None:
    """Add what has become known of the request, until the innermost ``request_fields`` ends."""
    current = _request_fields.get()
    if isinstance(current, dict):
        current.update(fields)
    else:
        _request_fields.set({**current, **fields})


def current_request_fields() -> Mapping[str, object]:
    """Return the fields of the request being handled."""
    return _request_fields.get()


def configure(
    format: Format | str,  # noqa: A002 - as the configuration calls it
    level: Level | str,
    stream: TextIO | None = None,
) -> None:
    """Decide what is written, how and where (standard output if not said); also for Python's ``logging``.

    Raises:
        ValueError: there is no such format or level.
    """
    threshold = level if isinstance(level, Level) else Level.parse(level)
    target = stream or sys.stdout
    try:
        chosen = Format(format)
    except ValueError:
        msg = f'invalid logger format "{format}"'
        raise ValueError(msg) from None
    text = terminal_renderer() if target.isatty() else render_text
    _output.configure(render_json if chosen is Format.JSON else text, threshold, target)
    from praefect.observability.stdlib_logging import install

    install(threshold)


@contextmanager
def capture(level: Level = Level.TRACE) -> Iterator[list[dict[str, object]]]:
    """Collect lines instead of writing them, as mappings with ``level`` and ``msg``; for tests."""
    lines: list[dict[str, object]] = []

    def collect(written: Level, message: str, fields: Mapping[str, object]) -> None:
        lines.append({**fields, "level": written.name.lower(), "msg": message})

    threshold, write = _output.threshold, _output.write
    _output.threshold, _output.write = level, collect
    try:
        yield lines
    finally:
        _output.threshold, _output.write = threshold, write
