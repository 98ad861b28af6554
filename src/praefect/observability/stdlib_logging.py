"""Lines that libraries give to Python's ``logging``, written as our own are."""

from __future__ import annotations

import logging

from praefect.observability.log import Level, get_logger

_LEVELS = ((logging.CRITICAL, Level.ERROR), (logging.ERROR, Level.ERROR), (logging.WARNING, Level.WARNING))


class _Handler(logging.Handler):
    """Passes records on; a library's critical line is an error here, because it does not end the process."""

    def emit(self, record: logging.LogRecord) -> None:
        level = next((ours for theirs, ours in _LEVELS if record.levelno >= theirs), None)
        if level is None:
            level = Level.INFO if record.levelno >= logging.INFO else Level.DEBUG
        fields: dict[str, object] = {}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = record.exc_info[1]
            fields["backtrace"] = logging.Formatter().formatException(record.exc_info)
        get_logger(record.name).log(level, record.getMessage(), **fields)


def install(threshold: Level) -> None:
    """Make the root logger pass everything on; below the level debug only warnings and worse."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    root.addHandler(_Handler())
    root.setLevel(logging.DEBUG if threshold <= Level.DEBUG else logging.WARNING)
    logging.captureWarnings(capture=True)
