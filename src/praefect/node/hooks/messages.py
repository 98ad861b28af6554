"""How messages of the front door are laid out for a git client's terminal.

Source: wire.md 10.3. Lines are 72 columns: 80 less the "remote: " that git puts in front.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

WIDTH = 72
TEXT_WIDTH = 68
_BANNER = "=" * WIDTH


class MessageKind(enum.StrEnum):
    """The kinds of messages there are."""

    BASIC = "basic"
    ALERT = "alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message for whoever pushed."""

    kind: MessageKind
    text: str


def render(message: Message) -> bytes:
    """Return the bytes to print for ``message``."""
    if message.kind is MessageKind.ALERT:
        lines = [_BANNER, "", *_centred(message.text), "", _BANNER]
        return ("\n" + "\n".join(lines) + "\n\n").encode()
    return f"\n{message.text}\n\n".encode()


def _centred(text: str) -> list[str]:
    """Wrap at the words and centre each line; a word longer than a line stands alone, uncut."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and len(longer) > TEXT_WIDTH:
            lines.append(line)
            line = word
        else:
            line = longer
    if line:
        lines.append(line)
    return [" " * max((WIDTH - len(entry)) // 2, 0) + entry for entry in lines]
