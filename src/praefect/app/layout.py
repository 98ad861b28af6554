"""Where the demo keeps its files, and the configuration files of its parts, written anew at each start."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from praefect.domain.errors import FailedPreconditionError

_Value = TypeVar("_Value", str, int)

VIRTUAL_STORAGE = "default"
USERNAME = "root"
DATABASE = "praefect_production"
ROLE = "praefect"
MAX_RUNTIME_PATH_BYTES = 60  # a socket's whole path has 107


class DemoDirectoryError(FailedPreconditionError):
    """The data directory cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The secrets of one cluster, all different; kept between starts."""

    external_token: str
    internal_token: str
    hook_secret: str
    sql_password: str
    access_token: str

    def __repr__(self) -> str:
        """Show nothing."""
        return "Secrets(…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports of one cluster on the loopback interface; kept between starts as long as they are free."""

    praefect: int
    metrics: int
    gateway: int
    nodes: tuple[int, ...]
    more_praefects: tuple[int, ...] = ()

    def all(self) -> tuple[int, ...]:
        """Return every port."""
        return (self.praefect, self.metrics, self.gateway, *self.nodes, *self.more_praefects)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """How praefect reaches PostgreSQL."""

    host: str
    port: int
    user: str
    password: str
    dbname: str

    def __repr__(self) -> str:
        """Show everything but the password."""
        return f"DatabaseAddress({self.user}@{self.host}:{self.port}/{self.dbname})"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host, or the directory of a unix socket, and a port."""

    host: str
    port: int


Routes = Mapping[tuple[str, str], Endpoint]
"""Where a praefect (first of the names) finds a node or ``postgres`` (second), if not where they really are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PraefectSettings:
    """What the configuration of praefect says besides addresses and secrets."""

    routes: Routes = field(default_factory=dict)
    reconciliation_interval: str = "10s"


class Layout:
    """The files below one directory."""

    def __init__(self, directory: Path, nodes: int, praefects: int = 1) -> None:
        self.directory = directory.absolute()
        self.node_names = tuple(f"gitaly-{number}" for number in range(1, nodes + 1))
        self.praefect_names = ("praefect", *(f"praefect-{number}" for number in range(2, praefects + 1)))

    @property
    def logs(self) -> Path:
        """Directory of the log files."""
        return self.directory / "logs"

    @property
    def postgres(self) -> Path:
        """Directory of the embedded database."""
        return self.directory / "postgres"

    @property
    def praefect_config(self) -> Path:
        """The first praefect's configuration file."""
        return self.praefect_config_of(self.praefect_names[0])

    def praefect_config_of(self, name: str) -> Path:
        """Return a praefect's configuration file."""
        return self.directory / name / "config.toml"

    @property
    def gateway_config(self) -> Path:
        """The gateway's configuration file."""
        return self.directory / "gateway" / "config.toml"

    @property
    def processes(self) -> Path:
        """File with the process ids of the parts."""
        return self.directory / "processes.json"

    def node_config(self, name: str) -> Path:
        """Return a node's configuration file."""
        return self.directory / name / "config.toml"

    def node_storage(self, name: str) -> Path:
        """Return the directory a node keeps repositories in."""
        return self.directory / name / "repositories"

    def node_runtime(self, name: str) -> Path:
        """Return the directory of a node's sockets: below the data directory unless that makes their paths too long."""
        below = self.directory / name / "run"
        return below if len(os.fsencode(below)) <= MAX_RUNTIME_PATH_BYTES else self._short_runtime / name

    @property
    def _short_runtime(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"praefect-{os.getuid()}-{digest}"

    def remove_short_runtime(self) -> None:
        """Remove what lies outside the data directory, once no node runs; the next start makes it again."""
        shutil.rmtree(self._short_runtime, ignore_errors=True)

    def log(self, name: str) -> Path:
        """Return a part's log file."""
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Make the directories, for nobody else to read.

        Raises:
            DemoDirectoryError: the directory cannot be written.
        """
        try:
            for path in (
                self.directory,
                self.logs,
                *(self.praefect_config_of(name).parent for name in self.praefect_names),
                self.gateway_config.parent,
                *(self.node_storage(name) for name in self.node_names),
                *(self.node_runtime(name) for name in self.node_names),
            ):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise DemoDirectoryError(f"cannot use {self.directory}: {exc.strerror}: {exc.filename}") from exc

    def secrets(self) -> Secrets:
        """Return the secrets, made at the first start."""
        path = self.directory / "secrets.json"
        with _readable(path, "new secrets are made at the next start"):
            if path.exists():
                return Secrets(**_texts(json.loads(path.read_text())))
        made = Secrets(**{name: secrets.token_urlsafe(24) for name in Secrets.__dataclass_fields__})
        write_private(path, json.dumps(asdict(made), indent=1))
        return made

    def ports(self) -> Ports:
        """Return the ports, the same as at the last start where those are free."""
        path = self.directory / "ports.json"
        with _readable(path, "free ports are chosen at the next start"):
            saved = _saved_ports(path)
        if saved is not None:
            counted = (len(saved.nodes), 1 + len(saved.more_praefects))
            if counted == (len(self.node_names), len(self.praefect_names)) and all(map(_is_free, saved.all())):
                return saved
        more = len(self.praefect_names) - 1
        praefect, metrics, gateway, *others = free_ports(3 + more + len(self.node_names))
        ports = Ports(
            praefect=praefect,
            metrics=metrics,
            gateway=gateway,
            nodes=tuple(others[more:]),
            more_praefects=tuple(others[:more]),
        )
        write_private(path, json.dumps(asdict(ports)))
        return ports

    def write_configs(
        self, made: Secrets, ports: Ports, database: DatabaseAddress, settings: PraefectSettings | None = None
    ) -> None:
        """Write the configuration file of every part, mode 0600."""
        for name in self.praefect_names:
            text = self._praefect(name, made, ports, database, settings or PraefectSettings())
            write_private(self.praefect_config_of(name), text)
        write_private(self.gateway_config, self._gateway(made, ports))
        for name, port in zip(self.node_names, ports.nodes, strict=True):
            write_private(self.node_config(name), self._node(name, port, made, ports))

    def praefect_port(self, name: str, ports: Ports) -> int:
        """Return where a praefect listens."""
        return (ports.praefect, *ports.more_praefects)[self.praefect_names.index(name)]

    def _praefect(
        self, name: str, made: Secrets, ports: Ports, database: DatabaseAddress, settings: PraefectSettings
    ) -> str:
        listed = ""
        for node, port in zip(self.node_names, ports.nodes, strict=True):
            to = settings.routes.get((name, node), Endpoint("127.0.0.1", port))
            address = _text(f"tcp://{to.host}:{to.port}")
            listed += f"\n[[virtual_storage.node]]\nstorage = {_text(node)}\n"
            listed += f"address = {address}\ntoken = {_text(made.internal_token)}\n"
        sql = settings.routes.get((name, "postgres"), Endpoint(database.host, database.port))
        metrics = f'prometheus_listen_addr = "127.0.0.1:{ports.metrics}"\n' if name == self.praefect_names[0] else ""
        return f"""# Written at each start of the demo.
listen_addr = "127.0.0.1:{self.praefect_port(name, ports)}"
{metrics}
[auth]
token = {_text(made.external_token)}

[logging]
format = "json"
level = "info"

[database]
host = {_text(sql.host)}
port = {sql.port}
user = {_text(database.user)}
password = {_text(database.password)}
dbname = {_text(database.dbname)}
sslmode = "disable"

[reconciliation]
scheduling_interval = {_text(settings.reconciliation_interval)}

[[virtual_storage]]
name = {_text(VIRTUAL_STORAGE)}
{listed}"""

    def _node(self, name: str, port: int, made: Secrets, ports: Ports) -> str:
        return f"""# Written at each start of the demo.
listen_addr = "127.0.0.1:{port}"
runtime_dir = {_text(str(self.node_runtime(name)))}

[auth]
token = {_text(made.internal_token)}

[logging]
format = "json"
level = "info"

[gitlab]
url = "http://127.0.0.1:{ports.gateway}"
secret = {_text(made.hook_secret)}

[[storage]]
name = {_text(name)}
path = {_text(str(self.node_storage(name)))}
"""

    def _gateway(self, made: Secrets, ports: Ports) -> str:
        return f"""# Written at each start of the demo.
listen_addr = "127.0.0.1:{ports.gateway}"
external_url = "http://127.0.0.1:{ports.gateway}"
database_path = "projects.db"
secret = {_text(made.hook_secret)}

[logging]
format = "json"
level = "info"

[[storage]]
name = {_text(VIRTUAL_STORAGE)}
gitaly_address = "tcp://127.0.0.1:{ports.praefect}"
gitaly_token = {_text(made.external_token)}

[[user]]
username = {_text(USERNAME)}
token = {_text(made.access_token)}
"""


@contextmanager
def _readable(path: Path, helps: str) -> Iterator[None]:
    """Read a file of the data directory.

    Raises:
        DemoDirectoryError: it cannot be read or understood; the line says what to do.
    """
    try:
        yield
    except OSError as exc:
        raise DemoDirectoryError(f"cannot read {path}: {exc.strerror}; remove it, and {helps}") from exc
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise DemoDirectoryError(f"{path} is damaged; remove it, and {helps}") from exc


def _texts(saved: dict[str, object]) -> dict[str, str]:
    return {name: _typed(str, value) for name, value in saved.items()}


def _saved_ports(path: Path) -> Ports | None:
    if not path.exists():
        return None
    saved = {"more_praefects": (), **json.loads(path.read_text())}
    single = {name: _typed(int, saved[name]) for name in ("praefect", "metrics", "gateway")}
    nodes, more = (tuple(_typed(int, port) for port in ports) for ports in (saved["nodes"], saved["more_praefects"]))
    return Ports(nodes=nodes, more_praefects=more, **single)


def _typed(kind: type[_Value], value: object) -> _Value:
    if not isinstance(value, kind) or not value:
        raise TypeError(value)
    return value


def write_private(path: Path, text: str) -> None:
    """Replace a file by ``text`` in one step, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def free_ports(count: int) -> list[int]:
    """Return different ports of the loopback interface that nobody listens on now."""
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in bound:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in bound]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _text(value: str) -> str:
    """Return ``value`` as a TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(value)


def program(name: str) -> Sequence[str]:
    """Return the command line that starts one of our programs with the running interpreter."""
    module = {"praefect": "main", "praefect-node": "node", "praefect-gateway": "gateway"}[name]
    return (sys.executable, "-m", f"praefect.cli.{module}")
