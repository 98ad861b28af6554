"""The directory in which git finds the hooks of this process.

One subdirectory per set of hooks, so that git starts nothing that a command does not want. Everything lies below the
process's private runtime directory: whoever can read the programs can speak to the node as a hook.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.node.hooks.payload import RequestedHooks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAMES = {
    RequestedHooks.REFERENCE_TRANSACTION: "reference-transaction",
    RequestedHooks.UPDATE: "update",
    RequestedHooks.PRE_RECEIVE: "pre-receive",
    RequestedHooks.POST_RECEIVE: "post-receive",
}
_OFTEN = RequestedHooks.REFERENCE_TRANSACTION | RequestedHooks.UPDATE
"""What git starts for every reference of a push."""

_SHELL = "/bin/sh"
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
        self._helper = self._path / "helper"
        self._quick = self._path / "quick"
        self._helpers = self._path / "helpers"
        self._socket_path = socket_path
        self._secret = secret

    def create(self, sets: Iterable[RequestedHooks]) -> None:
        """Write the programs and a directory of links to them for each of ``sets``. Blocks."""
        self._path.mkdir(mode=0o700)
        _write_program(self._helper, _helper_text(self._socket_path, self._secret))
        _write_program(self._quick, _quick_text(self._helpers))
        often = self._quick if shell_is_exact(_SHELL) else self._helper
        for hooks in sets:
            _link(self.path_of(hooks), {hook: often if hook in _OFTEN else self._helper for hook in hooks})
        _link(self._helpers, dict.fromkeys(_OFTEN, self._helper))

    def path_of(self, hooks: RequestedHooks) -> Path:
        """Return the directory for one of the sets given to ``create``."""
        return self._path / str(int(hooks))


def _write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o500)


def _link(directory: Path, programs: Mapping[RequestedHooks, Path]) -> None:
    directory.mkdir(mode=0o700)
    for hook, program in programs.items():
        (directory / _NAMES[hook]).symlink_to(program)


def _quick_text(helpers: Path) -> str:
    text = resources.files("praefect.node.hooks").joinpath("quick.sh").read_text(encoding="utf-8")
    return f"#!{_SHELL}\n" + text.replace("@HELPERS@", shlex.quote(str(helpers)), 1)


def _helper_text(socket_path: Path, secret: str) -> str:
    text = resources.files("praefect.node.hooks").joinpath("helper.py").read_text(encoding="utf-8")
    text = text.replace('SOCKET_PATH = ""', f"SOCKET_PATH = {str(socket_path)!r}", 1)
    text = text.replace('SECRET = b""', f"SECRET = {secret.encode('ascii')!r}", 1)
    return shebang(os.path.realpath(sys.executable)) + text


def shell_is_exact(shell: str) -> bool:
    """Tell whether a shell passes on each byte of a line as it is, and whether it can open what it inherited.

    Votes are made of these bytes. There were shells that lost some.
    """
    line = bytes(byte for byte in range(1, 256) if byte != ord("\n")) + b"\n"
    script = "IFS= read -r line </proc/self/fd/0; printf '%s\\n' \"$line\" >/proc/self/fd/1"
    try:
        completed = subprocess.run([shell, "-c", script], input=line, capture_output=True, check=False)
    except OSError:
        return False
    return completed.stdout == line


def shebang(interpreter: str) -> str:
    """Return the first lines: isolated, without site; through sh if the kernel cannot take the interpreter's path."""
    line = f"#!{interpreter} -IS\n"
    if len(line) <= _MAX_SHEBANG_BYTES and not re.search(r"\s", interpreter):
        return line
    # Read by sh up to the exec; to Python the second line is a string.
    return f"#!/bin/sh\n'''exec' {shlex.quote(interpreter)} -IS \"$0\" \"$@\"\n' '''\n"
