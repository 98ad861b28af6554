"""What git starts in the place of ssh in tests: joins its input and output to a socket and plays the exit code.

First goes a line with GIT_PROTOCOL and the command, NUL between them; then standard input. Back come answers: a byte, 1
or 2 for the descriptor or 0 for the exit code, four bytes of length, and the bytes.
"""

import _socket
import _thread
import os
import sys


def main() -> int:
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(sys.argv[1])
    connection.sendall(f"{os.environ.get('GIT_PROTOCOL', '')}\0{sys.argv[-1]}\n".encode())
    _thread.start_new_thread(send_input, (connection,))
    while True:
        header = receive(connection, 5)
        data = receive(connection, int.from_bytes(header[1:], "big"))
        if header[0] == 0:
            return data[0]
        while data:
            data = data[os.write(header[0], data) :]


def receive(connection: "_socket.socket", size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            os._exit(255)
        data += chunk
    return data


def send_input(connection: "_socket.socket") -> None:
    while data := os.read(0, 65536):
        connection.sendall(data)
    connection.shutdown(_socket.SHUT_WR)


if __name__ == "__main__":
    os._exit(main())
