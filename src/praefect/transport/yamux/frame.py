"""The frames of yamux, version 0: twelve bytes of header, and a body only for Data.

Source: the yamux specification; the Praefect wire reference, section 4.7.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct(">BBHII")
"""Version, type, flags, stream id, length."""
HEADER_SIZE = HEADER.size

DATA = 0
WINDOW_UPDATE = 1
PING = 2
GO_AWAY = 3

SYN = 1
ACK = 2
FIN = 4
RST = 8

NORMAL = 0
PROTOCOL_ERROR = 1
INTERNAL_ERROR = 2

INITIAL_WINDOW = 256 * 1024
"""What each direction of each stream may send before it was credited anything."""
MAX_UINT32 = 0xFFFFFFFF


def pack(frame_type: int, flags: int, stream_id: int, length: int) -> bytes:
    """Return the header of a frame."""
    return HEADER.pack(0, frame_type, flags, stream_id, length)
