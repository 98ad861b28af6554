"""What a gitlab.rb refers to outside itself: environment variables and files named by a literal path."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from praefect.config.faults import describe_os_error
from praefect.config.omnibus.faults import GitlabRbError, Place
from praefect.config.omnibus.syntax import (
    EnvironmentVariable,
    Expression,
    FileContent,
    Joined,
    Scalar,
    Sequence,
    Stripped,
    Table,
)

Plain = str | int | float | bool | None

MOST_FILE_BYTES: Final = 1 << 16
MOST_STEPS: Final = 10_000
MOST_CHARACTERS: Final = 1 << 20
_MOST_NESTED: Final = 64


class Surroundings:
    """Gives expressions their values, when they are asked for and not before.

    Attributes:
        unset: variables that were asked for and are not set, with the place that asked last.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Look up variables in ``environment``."""
        self._environment = environment
        self._steps = 0
        self.unset: dict[str, Place] = {}

    def plain(self, expression: Expression) -> Plain:
        """The value of an expression that is neither array nor hash.

        Raises:
            GitlabRbError: a variable or file is missing, or the expression grows beyond all measure.
        """
        return self._plain(expression, 0)

    def _plain(self, expression: Expression, depth: int) -> Plain:
        self._steps += 1
        if depth > _MOST_NESTED or self._steps > MOST_STEPS:
            raise GitlabRbError(expression.place, "expression is nested too deeply or too large")
        match expression:
            case Scalar():
                return expression.value
            case Joined():
                text = "".join(_text(self._plain(part, depth + 1)) for part in expression.parts)
                if len(text) > MOST_CHARACTERS:
                    raise GitlabRbError(expression.place, f"string is longer than {MOST_CHARACTERS} characters")
                return text
            case EnvironmentVariable():
                return self._variable(expression, depth)
            case FileContent():
                return _read(expression.path, expression.place)
            case Stripped():
                return _strip(self._plain(expression.subject, depth + 1), expression)
            case Sequence() | Table():
                raise GitlabRbError(expression.place, "an array or hash stands where a single value is expected")

    def _variable(self, variable: EnvironmentVariable, depth: int) -> Plain:
        value = self._environment.get(variable.name)
        if value is None and variable.default is not None:
            return self._plain(variable.default, depth + 1)
        if value is None and variable.required:
            raise GitlabRbError(variable.place, f"environment variable {variable.name} is not set")
        if value is None:
            self.unset[variable.name] = variable.place
        return value


def _text(value: Plain) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _strip(value: Plain, expression: Stripped) -> str:
    if not isinstance(value, str):
        method = "strip" if expression.both_ends else "chomp"
        raise GitlabRbError(expression.place, f".{method} of what is no string, or of a variable that is not set")
    if expression.both_ends:
        return value.lstrip("\t\n\v\f\r ").rstrip("\0\t\n\v\f\r ")
    for end in ("\r\n", "\n", "\r"):
        if value.endswith(end):
            return value.removesuffix(end)
    return value


def _read(path: str, place: Place) -> str:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise GitlabRbError(place, f"File.read: {path} is no file")
        with open(path, "rb", opener=_open_without_waiting) as stream:
            data = stream.read(MOST_FILE_BYTES + 1)
    except OSError as exc:
        raise GitlabRbError(place, f"File.read: {describe_os_error(exc, 'open', path)}") from exc
    except ValueError as exc:  # a path with a null byte
        raise GitlabRbError(place, "File.read: the path is none") from exc
    if len(data) > MOST_FILE_BYTES:
        raise GitlabRbError(place, f"File.read: {path} is larger than {MOST_FILE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise GitlabRbError(place, f"File.read: {path} is not UTF-8") from exc


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; one that turned into a pipe must not hold us up."""
    return os.open(path, flags | os.O_NONBLOCK)
