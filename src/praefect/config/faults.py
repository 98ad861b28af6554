"""What can be wrong with a configuration file, and how it is said."""

from dataclasses import dataclass

from praefect.domain.errors import FailedPreconditionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a text, both numbers counted from one."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the path of the key (empty if no single key is to blame) and what is wrong with it."""

    path: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        """Write key and message in a line."""
        return f"{'.'.join(self.path)}: {self.message}" if self.path else self.message


class ConfigError(FailedPreconditionError):
    """The configuration cannot be used. The first line of the message is what upstream says; further faults follow."""


class DecodeError(ConfigError):
    """The text of a configuration file does not say what it should.

    Attributes:
        position: where; None where upstream does not say it either.
    """

    def __init__(self, message: str, position: Position | None = None) -> None:
        """Keep message and place."""
        super().__init__(message)
        self.position = position


def describe_os_error(error: OSError, operation: str, path: str) -> str:
    """Say what the operating system refused: ``open PATH: no such file or directory``."""
    reason = error.strerror or str(error)
    return f"{operation} {path}: {reason[:1].lower()}{reason[1:]}"


def further_faults(faults: list[Fault]) -> str:
    """The lines below the first one."""
    return "".join(f"\n  {fault}" for fault in faults)
