"""What git starts in the place of ssh for a fetch between nodes: joins its standard input and output to a socket.

Run by an isolated interpreter (``-I -S``), so it imports next to nothing; everything else happens in the node.
"""

import _socket
import _thread
import os
import sys


def main() -> int:
    """Copy both ways until the node closes the connection."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(sys.argv[1])
    _thread.start_new_thread(send_input, (connection,))
    while data := connection.recv(65536):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
    return 0


def send_input(connection: "_socket.socket") -> None:
    """Copy standard input to the node and tell it the end."""
    while data := os.read(0, 65536):
        view = memoryview(data)
        while view:
            view = view[connection.send(view) :]
    connection.shutdown(_socket.SHUT_WR)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
