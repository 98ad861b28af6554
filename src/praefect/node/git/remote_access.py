"""How git reaches a remote outside the cluster: pinned addresses, credentials, ssh keys. No secret is an argument."""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.node.git.command import ConfigPair

_DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A remote and what is needed to reach it.

    Attributes:
        authorization: value of the HTTP header.
        resolved_address: the address the URL's host was found to have when it was checked.
        ssh_key: a private key.
        known_hosts: lines of a known_hosts file.
    """

    url: str = field(repr=False)
    authorization: str = field(default="", repr=False)
    resolved_address: str = ""
    ssh_key: str = field(default="", repr=False)
    known_hosts: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a command needs: the URL to give git, and settings that travel in the environment."""

    url: str = field(repr=False)
    config: tuple[ConfigPair, ...] = field(repr=False)
    environment: dict[str, str] = field(repr=False)


@asynccontextmanager
async def remote_access(remote: Remote, directory: Path | None = None) -> AsyncIterator[Access]:
    """Prepare the way to a remote; key files live until the end, in ``directory``."""
    url, authorization = without_credentials(remote)
    config: list[ConfigPair] = []
    if authorization:
        config.append((f"http.{url}.extraHeader", f"Authorization: {authorization}"))
    if remote.resolved_address:
        url, pinned = _pinned(url, remote.resolved_address)
        config += pinned
    place = tempfile.mkdtemp(prefix="ssh-", dir=directory) if remote.ssh_key or remote.known_hosts else None
    try:
        environment = _ssh_environment(remote, Path(place)) if place is not None else {}
        yield Access(url=url, config=tuple(config), environment=environment)
    finally:
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)


def without_credentials(remote: Remote) -> tuple[str, str]:
    """Return the URL without user and password, and the authorization they stand for unless one is given."""
    try:
        parts = urlsplit(remote.url)
    except ValueError:
        return remote.url, remote.authorization
    if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
        return remote.url, remote.authorization
    credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    basic = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return urlunsplit(bare), basic


def _pinned(url: str, address: str) -> tuple[str, list[ConfigPair]]:
    parts = urlsplit(url)
    bracketed = f"[{address}]" if ":" in address else address
    if parts.scheme in {"http", "https"}:
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        return url, [("http.curloptResolve", f"{parts.hostname}:{port}:{bracketed}")]
    if parts.scheme in {"ssh", "git"}:
        return urlunsplit(_with_host(parts, bracketed)), []
    return url, []


def _with_host(parts: SplitResult, host: str) -> SplitResult:
    user, at, _ = parts.netloc.rpartition("@")
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{user}{at}{host}{port}")


def _ssh_environment(remote: Remote, directory: Path) -> dict[str, str]:
    options = []
    if remote.ssh_key:
        key = directory / "key"
        _write_private(key, remote.ssh_key)
        options += ["-oIdentitiesOnly=yes", f"-oIdentityFile={key}"]
    if remote.known_hosts:
        hosts = directory / "known_hosts"
        _write_private(hosts, remote.known_hosts)
        options += ["-oStrictHostKeyChecking=yes", "-oCheckHostIP=no", f"-oUserKnownHostsFile={hosts}"]
    return {"GIT_SSH_COMMAND": shlex.join(["ssh", *options])}


def _write_private(file: Path, content: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(content)
