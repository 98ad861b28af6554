"""What clients asked and were told: the record that is checked once everything has healed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

ABSENT = ""
"""The value of a reference that does not exist."""


class Answer(StrEnum):
    """What a client knows of a write."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    IN_DOUBT = "in-doubt"


@dataclass(frozen=True, slots=True)
class Reference:
    """A register: one reference of one repository."""

    repository: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A compare-and-swap of a reference.

    Attributes:
        new: the object id, or the empty text until the commit's id is known (``mark`` finds it).
        mark: the unique content or message of the commit, if the cluster made it.
        praefect: whom the client talked to.
    """

    reference: Reference
    old: str
    new: str
    answer: Answer
    began: float
    ended: float
    praefect: str
    method: str
    detail: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A read of a reference that succeeded."""

    reference: Reference
    value: str
    began: float
    ended: float
    praefect: str
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """A call that makes or removes a repository; calls on one path follow each other."""

    path: str
    method: str
    answer: Answer
    began: float
    ended: float
    praefect: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookChange:
    """A call that replaces a repository's custom hooks; calls follow each other."""

    repository: str
    version: int
    answer: Answer
    began: float
    ended: float
    praefect: str
    detail: str = ""


@dataclass(slots=True)
class History:
    """Everything that happened during one seed; times are the loop's."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    lifetimes: list[Lifetime] = field(default_factory=list)
    hook_changes: list[HookChange] = field(default_factory=list)
    failed_reads: list[tuple[float, float, str, str]] = field(default_factory=list)
    notes: list[tuple[float, str]] = field(default_factory=list)

    def acknowledged(self) -> int:
        """Count the writes that were acknowledged, those of repositories and hooks included."""
        calls: list[Write | Lifetime | HookChange] = [*self.writes, *self.lifetimes, *self.hook_changes]
        return sum(call.answer is Answer.ACKNOWLEDGED for call in calls)

    def save(self, path: Path) -> None:
        """Write everything down, for people."""
        path.write_text(json.dumps(asdict(self), indent=1, default=str))
