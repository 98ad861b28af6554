"""From the bytes of a file to a section: defaults, TOML, config command, token file; the same for all programs."""

import dataclasses
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from praefect.config.command import run_config_command
from praefect.config.decode import Decoder, JsonDecoder
from praefect.config.document import parse
from praefect.config.faults import ConfigError, Fault, describe_os_error
from praefect.config.quoting import quote
from praefect.config.sections import AuthConfig

TOKEN_FILE_MODES: Final = (0o600, 0o400)


class Readable(Protocol):
    """What every file has: a config command and a section on who may call."""

    @property
    def config_command(self) -> str:
        """An executable whose output is merged."""

    @property
    def auth(self) -> AuthConfig:
        """Who may call."""


C = TypeVar("C", bound=Readable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[C]):
    """What a file says, before anybody judged it."""

    config: C
    file_token: str | None = dataclasses.field(default=None, repr=False)
    unknown: tuple[str, ...] = ()
    """Keys that no section knows."""

    def with_token(self) -> C:
        """The values with the token of the token file in place."""
        if self.file_token is None:
            return self.config
        auth = dataclasses.replace(self.config.auth, token=self.file_token)
        return cast("C", dataclasses.replace(cast("Any", self.config), auth=auth))


def read_file(path: str) -> bytes:
    """Read a whole file.

    Raises:
        ConfigError: it cannot be read; the message says what the system refused.
    """
    try:
        stream = open(path, "rb")  # noqa: PTH123, SIM115  # an empty path must fail; opening and reading differ in words
    except OSError as exc:
        operation = "read" if isinstance(exc, IsADirectoryError) else "open"
        raise ConfigError(describe_os_error(exc, operation, path)) from exc
    with stream:
        try:
            return stream.read()
        except OSError as exc:
            raise ConfigError(describe_os_error(exc, "read", path)) from exc


def read(data: bytes, default: C) -> Reading[C]:
    """Decode a file over defaults, merge what its config command prints, and read its token file.

    Raises:
        DecodeError: the text is wrong.
        ConfigError: command or token file are.
    """
    decoder = Decoder(parse(data))
    config = decoder.decode(default)
    unknown = decoder.unknown
    if config.config_command:
        generated = JsonDecoder()
        output = run_config_command(config.config_command)
        try:
            config = generated.merge(config, output)
        except ConfigError as exc:
            raise ConfigError(f"unmarshalling generated config: {exc}") from exc
        unknown = [*unknown, *generated.unknown]
    return Reading(
        config=config,
        file_token=_read_token(config.auth.token_file) if config.auth.token_file else None,
        unknown=tuple(dict.fromkeys(_spell(path) for path in unknown)),
    )


def _read_token(path: str) -> str:
    try:
        return read_file(path).decode(errors="surrogateescape").strip()
    except ConfigError as exc:
        raise ConfigError(f"reading token file: {exc}") from exc


def _spell(path: tuple[str | int, ...]) -> str:
    return ".".join(f"[{name}]" if isinstance(name, int) else name for name in path)


def auth_faults(auth: AuthConfig) -> list[Fault]:
    """What is wrong with ``[auth]``; key paths are relative to the section."""
    faults: list[Fault] = []
    if auth.token and auth.token_file:
        faults.append(Fault(("token", "token_file"), "token and token_file are mutually exclusive"))
    if not auth.token_file:
        return faults
    try:
        mode = stat.S_IMODE(Path(auth.token_file).stat().st_mode)
    except OSError:
        return [*faults, Fault(("token_file",), f"doesn't exist: {quote(auth.token_file)}")]
    if mode not in TOKEN_FILE_MODES:
        text = f"file permission {mode:04o} is too permissive, should be 0600 or 0400"
        faults.append(Fault(("token_file",), text))
    return faults


def warn_of_unknown(unknown: tuple[str, ...], replaced: Mapping[str, str]) -> list[str]:
    """A line for each key that is not heeded, with what took its place where something did."""
    lines = []
    for key in unknown:
        bare = ".".join(part for part in key.split(".") if not part.startswith("["))
        reason = replaced.get(bare.lower())
        lines.append(f"unknown key {quote(key)} is ignored" + (f": {reason}" if reason else ""))
    return lines
