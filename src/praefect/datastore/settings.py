"""How PostgreSQL is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class ConnectionSource(Protocol):
    """What a section of the configuration file says of a server; empty values are left to libpq."""

    @property
    def host(self) -> str:
        """Host name, several separated by commas, or directory of a unix socket."""

    @property
    def port(self) -> int:
        """Port; 0 for the default."""

    @property
    def user(self) -> str:
        """Role."""

    @property
    def password(self) -> str:
        """Its password."""

    @property
    def dbname(self) -> str:
        """Database."""

    @property
    def sslmode(self) -> str:
        """How TLS is used, in libpq's words."""

    @property
    def sslcert(self) -> str:
        """Path of the client certificate."""

    @property
    def sslkey(self) -> str:
        """Path of its key."""

    @property
    def sslrootcert(self) -> str:
        """Path of the trusted certificates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """Where a PostgreSQL server is and how to log in.

    Attributes:
        host: Host name, several separated by commas, or directory of a unix socket; empty for libpq's default.
        port: Port; 0 for libpq's default.
        user: Role; empty for libpq's default.
        password: Its password; empty to look in libpq's places.
        dbname: Database; empty for libpq's default.
        sslmode: How TLS is used, in libpq's words; empty for ``prefer``.
        sslcert: Path of the client certificate.
        sslkey: Path of its key.
        sslrootcert: Path of the certificates of trusted authorities.
        connect_timeout_seconds: How long to try one host; libpq takes no less than 2.
        prepared_statements: Let the server keep prepared statements; not through a transaction-pooling PgBouncer that
            is older than 1.22 or keeps none.
    """

    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    dbname: str = ""
    sslmode: str = ""
    sslcert: str = ""
    sslkey: str = ""
    sslrootcert: str = ""
    connect_timeout_seconds: int = 5
    prepared_statements: bool = False

    @classmethod
    def of(cls, source: ConnectionSource) -> ConnectionSettings:
        """Take the values of a section of the configuration file."""
        return cls(
            host=source.host,
            port=source.port,
            user=source.user,
            password=source.password,
            dbname=source.dbname,
            sslmode=source.sslmode,
            sslcert=source.sslcert,
            sslkey=source.sslkey,
            sslrootcert=source.sslrootcert,
        )

    def parameters(self) -> dict[str, str]:
        """Return what libpq is told; what is missing it takes from its environment and files."""
        given = {
            "host": self.host,
            "port": str(self.port) if self.port else "",
            "user": self.user,
            "password": self.password,
            "dbname": self.dbname,
            "sslmode": self.sslmode,
            "sslcert": self.sslcert,
            "sslkey": self.sslkey,
            "sslrootcert": self.sslrootcert,
            # Of several hosts the one that takes writes is meant, also after they have changed roles.
            "target_session_attrs": "read-write" if "," in self.host else "",
        }
        return {
            **{name: value for name, value in given.items() if value},
            "connect_timeout": str(self.connect_timeout_seconds),
            "fallback_application_name": "praefect",
            "gssencmode": "disable",
            # A server that vanishes without a word is noticed within seconds, also on idle connections.
            "keepalives_idle": "5",
            "keepalives_interval": "1",
            "keepalives_count": "3",
            "tcp_user_timeout": "8000",
        }
