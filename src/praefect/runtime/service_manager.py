"""What the service manager is told about this process: that it is ready, that it stops, who takes its place.

Source: sd_notify(3), systemd.service(5).
"""

from __future__ import annotations

import contextlib
import socket
import time


class ServiceManager:
    """The manager that started this process; without one, or if it does not listen any more, nothing happens."""

    def __init__(self, address: str = "") -> None:
        """Take the address of its socket, the value of ``NOTIFY_SOCKET``; ``@`` begins an abstract one."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def ready(self) -> None:
        """Tell that clients are served; also after a reload that came to nothing."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Tell that a reload has begun; ``ready`` or ``replaced`` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def replaced(self, pid: int) -> None:
        """Tell that another process serves clients now; nothing this one says afterwards counts."""
        self._tell(f"MAINPID={pid}", "READY=1")
        self._address = ""

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._tell("STOPPING=1")

    def _tell(self, *assignments: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.sendto("\n".join(assignments).encode(), self._address)
