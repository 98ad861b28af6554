"""What hooks ask and tell the front door: may this push happen, it is about to, it did.

``gitlab_api`` asks over HTTP. Source: wire.md 10.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from praefect.domain.errors import InternalError, PraefectError, ResourceExhaustedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praefect.node.hooks.messages import Message


class InternalApiError(InternalError):
    """The front door could not be asked, or did not answer as it should."""


class NotAllowedError(PraefectError):
    """The front door refuses the push.

    Attributes:
        text: what it says, for whoever pushed; may be empty.
    """

    def __init__(self, text: str) -> None:
        super().__init__(f"GitLab: {text}")
        self.text = text


class RateLimitedError(ResourceExhaustedError):
    """The front door answered 429.

    Attributes:
        text: as of ``NotAllowedError``.
    """

    text = "rate limited"

    def __init__(self) -> None:
        super().__init__(f"GitLab: {self.text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedRequest:
    """What POST /allowed asks.

    Attributes:
        repository_path: the absolute path of the repository directory.
        relative_path: the path this node works with, for a node of a cluster the replica path.
        changes: the standard input of the pre-receive hook.
        object_directory: the quarantine's objects, relative to the repository; empty without a quarantine.
        gl_id: who pushes: ``user-<n>``, ``key-<n>`` or ``username-<name>``.
    """

    gl_repository: str
    repository_path: str
    relative_path: str
    changes: bytes
    protocol: str
    gl_id: str
    object_directory: str = ""
    alternate_object_directories: Sequence[str] = ()
    push_options: Sequence[str] = ()
    client_context: bytes = b""
    remote_ip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostReceiveRequest:
    """What POST /post_receive reports."""

    gl_repository: str
    gl_id: str
    changes: bytes
    push_options: Sequence[str] = ()
    client_context: bytes = b""
    remote_ip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostReceiveAnswer:
    """What POST /post_receive answers."""

    is_counter_decreased: bool
    messages: Sequence[Message] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiInfo:
    """What GET /check answers."""

    version: str = ""
    revision: str = ""
    api_version: str = ""
    is_redis_reachable: bool = False


class InternalApi(Protocol):
    """Who is asked before and told after a push."""

    async def check(self) -> ApiInfo:
        """Ask whether the front door is there and accepts the secret.

        Raises:
            InternalApiError: it is not or does not.
        """

    async def allowed(self, request: AllowedRequest) -> None:
        """Return if the push may go on.

        Raises:
            NotAllowedError: it may not, or the front door could not be asked.
            RateLimitedError: not now.
        """

    async def pre_receive(self, gl_repository: str, *, remote_ip: str = "") -> bool:
        """Announce a push; whether the reference counter was increased.

        Raises:
            NotAllowedError: the front door could not be asked.
            RateLimitedError: not now.
        """

    async def post_receive(self, request: PostReceiveRequest) -> PostReceiveAnswer:
        """Report a push.

        Raises:
            NotAllowedError: the front door could not be asked.
            RateLimitedError: not now.
        """


class AllowEverything:
    """Stands in for the front door of a node that is used alone: every push may happen."""

    async def check(self) -> ApiInfo:
        """Answer that all is well."""
        return ApiInfo()

    async def allowed(self, request: AllowedRequest) -> None:
        """Allow."""

    async def pre_receive(self, gl_repository: str, *, remote_ip: str = "") -> bool:  # noqa: ARG002 - protocol
        """Agree."""
        return True

    async def post_receive(self, request: PostReceiveRequest) -> PostReceiveAnswer:  # noqa: ARG002 - protocol
        """Agree."""
        return PostReceiveAnswer(is_counter_decreased=True)


class Unconfigured:
    """Stands in for a front door that the configuration does not name: every push is refused and says so."""

    _TEXT = (
        "this storage node cannot check who may push: its configuration has no gitlab.url "
        "(set url and secret or secret_file in its section [gitlab])"
    )

    async def check(self) -> ApiInfo:
        """Fail, naming the setting."""
        raise InternalApiError(self._TEXT)

    async def allowed(self, request: AllowedRequest) -> None:  # noqa: ARG002 - protocol
        """Refuse, naming the setting."""
        raise NotAllowedError(self._TEXT)

    async def pre_receive(self, gl_repository: str, *, remote_ip: str = "") -> bool:  # noqa: ARG002 - protocol
        """Refuse, naming the setting."""
        raise NotAllowedError(self._TEXT)

    async def post_receive(self, request: PostReceiveRequest) -> PostReceiveAnswer:  # noqa: ARG002 - protocol
        """Refuse, naming the setting."""
        raise NotAllowedError(self._TEXT)
