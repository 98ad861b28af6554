"""A storage node's file out of a gitlab.rb."""

import os.path
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final

from praefect.config.node_sections import GitConfigEntry
from praefect.config.omnibus.convert import Values
from praefect.config.omnibus.draft import Draft
from praefect.config.omnibus.faults import GitlabRbError, Place
from praefect.config.omnibus.known_keys import GITALY_KEYS, GITALY_KEYS_ELSEWHERE
from praefect.config.omnibus.package_secrets import shell_secret_beside
from praefect.config.omnibus.settings import Leaf, node_of, spell
from praefect.config.omnibus.syntax import Sequence, Table

DEFAULT_SOCKET: Final = "/var/opt/gitlab/gitaly/gitaly.socket"
DEFAULT_DATA_DIR: Final = "/var/opt/gitlab/git-data"
_REPOSITORIES: Final = "repositories"
_TRACES: Final = ("@hashed", "@cluster", "@pools", "@snippets", "@groups")
"""Directories at the top of a storage that is in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _DataDir:
    """A storage and the directory that the file gives it."""

    name: str
    path: str
    place: Place


def draft_gitaly(draft: Draft, only_storage: str) -> None:
    """Fill the draft of a node's file.

    Args:
        draft: what is filled.
        only_storage: the storage that this node has, where the file names those of several; empty for all.

    Raises:
        GitlabRbError: a setting cannot be used.
    """
    draft.take_keys({**GITALY_KEYS_ELSEWHERE, **{("gitaly", key): target for key, target in GITALY_KEYS.items()}})
    _take_git_config(draft)
    draft.take_configuration("gitaly")
    draft.note_missing_token()
    _take_secret(draft)
    _take_url(draft)
    _take_storages(draft, only_storage)
    if not any(draft.get(key) for key in ("listen_addr", "tls_listen_addr", "socket_path")):
        draft.set("socket_path", DEFAULT_SOCKET)
        draft.notes.append(f"no address to listen on is set: socket_path is the package's default, {DEFAULT_SOCKET}")


def _take_secret(draft: Draft) -> None:
    if draft.get("gitlab.secret") or draft.get("gitlab.secret_file"):
        return
    secret = shell_secret_beside(draft.settings.place.file)
    if secret:
        draft.set("gitlab.secret", secret)
    else:
        draft.notes.append("gitlab_shell['secret_token'] is not set: every push to this node will fail")


def _take_url(draft: Draft) -> None:
    url = draft.text("external_url")
    if draft.get("gitlab.url"):
        return
    if url:
        draft.set("gitlab.url", url)
        draft.notes.append("gitlab.url is external_url, as gitlab_rails['internal_api_url'] is not set")
    else:
        draft.notes.append("gitlab_rails['internal_api_url'] is not set: every push to this node will fail")


def _take_git_config(draft: Draft) -> None:
    path = ("gitaly", "gitconfig")
    node = draft.settings.take(*path)
    if not isinstance(node, Leaf) or not isinstance(node.expression, Sequence):
        if node is not None:
            raise GitlabRbError(node.place, f"{spell(path)}: an array is expected")
        return
    entries: list[Values] = []
    for expression in node.expression.items:
        branch = node_of(expression)
        if not isinstance(expression, Table) or isinstance(branch, Leaf):
            raise GitlabRbError(expression.place, f"{spell(path)}: a hash is expected")
        names = (draft.converter.text(branch.take(part), (*path, part)) for part in ("section", "subsection"))
        above = [name for name in names if name]
        entry = draft.converter.section(GitConfigEntry, branch, path)
        entries.append({**entry, "key": ".".join([*above, str(entry.get("key", ""))])})
        draft.converter.unknown += branch.leaves(path)
    draft.set("git.config", entries)


def _take_storages(draft: Draft, only_storage: str) -> None:
    data_dirs = list(_data_dirs(draft))
    if not draft.get("storage"):
        draft.set("storage", _storages_of(draft, data_dirs, only_storage))
        return
    if only_storage:
        kept = [storage for storage in draft.get("storage") if storage.get("name") == only_storage]
        if not kept:
            raise GitlabRbError(draft.settings.place, f'no storage is named "{only_storage}"')
        draft.set("storage", kept)


def _data_dirs(draft: Draft) -> Iterator[_DataDir]:
    branch = draft.take_hash("git_data_dirs")
    if branch is None:
        return
    for name, node in list(branch.children.items()):
        path = ("git_data_dirs", name)
        if isinstance(node, Leaf):  # the oldest spelling: name and path
            yield _DataDir(name=name, path=draft.converter.text(node, path), place=node.place)
            branch.children.pop(name)
            continue
        directory = draft.converter.text(node.take("path"), (*path, "path"))
        address = node.take("gitaly_address")
        node.take("gitaly_token")
        node.take("weight")
        if not node.children:
            branch.children.pop(name)
        if not directory and (address is None or name == "default"):
            directory = DEFAULT_DATA_DIR
        if directory:
            yield _DataDir(name=name, path=directory, place=node.place)
    draft.put_back(branch, ("git_data_dirs",))


def _storages_of(draft: Draft, data_dirs: list[_DataDir], only_storage: str) -> list[Values]:
    if only_storage:
        data_dirs = [one for one in data_dirs if one.name == only_storage]
        if not data_dirs:
            raise GitlabRbError(draft.settings.place, f'no storage of this machine is named "{only_storage}"')
    by_path: Mapping[str, list[_DataDir]] = defaultdict(list)
    for one in data_dirs:
        by_path[os.path.normpath(one.path)].append(one)
    for path, shared in by_path.items():
        if len(shared) > 1:
            _judge_shared(draft, path, shared)
    return [{"name": one.name, "path": _place_of(one, by_path)} for one in data_dirs]


def _place_of(one: _DataDir, by_path: Mapping[str, list[_DataDir]]) -> str:
    path = os.path.normpath(one.path)
    return f"{path}/{one.name}/{_REPOSITORIES}" if len(by_path[path]) > 1 else f"{path}/{_REPOSITORIES}"


def _judge_shared(draft: Draft, path: str, shared: list[_DataDir]) -> None:
    """Storages with one directory: upstream let each see the repositories of the others, a node refuses it."""
    names = ", ".join(one.name for one in shared)
    for one in shared:
        if "/" in one.name or one.name in ("", ".", ".."):
            raise GitlabRbError(
                one.place, f"storages {names} share {path}, and a directory cannot be named as one of them"
            )
    if any((FilePath(path) / _REPOSITORIES / trace).exists() for trace in _TRACES):
        fault = f"storages {names} share {path}, which holds repositories already: say with --storage whose they are"
        raise GitlabRbError(shared[0].place, fault)
    draft.notes.append(
        f"storages {names} share {path}: each has a directory of its own below it; "
        "--storage keeps only the one of this node"
    )


def missing_directories(values: Values) -> list[str]:
    """Directories of storages that are not there yet."""
    paths = [str(storage.get("path", "")) for storage in values.get("storage", [])]
    return [path for path in paths if path and not FilePath(path).is_dir()]
