"""The sockets that listeners accept from: bound before anything starts, listened on when clients may come."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import PraefectError
from praefect.transport.addresses import ListenAddress
from praefect.transport.peer import ListenerKind
from praefect.transport.sockets import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_PATH_BYTES = 107


class ListenError(PraefectError):
    """A listener cannot be opened."""


def open_socket(address: ListenAddress, *, reuse_port: bool = False) -> socket.socket:
    """Open and bind a socket; one file that is a socket already is replaced.

    Raises:
        ListenError: it cannot be done.
    """
    is_unix = address.kind is ListenerKind.UNIX
    with _explained(address):
        sock = _open_unix(address.path) if is_unix else _open_tcp(address, reuse_port=reuse_port)
    accept_from(sock, address)
    return sock


def bind_socket(address: ListenAddress) -> socket.socket | None:
    """Make sure of an address without listening yet: clients are still refused.

    Returns:
        The bound socket, for ``accept_from``; ``None`` for a unix socket, whose file appears only once it is listened
        on, so that a running process loses it to nobody who does not start in the end.

    Raises:
        ListenError: nobody can listen there.
    """
    with _explained(address):
        if address.kind is not ListenerKind.UNIX:
            return _open_tcp(address, reuse_port=False)
        _check_socket_path(Path(address.path))
    return None


def accept_from(sock: socket.socket, address: ListenAddress) -> None:
    """Let clients connect to a bound socket; closed if that fails.

    Raises:
        ListenError: somebody else was first.
    """
    try:
        with _explained(address):
            # Who finds the port in use learns it now, and not from the first client.
            sock.listen()
    except ListenError:
        sock.close()
        raise


@contextlib.contextmanager
def _explained(address: ListenAddress) -> Iterator[None]:
    network = "unix" if address.kind is ListenerKind.UNIX else "tcp"
    try:
        yield
    except OSError as exc:
        step = "" if isinstance(exc, socket.gaierror) else "bind: "
        msg = f"listen {network} {address.text}: {step}{describe(exc)}"
        raise ListenError(msg) from exc


def _check_socket_path(path: Path) -> None:
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    # Permissions do not tell everything: the file system may be read-only.
    with tempfile.TemporaryFile(dir=path.parent):
        pass


def _open_unix(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            Path(path).unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    return _bind(sock, path)


def _open_tcp(address: ListenAddress, *, reuse_port: bool) -> socket.socket:
    if not address.host:
        return _open_all_interfaces(address.port, reuse_port=reuse_port)
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name means one socket, with IPv4 if it has both.
    family, _, _, _, target = min(found, key=lambda info: info[0] != socket.AF_INET)
    return _bind(_tcp_socket(family, reuse_port=reuse_port), target)


def _open_all_interfaces(port: int, *, reuse_port: bool) -> socket.socket:
    try:
        sock = _tcp_socket(socket.AF_INET6, reuse_port=reuse_port)
    except OSError:  # a system without IPv6
        return _bind(_tcp_socket(socket.AF_INET, reuse_port=reuse_port), ("0.0.0.0", port))  # noqa: S104 - asked for
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return _bind(sock, ("::", port))


def _tcp_socket(family: int, *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock


def _bind(sock: socket.socket, target: str | tuple[object, ...]) -> socket.socket:
    try:
        sock.bind(target)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def bound_address(address: ListenAddress, sock: socket.socket) -> ListenAddress:
    """Return the address with what the kernel has chosen."""
    if sock.family == socket.AF_UNIX:
        return replace(address, path=address.path or str(sock.getsockname()))
    return replace(address, port=int(sock.getsockname()[1]))


def file_identity(address: ListenAddress) -> tuple[int, int] | None:
    """Return what tells this socket file from another one of the same name; ``None`` where there is none."""
    if address.kind is not ListenerKind.UNIX:
        return None
    try:
        found = os.lstat(address.path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove_file(address: ListenAddress, file: tuple[int, int] | None) -> None:
    """Remove the socket's file, unless somebody has replaced it."""
    if file is not None and file_identity(address) == file:
        with contextlib.suppress(OSError):
            Path(address.path).unlink()
