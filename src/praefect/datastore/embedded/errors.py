"""What can go wrong with the embedded server."""

from praefect.domain.errors import FailedPreconditionError


class EmbeddedPostgresError(FailedPreconditionError):
    """The embedded PostgreSQL server cannot be installed, started or stopped as things are."""
