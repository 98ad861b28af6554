"""What a yamux session grants and how long it waits, for each role the program plays."""

from __future__ import annotations

from dataclasses import dataclass

from praefect.transport.yamux.frame import INITIAL_WINDOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits of one session.

    Attributes:
        accept_backlog: how many of this side's opens may wait for their acknowledgement, and how many of the peer's
            opens beyond ``max_accepted`` are left without an answer before further ones are reset.
        max_accepted: how many streams of the peer are taken in the life of the session; ``None``: any number.
        max_incoming: how many streams of the peer may exist at a time; further ones are reset.
        max_window_bytes: how much of a stream is held for a reader that does not read.
        open_timeout_seconds: a stream opened and not acknowledged for so long ends the session.
        close_timeout_seconds: a stream closed by this side waits so long for the peer's end, then it is reset.
        write_timeout_seconds: a connection that takes no byte for so long while bytes wait is given up.

    Source: the Praefect wire reference, section 4.5.
    """

    accept_backlog: int = 256
    max_accepted: int | None = None
    max_incoming: int = 4096
    max_window_bytes: int = INITIAL_WINDOW
    open_timeout_seconds: float = 75.0
    close_timeout_seconds: float = 300.0
    write_timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.accept_backlog < 1:
            msg = "accept backlog must be positive"
            raise ValueError(msg)
        if self.max_window_bytes < INITIAL_WINDOW:
            msg = f"max stream window size must be larger than {INITIAL_WINDOW}"
            raise ValueError(msg)


LISTENER_SETTINGS = Settings(accept_backlog=1, max_accepted=1, max_window_bytes=16 << 20)
"""The listening side: one stream from the dialler, large windows, one unacknowledged open at a time."""
DIALLER_SETTINGS = Settings()
"""The dialling side of a proxy; its backlog and window can be configured."""
CLIENT_SETTINGS = Settings(close_timeout_seconds=1.0)
"""The dialling side of a client, which waits a second for the end of a sidechannel that it closed first."""
