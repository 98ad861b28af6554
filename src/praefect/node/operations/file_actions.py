"""What can be done to files in one commit, and the rules for it. Source: node.md 15.1."""

from __future__ import annotations

import enum
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError
from praefect.node.operations.trees import EXECUTABLE_MODE, FILE_MODE, Directory, Entry, PathOccupiedError, Tree
from praefect.node.quoting import quote
from praefect.proto.errors_pb2 import IndexError as IndexErrorDetail
from praefect.proto.operations_pb2 import UserCommitFilesError
from praefect.transport.grpc.status import StatusCode, StatusError

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEEP_FILE = b".gitkeep"
_RESERVED_NAMES = frozenset({b".git", b"git~1"})


class ActionKind(enum.IntEnum):
    """The kinds of actions; the numbers are the wire's."""

    CREATE = 0
    CREATE_DIRECTORY = 1
    UPDATE = 2
    MOVE = 3
    DELETE = 4
    CHANGE_MODE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAction:
    """One action.

    Attributes:
        blob: the id of the new content.
        keeps_content: a moved file keeps the content it has.
    """

    kind: ActionKind
    path: bytes
    previous_path: bytes = b""
    blob: str = ""
    is_executable: bool = False
    keeps_content: bool = False


class FileActionError(StatusError):
    """An action cannot be done; the client gets path and reason."""

    def __init__(self, code: StatusCode, message: str, path: bytes, kind: IndexErrorDetail.ErrorType) -> None:
        detail = UserCommitFilesError(index_update=IndexErrorDetail(path=path, error_type=kind))
        super().__init__(code, message, [detail])


async def apply_actions(tree: Tree, actions: Sequence[FileAction], *, empty_blob: str) -> None:
    """Do ``actions`` in order.

    Raises:
        FileActionError: one cannot be done.
        InternalError: a path would be part of git's own directory.
    """
    for action in actions:
        path = check_path(action.path)
        previous = check_path(action.previous_path) if action.kind is ActionKind.MOVE else b""
        try:
            await _apply(tree, action, path, previous, empty_blob)
        except PathOccupiedError as error:
            raise _file_exists(path) from error


def check_path(path: bytes) -> bytes:
    """Return a request's path in its shortest form.

    Raises:
        FileActionError: it is none, or leads out of the repository.
        InternalError: it leads into git's own directory.
    """
    if not path:
        raise FileActionError(
            StatusCode.INVALID_ARGUMENT, "You must provide a file path", b"", IndexErrorDetail.ERROR_TYPE_EMPTY_PATH
        )
    if b"//" in path:
        text = f"invalid path: {quote(path)}"
        raise FileActionError(StatusCode.INVALID_ARGUMENT, text, path, IndexErrorDetail.ERROR_TYPE_INVALID_PATH)
    cleaned = posixpath.normpath(path.lstrip(b"/") or b".")
    if cleaned == b".." or cleaned.startswith(b"../"):
        raise FileActionError(
            StatusCode.INVALID_ARGUMENT,
            "Path cannot include directory traversal",
            path,
            IndexErrorDetail.ERROR_TYPE_DIRECTORY_TRAVERSAL,
        )
    if cleaned == b"." or b"\0" in cleaned or any(_is_reserved(name) for name in cleaned.split(b"/")):
        raise InternalError(f"invalid path: '{cleaned.decode('utf-8', 'replace')}'")
    return cleaned


def _is_reserved(name: bytes) -> bool:
    return name.lower().rstrip(b". ") in _RESERVED_NAMES


async def _apply(tree: Tree, action: FileAction, path: bytes, previous: bytes, empty_blob: str) -> None:
    match action.kind:
        case ActionKind.CREATE:
            await _require_absent(tree, path)
            await tree.put(path, Entry(_mode(is_executable=action.is_executable), action.blob))
        case ActionKind.CREATE_DIRECTORY:
            if isinstance(await _require_absent(tree, path), Directory):
                raise FileActionError(
                    StatusCode.ALREADY_EXISTS,
                    "A directory with this name already exists",
                    path,
                    IndexErrorDetail.ERROR_TYPE_DIRECTORY_EXISTS,
                )
            await tree.put(path + b"/" + _KEEP_FILE, Entry(FILE_MODE, empty_blob))
        case ActionKind.UPDATE:
            found = await _require_file(tree, path)
            await tree.put(path, Entry(found.mode, action.blob))
        case ActionKind.MOVE:
            found = await _require_file(tree, previous)
            await _require_absent(tree, path)
            await tree.remove(previous)
            await tree.put(path, Entry(found.mode, found.oid if action.keeps_content else action.blob))
        case ActionKind.DELETE:
            await _require_file(tree, path)
            await tree.remove(path)
        case ActionKind.CHANGE_MODE:
            found = await _require_file(tree, path)
            await tree.put(path, Entry(_mode(is_executable=action.is_executable), found.oid))


async def _require_absent(tree: Tree, path: bytes) -> Directory | None:
    """Check that no file is at ``path``; a directory of that name would be replaced."""
    found = await tree.find(path)
    if isinstance(found, Entry):
        raise _file_exists(path)
    return found


async def _require_file(tree: Tree, path: bytes) -> Entry:
    found = await tree.find(path)
    if isinstance(found, Entry):
        return found
    raise FileActionError(
        StatusCode.NOT_FOUND, "A file with this name doesn't exist", path, IndexErrorDetail.ERROR_TYPE_FILE_NOT_FOUND
    )


def _file_exists(path: bytes) -> FileActionError:
    return FileActionError(
        StatusCode.ALREADY_EXISTS, "A file with this name already exists", path, IndexErrorDetail.ERROR_TYPE_FILE_EXISTS
    )


def _mode(*, is_executable: bool) -> int:
    return EXECUTABLE_MODE if is_executable else FILE_MODE
