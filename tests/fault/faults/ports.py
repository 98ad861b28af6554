"""Ports that belong to one run: clusters run side by side, and a wire that is cut listens on its port again later.

Ports that the kernel hands out can be handed out again while nobody listens on them for a moment; these are below its
range, and who uses a block of them holds a name that nobody else can take.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

FIRST = 20000
BLOCK = 20
BLOCKS = 600


class NoPortsError(AssertionError):
    """Every block is in use."""


@contextmanager
def claimed_ports() -> Iterator[tuple[int, ...]]:
    """Claim a block of free ports, for as long as the context is open."""
    for number in range(BLOCKS):
        block = (os.getpid() + number) % BLOCKS
        ports = tuple(range(FIRST + block * BLOCK, FIRST + (block + 1) * BLOCK))
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0praefect-fault-ports-{block}")
            except OSError:
                continue
            if all(map(_is_free, ports)):
                yield ports
                return
    raise NoPortsError(f"no block of {BLOCK} ports from {FIRST} on is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
