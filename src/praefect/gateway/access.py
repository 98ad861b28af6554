"""Who may do what: users by their tokens, and branches that nobody pushes to."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from praefect.config.gateway import ProtectionConfig, UserConfig
from praefect.domain.errors import PermissionDeniedError
from praefect.gateway.projects import Project, parse_number

BRANCH_PREFIX = "refs/heads/"


class PushRefusedError(PermissionDeniedError):
    """A push is against the rules; the message is what git shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who proved to know a token."""

    id: int
    username: str
    read_only: bool

    @property
    def gl_id(self) -> str:
        """The name under which hooks speak of the user."""
        return f"user-{self.id}"


class Access:
    """Answers who somebody is and whether a push may happen."""

    def __init__(self, users: Sequence[UserConfig], protections: Sequence[ProtectionConfig]) -> None:
        self._users = {
            number: (User(id=number, username=user.username, read_only=user.read_only), user.token.encode())
            for number, user in enumerate(users, start=1)
        }
        self._protections = tuple(protections)

    def authenticate(self, username: str | None, token: str) -> User | None:
        """Return the user of a token, if ``username`` is the user's or not given.

        Every token is compared, in constant time, so that the time tells nothing about which one was close.
        """
        found = None
        offered = token.encode("utf-8", "surrogateescape")
        for user, secret in self._users.values():
            if hmac.compare_digest(secret, offered) and username in (None, "", "oauth2", user.username):
                found = user
        return found

    def user_of(self, gl_id: str) -> User | None:
        """Return the user whom a hook names."""
        kind, _, number = gl_id.partition("-")
        if kind != "user" or (user_id := parse_number(number)) is None:
            return None
        entry = self._users.get(user_id)
        return None if entry is None else entry[0]

    def check_push(self, user: User, project: Project, changes: str) -> None:
        """Check the reference updates of a push, as hooks report them: a line ``old new ref`` each.

        Raises:
            PushRefusedError: one of them is not allowed.
        """
        if user.read_only:
            raise PushRefusedError("You are not allowed to push code to this project.")
        for line in changes.removesuffix("\n").split("\n"):
            _, _, reference = line.split(" ", 2) if line.count(" ") >= 2 else ("", "", "")
            if not reference:
                raise PushRefusedError("The list of changes is malformed.")
            self._check_protections(project, reference)

    def _check_protections(self, project: Project, reference: str) -> None:
        if not reference.startswith(BRANCH_PREFIX):
            return
        branch = reference.removeprefix(BRANCH_PREFIX)
        for protection in self._protections:
            if fnmatchcase(project.path, protection.project) and fnmatchcase(branch, protection.branch):
                raise PushRefusedError(protection.message)
