"""Names to addresses, by the system's resolver or by asking one name server.

Source: the Praefect wire reference, section 1.1; RFC 1035 and RFC 3596 for questions and answers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOKUP_SECONDS = 15.0
_ASK_AGAIN_SECONDS = 3.0
_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_RECURSION_DESIRED = 0x0100
_IS_ANSWER = 0x8000
_NO_SUCH_NAME = 3
_INTERNET = 1
_A, _AAAA = 1, 28
_FAMILIES = {_A: socket.AF_INET, _AAAA: socket.AF_INET6}

Target = tuple[int, tuple[str, int]]
"""Address family, and host and port."""


async def resolve(host: str, port: int, nameserver: tuple[str, int] | None = None) -> list[Target]:
    """Return where to connect to, in the order found; never empty.

    Raises:
        TimeoutError: nobody answered within 15 s.
        OSError: the name does not exist (``socket.gaierror``), or the name server cannot be asked.
    """
    async with asyncio.timeout(LOOKUP_SECONDS):
        if nameserver is not None and not _is_literal(host):
            return await _ask(host, port, nameserver)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), (str(target[0]), int(target[1]))) for family, _, _, _, target in found]


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _ask(host: str, port: int, nameserver: tuple[str, int]) -> list[Target]:
    family = socket.AF_INET6 if ":" in nameserver[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(nameserver)
        targets: list[Target] = []
        for kind in (_A, _AAAA):
            targets += [(family, (address, port)) for family, address in await _query(sock, host, kind)]
    if not targets:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")
    return targets


async def _query(sock: socket.socket, host: str, kind: int) -> list[tuple[int, str]]:
    loop = asyncio.get_running_loop()
    number = secrets.randbelow(1 << 16)
    question = encode_question(number, host, kind)
    while True:
        await loop.sock_sendall(sock, question)
        try:
            async with asyncio.timeout(_ASK_AGAIN_SECONDS):
                while True:
                    answer = decode_answer(await loop.sock_recv(sock, 65535), number, kind)
                    if answer is not None:
                        return answer
        except TimeoutError:
            continue  # the caller has a limit


def encode_question(number: int, host: str, kind: int) -> bytes:
    """Return the message that asks for one kind of address of a name.

    Raises:
        OSError: it is no name.
    """
    try:
        labels = host.rstrip(".").encode("idna").split(b".")
    except UnicodeError as exc:
        raise socket.gaierror(socket.EAI_NONAME, "no such host") from exc
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0) + name + struct.pack(">HH", kind, _INTERNET)


def decode_answer(message: bytes, number: int, kind: int) -> list[tuple[int, str]] | None:
    """Return families and addresses, or ``None`` for a message that does not answer question ``number``.

    Raises:
        OSError: the name does not exist, or the name server failed.
    """
    try:
        answered, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
        if answered != number or not flags & _IS_ANSWER:
            return None
        code = flags & 0xF
        if code == _NO_SUCH_NAME:
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        if code:
            raise OSError(0, "server misbehaving")
        return list(_addresses(message, questions, answers, kind))
    except (struct.error, IndexError, ValueError):
        return None


def _addresses(message: bytes, questions: int, answers: int, kind: int) -> Iterator[tuple[int, str]]:
    position = _HEADER.size
    for _ in range(questions):
        position = _skip_name(message, position) + 4
    for _ in range(answers):
        position = _skip_name(message, position)
        record_kind, _, _, size = _RECORD.unpack_from(message, position)
        position += _RECORD.size
        if record_kind == kind:  # aliases that led to it stand before it and are skipped
            yield _FAMILIES[kind], str(ipaddress.ip_address(message[position : position + size]))
        position += size


def _skip_name(message: bytes, position: int) -> int:
    while True:
        size = message[position]
        if size & 0xC0:
            return position + 2  # the rest stands elsewhere
        position += 1 + size
        if not size:
            return position
