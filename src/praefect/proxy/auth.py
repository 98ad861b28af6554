"""Auth: whether a caller knows the external token.

Source: the wire reference on authentication; the decision table itself is in ``transport/grpc/token.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.token import HEADER, TokenVerdict, check_token


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthObserver:
    """Whom to tell of verdicts; ``None`` stands for a server without a secret."""

    judged: Callable[[TokenVerdict | None], None] = lambda _verdict: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    """Checks the token of each call; what ``Server`` takes as ``authenticate``."""

    secret: bytes = field(repr=False)
    transitioning: bool = False
    observer: AuthObserver = field(default_factory=AuthObserver)

    def __call__(self, call: ServerCall) -> None:
        """Let the call pass.

        Raises:
            UnauthenticatedError: there is no usable token.
            PermissionDeniedError: there is one, and it is not accepted.
        """
        if not self.secret:
            self.observer.judged(None)
            return
        verdict = check_token(call.metadata.first(HEADER), self.secret, time.time())
        self.observer.judged(verdict)
        if not self.transitioning:
            verdict.raise_if_refused()
