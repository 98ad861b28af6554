"""One git command as a value, and what each subcommand needs: configuration, hooks, ``--end-of-options``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from praefect.domain.errors import PraefectError
from praefect.node.git.errors import UnsafeArgumentError

ConfigPair = tuple[str, str]

EMPTY_TREE_SHA1 = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
EMPTY_TREE_SHA256 = "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"

HIDDEN_FROM_ALL = ("refs/keep-around/", "refs/remotes/", "refs/tmp/")
READ_ONLY = ("refs/environments/", "refs/merge-requests/", "refs/pipelines/")

# Source: git's own handling of the flag; the rest take it before their positional arguments.
_NO_END_OF_OPTIONS = frozenset(
    [
        "archive",
        "blame",
        "check-attr",
        "check-ref-format",
        "checkout",
        "filter-repo",
        "grep",
        "index-pack",
        "patch-id",
        "range-diff",
        "remote",
        "rev-list",
        "rev-parse",
        "unpack-objects",
        "upload-archive",
    ]
)
_MAY_WRITE_REFERENCES = frozenset(
    [
        "am",
        "branch",
        "checkout",
        "clone",
        "commit",
        "fetch",
        "filter-repo",
        "merge",
        "push",
        "rebase",
        "receive-pack",
        "remote",
        "symbolic-ref",
        "tag",
        "update-ref",
        "worktree",
    ]
)
_READS_HEAD_ATTRIBUTES = frozenset(
    [
        "diff",
        "merge",
        "merge-tree",
        "check-attr",
        "worktree",
        "archive",
        "log",
        "format-patch",
        "cat-file",
        "rev-parse",
        "update-ref",
    ]
)
MULTI_PACK_REUSE: ConfigPair = ("pack.allowPackReuse", "multi")
GLOBAL_CONFIG: tuple[ConfigPair, ...] = (
    ("gc.auto", "0"),
    ("maintenance.auto", "0"),
    ("core.autocrlf", "false"),
    ("core.useReplaceRefs", "false"),
    ("core.bigFileThreshold", "50m"),
    MULTI_PACK_REUSE,
    ("midx.version", "1"),
    ("core.fsync", "objects,derived-metadata,reference"),
    ("core.fsyncMethod", "fsync"),
    ("core.packedRefsTimeout", "10000"),
    ("core.filesRefLockTimeout", "1000"),
)
_PACKING = frozenset(["bundle", "clone", "fetch", "gc", "pack-objects", "receive-pack", "repack", "upload-pack"])
_REMOTE = frozenset(["clone", "fetch", "ls-remote", "push", "remote"])
_CHECKED_FAULTS = ("badTimezone", "missingSpaceBeforeDate", "zeroPaddedFilemode")


class MissingHooksError(PraefectError):
    """A mistake in this program: a command that may write references was given no word about hooks."""


class HookConnection(Protocol):
    """What joins the hooks of one running command to this process; an async context manager.

    Attributes:
        descriptors: what the command inherits.
        environment: how its hooks find them.
    """

    @property
    def descriptors(self) -> Sequence[int]: ...  # noqa: D102
    @property
    def environment(self) -> Mapping[str, str]: ...  # noqa: D102

    async def __aenter__(self) -> Self:
        """Open it, before the command is started."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, after the command has ended."""

    def started(self) -> None:
        """Take notice that the command has what it inherits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSetup:
    """Which hooks a command runs.

    Attributes:
        directory: becomes ``core.hooksPath``.
        environment: what the hooks need to reach this process; holds secrets, so it is in no repr.
        connect: makes the quick way for hooks that run often.
    """

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect: Callable[[], HookConnection] | None = field(default=None, repr=False)


NO_HOOKS = HookSetup(directory=Path("/dev/null"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A git command: the subcommand, our flags, then what came from outside.

    Attributes:
        name: the subcommand.
        action: a subcommand's own subcommand, such as ``write`` of ``commit-graph``.
        flags: options this program chose; a value from outside is joined as ``--flag=value``.
        arguments: positional arguments; none may begin with ``-``.
        revisions: like ``arguments``, for commands of the ``rev-list`` kind: pseudo-revisions may be among them.
        paths: what stands after ``--``; ``None`` leaves the separator out.
        config: ``-c`` pairs of this call, after the command's own.
        secret_config: pairs handed over in the environment.
        environment: further variables of this call.
        hooks: required for commands that may write references.
        worktree: run there (``-C``) instead of in the repository.
    """

    name: str
    action: str = ""
    flags: Sequence[str] = ()
    arguments: Sequence[bytes | str] = ()
    revisions: Sequence[bytes | str] = ()
    paths: Sequence[bytes | str] | None = None
    config: Sequence[ConfigPair] = ()
    secret_config: Sequence[ConfigPair] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    hooks: HookSetup | None = None
    worktree: Path | None = None

    def argv(self) -> list[bytes]:
        """Return the subcommand and everything after it.

        Raises:
            UnsafeArgumentError: a positional argument begins with ``-``, or something contains NUL.
        """
        words: list[bytes] = [self.name.encode()]
        if self.action:
            words.append(self.action.encode())
        words += [os.fsencode(flag) for flag in self.flags]
        positional = [_encoded(argument) for argument in self.arguments]
        if any(argument.startswith(b"-") and argument != b"-" for argument in positional):
            raise UnsafeArgumentError("argument can't start with '-'")
        if positional and self.name not in _NO_END_OF_OPTIONS:
            words.append(b"--end-of-options")
        words += positional
        words += [_encoded(revision) for revision in self.revisions]
        if self.paths is not None:
            words.append(b"--")
            words += [_encoded(path) for path in self.paths]
        if any(b"\0" in word for word in words):
            raise UnsafeArgumentError("argument contains NUL")
        return words

    def require_hooks(self) -> None:
        """Check that a command that may write references says what its hooks are.

        Raises:
            MissingHooksError: it does not.
        """
        if self.hooks is None and self.name in _MAY_WRITE_REFERENCES:
            raise MissingHooksError(f"git {self.name} may write references: say which hooks run")


def _encoded(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else os.fsencode(value)


def config_of(command: Command, *, empty_tree: str) -> list[ConfigPair]:
    """Return the configuration a command gets: global, the command's, the call's, hooks, attributes."""
    pairs = [*GLOBAL_CONFIG, *_command_config(command.name), *command.config]
    if command.hooks is not None:
        pairs.append(("core.hooksPath", str(command.hooks.directory)))
    pairs.append(("attr.tree", "HEAD" if command.name in _READS_HEAD_ATTRIBUTES else empty_tree))
    return pairs


def _command_config(name: str) -> list[ConfigPair]:
    pairs = list(_COMMAND_CONFIG.get(name, ()))
    if name in _REMOTE:
        pairs.append(("http.followRedirects", "false"))
    if name in _PACKING:
        threads = max(1, int(math.log2(os.cpu_count() or 1)))
        pairs += [("pack.windowMemory", "100m"), ("pack.writeReverseIndex", "true"), ("pack.threads", str(threads))]
    return pairs


def _checks(section: str, switch: str) -> list[ConfigPair]:
    return [(switch, "true"), *((f"{section}.{fault}", "ignore") for fault in _CHECKED_FAULTS)]


_COMMAND_CONFIG: dict[str, tuple[ConfigPair, ...]] = {
    "fetch": (
        ("core.alternateRefsCommand", "exit 0 #"),
        ("fetch.writeCommitGraph", "false"),
        ("fetch.recurseSubmodules", "no"),
        *_checks("fetch.fsck", "fetch.fsckObjects"),
    ),
    "clone": (
        ("init.templateDir", ""),
        ("transfer.bundleURI", "true"),
        *_checks("fetch.fsck", "transfer.fsckObjects"),
    ),
    "receive-pack": (
        ("core.alternateRefsCommand", "exit 0 #"),
        ("receive.advertisePushOptions", "true"),
        ("receive.autogc", "false"),
        *(("receive.hideRefs", prefix) for prefix in (*HIDDEN_FROM_ALL, *READ_ONLY)),
        *_checks("receive.fsck", "receive.fsckObjects"),
    ),
    "upload-pack": (
        *(("uploadpack.hideRefs", prefix) for prefix in HIDDEN_FROM_ALL),
        ("uploadpack.allowFilter", "true"),
        ("uploadpack.allowAnySHA1InWant", "true"),
        ("uploadpack.advertiseBundleURIs", "false"),
    ),
    "fsck": tuple((f"fsck.{fault}", "ignore") for fault in _CHECKED_FAULTS),
    "init": (("init.defaultBranch", "main"), ("init.templateDir", "")),
    "repack": (("repack.updateServerInfo", "false"),),
    "grep": (("grep.threads", "2"),),
}


def parse_config_options(options: Sequence[str]) -> list[ConfigPair]:
    """Split a request's ``key=value`` options at the first ``=``.

    Raises:
        UnsafeArgumentError: one has no ``=``, or no key.
    """
    pairs = []
    for option in options:
        key, separator, value = option.partition("=")
        if not separator or not key:
            raise InvalidConfigOptionError(option)
        pairs.append((key, value))
    return pairs


class InvalidConfigOptionError(PraefectError):
    """A configuration option of a request is not ``key=value``."""

    def __init__(self, option: str) -> None:
        super().__init__(f'cannot convert invalid config key: "{option}"')
