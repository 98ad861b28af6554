"""The gateway's configuration file: storages, users with their tokens, and who may push where."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from praefect.config.decode import Decoder
from praefect.config.document import parse
from praefect.config.faults import ConfigError
from praefect.config.reading import read_file
from praefect.config.schema import setting
from praefect.config.sections import Http2Config, LoggingConfig, TlsConfig

MAX_WEIGHT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStorageConfig:
    """``[[storage]]``: one storage that projects may be on, as a Praefect or a single Gitaly serves it."""

    name: str = setting("", "Name of the storage, for Praefect that of the virtual storage.")
    gitaly_address: str = setting("", "Where it is served: `tcp://`, `tls://`, `unix:` or `dns:`.")
    gitaly_token: str = setting("", "Shared secret of that server.", secret=True)
    weight: int = setting(100, "Share of new projects, 0 to 100; 0 means none.", unit="share")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserConfig:
    """``[[user]]``: somebody who may use the gateway."""

    username: str = setting("", "Name, as git clients give it.")
    token: str = setting(
        "", "Personal access token; the password of git clients, `PRIVATE-TOKEN` of the API.", secret=True
    )
    read_only: bool = setting(False, "May clone and fetch, not push or create.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionConfig:
    """``[[protection]]``: branches nobody may push to."""

    project: str = setting("*", "Path of the project, `*` for any number of characters.")
    branch: str = setting("", "Name of the branch, `*` for any number of characters.")
    message: str = setting("You are not allowed to push code to protected branches on this project.", "What git shows.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """The whole file."""

    listen_addr: str = setting("127.0.0.1:8080", "`host:port` of the front door.")
    external_url: str = setting("", "Address that clients use; empty means `http://` and `listen_addr`.")
    database_path: str = setting("gateway.db", "SQLite file with the projects; relative to this file.")
    secret: str = setting("", "Secret shared with the nodes, for the internal API.", secret=True)
    secret_file: str = setting("", "File with that secret; excludes `secret`.")
    storages: tuple[GatewayStorageConfig, ...] = setting((), "Storages of projects.", key="storage")
    users: tuple[UserConfig, ...] = setting((), "Who may use the gateway.", key="user")
    protections: tuple[ProtectionConfig, ...] = setting((), "Protected branches.", key="protection")
    tls: TlsConfig = setting(TlsConfig(), "Certificate and key for https; empty means http.")
    ca_file: str = setting("", "Authorities trusted beside the system's when a storage is reached by TLS.")
    http2: Http2Config = setting(Http2Config(), "Transport towards the storages.")
    logging: LoggingConfig = setting(LoggingConfig(), "Logs.")


class GatewayConfigError(ConfigError):
    """The gateway's file is not usable; the message lists every fault with its key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfigFile:
    """A file that was read and found usable."""

    config: GatewayConfig
    unknown: tuple[str, ...] = ()  # keys that mean nothing here; worth a warning each


def load(path: str) -> GatewayConfigFile:
    """Read and judge a file.

    Raises:
        ConfigError: it cannot be read, is not TOML, or says something impossible.
    """
    decoder = Decoder(parse(read_file(path)))
    config = decoder.decode(GatewayConfig())
    secret = config.secret
    if config.secret_file and not secret:
        secret = read_file(config.secret_file).decode("utf-8", "surrogateescape").strip()
    faults = gateway_faults(config, secret)
    if faults:
        raise GatewayConfigError("\n".join([f"{path}: {faults[0]}", *(f"  {fault}" for fault in faults[1:])]))
    return GatewayConfigFile(
        config=dataclasses.replace(config, secret=secret),
        unknown=tuple(".".join(map(str, key)) for key in decoder.unknown),
    )


def gateway_faults(config: GatewayConfig, secret: str) -> list[str]:
    """What makes a file unusable; ``secret`` is the one shared with the nodes, wherever it comes from."""
    faults = []
    if not secret:
        faults.append("secret: neither `secret` nor `secret_file` gives the secret shared with the nodes")
    if not config.storages:
        faults.append("storage: none is configured")
    elif all(storage.weight == 0 for storage in config.storages):
        faults.append("storage: every weight is 0, so no new project has a place")
    return [*faults, *_storage_faults(config.storages), *_user_faults(config.users)]


def _storage_faults(storages: Sequence[GatewayStorageConfig]) -> Iterator[str]:
    seen: set[str] = set()
    for index, storage in enumerate(storages):
        key = f"storage[{index}]"
        if not storage.name:
            yield f"{key}.name: empty"
        elif storage.name in seen:
            yield f'{key}.name: "{storage.name}" is used twice'
        seen.add(storage.name)
        if not storage.gitaly_address:
            yield f"{key}.gitaly_address: empty"
        if not 0 <= storage.weight <= MAX_WEIGHT:
            yield f"{key}.weight: {storage.weight} is not between 0 and {MAX_WEIGHT}"


def _user_faults(users: Sequence[UserConfig]) -> Iterator[str]:
    seen: set[str] = set()
    for index, user in enumerate(users):
        if not user.username:
            yield f"user[{index}].username: empty"
        elif user.username in seen:
            yield f'user[{index}].username: "{user.username}" is used twice'
        seen.add(user.username)
        if not user.token:
            yield f"user[{index}].token: empty"
