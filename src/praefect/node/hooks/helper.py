"""The program that git starts as a hook: it hands everything to the node and plays back the answer.

This file is not imported by the node: ``directory`` writes its text, with the three constants filled in, to where git
looks for hooks. It is started several times per push, so it imports next to nothing; ``_socket`` is ``socket`` without
what takes half of the start-up time. Wire format: ``socket_server``.
"""

import _socket
import os
import sys

SOCKET_PATH = ""
SECRET = b""
CHUNK_BYTES = 65536


def main() -> int:
    """Play the hook this program was started as; return its exit code."""
    name = os.path.basename(sys.argv[0])  # noqa: PTH119 - pathlib is not imported here
    if name == "reference-transaction" and sys.argv[1:] not in (["prepared"], ["committed"]):
        return 0
    try:
        return ask_node(name)
    except OSError:
        os.write(2, b"error executing git hook\n")
        return 1


def ask_node(name: str) -> int:
    """Send the hook's name, arguments, environment and input; copy its output; return its exit code."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(SOCKET_PATH)
    arguments = [os.fsencode(argument) for argument in sys.argv[1:]]
    variables = [key + b"=" + value for key, value in os.environb.items()]
    words = [os.fsencode(name), b"%d" % len(arguments), *arguments, *variables]
    connection.sendall(SECRET + block(b"\0".join(words)))
    while name != "update":
        data = os.read(0, CHUNK_BYTES)
        if not data:
            break
        connection.sendall(block(data))
    connection.sendall(block(b""))
    while True:
        kind, data = receive_block(connection)
        if kind == 0:
            return data[0]
        while data:
            data = data[os.write(kind, data) :]


def block(data: bytes) -> bytes:
    """Return ``data`` with its length in front."""
    return len(data).to_bytes(4, "big") + data


def receive_block(connection: "_socket.socket") -> tuple[int, bytes]:
    """Return the next answer: 1 or 2 and bytes for that descriptor, or 0 and the exit code."""
    header = receive(connection, 5)
    return header[0], receive(connection, int.from_bytes(header[1:], "big"))


def receive(connection: "_socket.socket", size: int) -> bytes:
    """Return exactly ``size`` bytes."""
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise OSError
        data += chunk
    return data


if __name__ == "__main__":
    sys.exit(main())
