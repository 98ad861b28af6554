"""The root of all errors and their families; each family stands for one gRPC status code.

A specific error stands beside the code that raises it and inherits from a family. The family decides the gRPC code
(``transport/grpc/status.py``), the message is what the client reads.
"""


class PraefectError(Exception):
    """The root of every error this project raises on purpose."""


class CancelledCallError(PraefectError):
    """The caller went away (CANCELLED). Not ``asyncio.CancelledError``: this one is an answer."""


class InvalidArgumentError(PraefectError):
    """The request itself is wrong (INVALID_ARGUMENT)."""


class DeadlineExceededError(PraefectError):
    """The caller's time ran out (DEADLINE_EXCEEDED)."""


class NotFoundError(PraefectError):
    """What the request names does not exist (NOT_FOUND)."""


class AlreadyExistsError(PraefectError):
    """What the request would create exists already (ALREADY_EXISTS)."""


class PermissionDeniedError(PraefectError):
    """The caller is known or claims to be, and may not (PERMISSION_DENIED)."""


class ResourceExhaustedError(PraefectError):
    """A limit was reached (RESOURCE_EXHAUSTED)."""


class FailedPreconditionError(PraefectError):
    """A state must change before the same request can succeed (FAILED_PRECONDITION)."""


class AbortedError(PraefectError):
    """The operation was stopped by a conflict; retry at a higher level (ABORTED)."""


class UnimplementedError(PraefectError):
    """The method or feature is not offered here (UNIMPLEMENTED)."""


class InternalError(PraefectError):
    """Something broke on this side (INTERNAL)."""


class UnavailableError(PraefectError):
    """Retrying the same call may help (UNAVAILABLE)."""


class UnauthenticatedError(PraefectError):
    """The caller did not say who it is (UNAUTHENTICATED)."""
