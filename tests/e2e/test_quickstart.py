"""The quick start of the documentation, played command by command in an empty directory."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from praefect.datastore.embedded import EmbeddedPostgres
from tests.support.debian_postgres import find_programs, run_debian_postgres
from tests.support.git_client import git_environment
from tests.support.tls_certificates import make_authority

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DOCUMENT = Path(__file__).parents[2] / "docs" / "quickstart.md"
POSTGRES_HOST = "127.0.77.2"
SUPERUSER_PASSWORD = "password of the superuser"
LIMIT_SECONDS = 240


def commands() -> list[str]:
    """Return the command blocks of the document, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


def script(blocks: list[str]) -> str:
    """Return one script that stops at the first command that fails, and ends what it started."""
    ending = 'trap "trap - EXIT; kill \\$(jobs -p) 2>/dev/null; wait" EXIT'
    numbered = [f"echo {shlex.quote(f'### block {number}')}\n{block}" for number, block in enumerate(blocks, start=1)]
    return "\n".join(["set -eu -o pipefail", ending, *numbered, "echo '### done'"])


async def play(directory: Path, blocks: list[str], environment: dict[str, str]) -> str:
    """Run the blocks in an empty directory; return what they printed."""
    binaries = Path(sys.executable).parent
    environment = {**git_environment(), "PATH": f"{binaries}:{os.environ['PATH']}", **environment}
    output = directory.with_name("output")
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script(blocks)),
            cwd=directory,
            env={**environment, "no_proxy": "*", "NO_PROXY": "*"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGTERM)
            await process.wait()
    text = output.read_text(errors="replace")
    logs = (
        "".join(f"\n=== {log}\n{log.read_text()[-1500:]}" for log in directory.glob("**/log"))
        if process.returncode
        else ""
    )
    assert process.returncode == 0, text[-6000:] + logs
    return text


@asynccontextmanager
async def debian(directory: Path) -> AsyncIterator[tuple[list[str], dict[str, str]]]:
    """Serve what the document expects: PostgreSQL with TLS, and its authority's certificate."""
    authority = make_authority(directory.parent)
    async with run_debian_postgres(host=POSTGRES_HOST, port=5432) as server:
        await server.execute(f"ALTER ROLE postgres PASSWORD '{SUPERUSER_PASSWORD}'")
        await server.configure(hba=["hostssl all all 127.0.0.0/8 scram-sha-256"], server=authority.issue(POSTGRES_HOST))
        (directory / "postgresql-ca.crt").write_bytes(authority.certificate_path.read_bytes())
        yield commands(), {"PGPASSWORD": SUPERUSER_PASSWORD}


@asynccontextmanager
async def embedded(directory: Path) -> AsyncIterator[tuple[list[str], dict[str, str]]]:
    """Serve the embedded database; what the document says of TLS and psql, which it lacks, is left out."""
    async with EmbeddedPostgres(directory.parent / "postgres") as server:
        password = "a password that secrets.sh overrides"
        await server.provision(role="praefect", password=password, database="praefect_production")
        blocks = [
            block.replace(f"'{POSTGRES_HOST}'", f"'{server.host}'")
            .replace("'verify-full'", "'disable'")
            .replace(". ./secrets.sh", f". ./secrets.sh\nPRAEFECT_SQL_PASSWORD={shlex.quote(password)}")
            for block in commands()
            if "psql" not in block
        ]
        yield blocks, {}


async def test_the_quick_start_can_be_played(tmp_path: Path) -> None:
    directory = tmp_path / "empty"
    directory.mkdir()
    async with (debian if find_programs() else embedded)(directory) as (blocks, environment):
        text = await play(directory, blocks, environment)
    assert text.endswith("### done\n")
    assert "praefect sql-ping: OK\n" in text
    assert re.search(r"^praefect \(tcp://127.0.77.10:2305\) \.\.\. OK$", text, re.MULTILINE)
    assert re.search(r"^default \(tcp://127.0.77.20:8075\) \.\.\. OK$", text, re.MULTILINE)
    assert "All checks passed." in text
    assert '"repository_storage": "praefect"' in text
    assert re.search(r": gitaly-[23] -> gitaly-1\n1 repository moved, 0 cannot move", text), text[-2000:]
    assert re.search(r": gitaly-1 -> gitaly-[23]\n1 repository moved, 0 cannot move", text), text[-2000:]
    assert (directory / "praefect-test" / "README.md").is_file()


def test_every_command_of_the_document_is_played() -> None:
    """A block of another kind would be printed and not run."""
    fences = re.findall(r"^```(.*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert set(fences) == {"sh", ""}
    assert len(fences) == 2 * len(commands())
