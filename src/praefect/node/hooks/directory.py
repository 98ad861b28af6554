"""The directory in which git finds the hooks of this process.

One subdirectory per set of hooks, so that git starts nothing that a command does not want. Everything lies below the
process's private runtime directory: whoever can read the programs can speak to the node as a hook.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.node.hooks.payload import RequestedHooks

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMES = {
    RequestedHooks.REFERENCE_TRANSACTION: "reference-transaction",
    RequestedHooks.UPDATE: "update",
    RequestedHooks.PRE_RECEIVE: "pre-receive",
    RequestedHooks.POST_RECEIVE: "post-receive",
}
_MAX_SHEBANG_BYTES = 127  # older kernels cut a longer first line off


class HooksDirectory:
    """Programs for every set of hooks that commands of this node ask for.

    Args:
        parent: the process's runtime directory.
        socket_path: where the node listens for hooks.
        secret: what the programs say first; hexadecimal digits.
    """

    def __init__(self, parent: Path, *, socket_path: Path, secret: str) -> None:
        self._path = parent / f"hooks-{secrets.token_hex(4)}.d"
        self._program = self._path / "helper"
        self._socket_path = socket_path
        self._secret = secret

    def create(self, sets: Iterable[RequestedHooks]) -> None:
        """Write the program and a directory of links to it for each of ``sets``. Blocks."""
        self._path.mkdir(mode=0o700)
        self._program.write_text(_program_text(self._socket_path, self._secret), encoding="utf-8")
        self._program.chmod(0o500)
        for hooks in sets:
            directory = self.path_of(hooks)
            directory.mkdir(mode=0o700)
            for hook, name in _NAMES.items():
                if hook in hooks:
                    (directory / name).symlink_to(self._program)

    def path_of(self, hooks: RequestedHooks) -> Path:
        """Return the directory for one of the sets given to ``create``."""
        return self._path / str(int(hooks))


def _program_text(socket_path: Path, secret: str) -> str:
    text = resources.files("praefect.node.hooks").joinpath("helper.py").read_text(encoding="utf-8")
    text = text.replace('SOCKET_PATH = ""', f"SOCKET_PATH = {str(socket_path)!r}", 1)
    text = text.replace('SECRET = b""', f"SECRET = {secret.encode('ascii')!r}", 1)
    return shebang(os.path.realpath(sys.executable)) + text


def shebang(interpreter: str) -> str:
    """Return the first lines: isolated, without site; through sh if the kernel cannot take the interpreter's path."""
    line = f"#!{interpreter} -IS\n"
    if len(line) <= _MAX_SHEBANG_BYTES and not re.search(r"\s", interpreter):
        return line
    # Read by sh up to the exec; to Python the second line is a string.
    return f"#!/bin/sh\n'''exec' {shlex.quote(interpreter)} -IS \"$0\" \"$@\"\n' '''\n"
