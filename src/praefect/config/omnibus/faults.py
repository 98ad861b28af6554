"""What can be wrong with a gitlab.rb, and where. No message holds a value out of the file: it may be a secret."""

from dataclasses import dataclass

from praefect.config.faults import ConfigError


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, counted from one."""

    file: str
    line: int

    def __str__(self) -> str:
        """Write the place as compilers do."""
        return f"{self.file}:{self.line}"


class GitlabRbError(ConfigError):
    """The file cannot be used.

    Attributes:
        place: where.
        fault: what is wrong there.
    """

    def __init__(self, place: Place, fault: str) -> None:
        """Keep both and write them in a line."""
        super().__init__(f"{place}: {fault}")
        self.place = place
        self.fault = fault


class UnsupportedConstructError(GitlabRbError):
    """The file has Ruby that is not declarative.

    Attributes:
        construct: its name.
    """

    def __init__(self, place: Place, construct: str) -> None:
        """Keep the construct."""
        super().__init__(place, f"{construct} is not supported: the file is read, not run")
        self.construct = construct
