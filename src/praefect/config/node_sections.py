"""A storage node's configuration file: Gitaly's config.toml as far as the node uses it.

Sections that only upstream's own machinery needs (cgroups, backup, raft …) are accepted and not read.
``praefect.config.node.load`` is the way from a file to values.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from praefect.config.schema import Integer, setting
from praefect.config.sections import AuthConfig, Http2Config, LoggingConfig, PrometheusConfig, TlsConfig


class VoteDialect(StrEnum):
    """Which upstream line the node's votes equal."""

    DEV = "dev"
    V19_0 = "19.0"
    R18_9 = "r18.9"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """``[[storage]]``: a directory that holds repositories, under the name clients use."""

    name: str = setting("", "Name of the storage.")
    path: str = setting("", "Directory of the storage; cleaned when loaded.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLoggingConfig(LoggingConfig):
    """``[logging]`` of a node, where the Sentry keys live too."""

    sentry_dsn: str = setting(
        "", "DSN of the project for reports of crashes; empty switches reporting off.", secret=True
    )
    sentry_environment: str = setting("", "Environment named in reports.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettingsConfig:
    """``[gitlab.http-settings]``: how the internal API is called."""

    read_timeout: int = setting(300, "Seconds a call may take.", integer=Integer.UNSIGNED, unit="seconds")
    user: str = setting("", "User for basic authentication, together with `password`.")
    password: str = setting("", "Password for basic authentication.", secret=True)
    ca_file: str = setting("", "PEM file with authorities to trust.")
    ca_path: str = setting("", "Directory with authorities to trust.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitlabConfig:
    """``[gitlab]``: the front door's internal API, which hooks ask."""

    url: str = setting("", "`http://`, `https://` or `http+unix://` with a percent-encoded path.")
    relative_url_root: str = setting("", "Path before the API, for unix sockets.")
    secret: str = setting("", "The shared secret itself.", secret=True)
    secret_file: str = setting("", "File with the shared secret; default `.gitlab_shell_secret` in `gitlab-shell.dir`.")
    http_settings: HttpSettingsConfig = setting(
        HttpSettingsConfig(), "How it is called.", key="http-settings", json_key="http_settings"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GitlabShellConfig:
    """``[gitlab-shell]``: deprecated; a default for the places of secret and hooks."""

    dir: str = setting("", "Directory of gitlab-shell.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HooksConfig:
    """``[hooks]``: the operator's own hooks."""

    custom_hooks_dir: str = setting("", "Directory with `pre-receive.d`, `update.d` and `post-receive.d`.")
    packobjects_hook_max_proc: int = setting(
        0, "Accepted for compatibility.", integer=Integer.UNSIGNED, unit="processes"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GitConfigEntry:
    """``[[git.config]]``: one setting that every git command gets."""

    key: str = setting("", "Name, for instance `pack.threads`.")
    value: str = setting("", "Value.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitConfig:
    """``[git]``: how git is run."""

    executable: str = setting("git", "The git to run: a path, or a name that is looked up in PATH.", own=True)
    catfile_cache_size: int = setting(0, "Kept `cat-file` processes; 0 means 100.", unit="processes")
    config: tuple[GitConfigEntry, ...] = setting((), "Settings that every git command gets.")
    signing_key: str = setting("", "Key file that signs commits made through the API.")
    rotated_signing_keys: tuple[str, ...] = setting((), "Key files that signed earlier.")
    committer_email: str = setting("", "Committer of commits signed here.")
    committer_name: str = setting("", "Committer of commits signed here.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitConfig:
    """A limit on calls that run and calls that wait."""

    max_concurrency: int = setting(0, "Calls that run at once, per repository; 0 means any number.", unit="calls")
    max_queue_size: int = setting(500, "Calls that wait.", unit="calls")
    max_queue_wait: timedelta = setting(timedelta(0), "Time that a call waits; 0 means any time.")
    adaptive: bool = setting(False, "Accepted for compatibility: `initial_limit` is used as a fixed limit.")
    initial_limit: int = setting(0, "Limit at start, with `adaptive`.", unit="calls")
    max_limit: int = setting(0, "Highest limit, with `adaptive`.", unit="calls")
    min_limit: int = setting(0, "Lowest limit, with `adaptive`.", unit="calls")

    @property
    def limit(self) -> int:
        """Calls that run at once; 0 means any number."""
        return self.initial_limit if self.adaptive else self.max_concurrency


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyConfig(LimitConfig):
    """``[[concurrency]]``: a limit for one RPC."""

    rpc: str = setting("", "Full name, for instance `/gitaly.SmartHTTPService/PostUploadPackWithSidechannel`.")
    max_per_repo: int = setting(0, "Older name of `max_concurrency`; loading moves it there.", unit="calls")
    unauthenticated: LimitConfig = setting(LimitConfig(), "Limit for calls on behalf of nobody.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackObjectsLimitingConfig(LimitConfig):
    """``[pack_objects_limiting]``: a limit on packing for fetches."""

    max_concurrency: int = setting(200, "Packers that run at once; 0 means any number.", unit="calls")
    max_queue_size: int = setting(200, "Packers that wait.", unit="calls")
    max_queue_length: int = setting(0, "Older name of `max_queue_size`; loading moves it there.", unit="calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCacheConfig:
    """``[pack_objects_cache]`` and ``[archive_cache]``: answers kept on disk."""

    enabled: bool = setting(False, "Whether answers are kept.")
    dir: str = setting("", "Directory; loading fills it with one below the first storage.")
    max_age: timedelta = setting(timedelta(minutes=5), "Time an answer is kept.")
    min_occurrences: int = setting(1, "Equal requests before an answer is kept.", unit="requests")
    backpressure: bool = setting(True, "Whether the producer waits for its readers.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyMaintenanceConfig:
    """``[daily_maintenance]``: when repositories are tidied."""

    start_hour: int = setting(0, "Hour, local time.", integer=Integer.UNSIGNED, unit="hour of the day")
    start_minute: int = setting(0, "Minute.", integer=Integer.UNSIGNED, unit="minute of the hour")
    duration: timedelta = setting(timedelta(0), "Time it may take; at most a day.")
    storages: tuple[str, ...] = setting((), "Storages that are tidied.")
    disabled: bool = setting(False, "Switches it off.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutConfig:
    """``[timeout]``: how long clients may take to say what they want."""

    upload_pack_negotiation: timedelta = setting(timedelta(minutes=10), "For fetches.")
    upload_archive_negotiation: timedelta = setting(timedelta(minutes=1), "For archives.")


@dataclass(frozen=True, slots=True, kw_only=True)
class VotesConfig:
    """``[votes]``: how the node votes in transactions."""

    dialect: VoteDialect = setting(
        VoteDialect.DEV,
        "`dev`, `19.0` or `r18.9`: the upstream line that the votes equal; one for all nodes of a virtual storage.",
        own=True,
        noun="vote dialect",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The whole file."""

    listen_addr: str = setting("", "`host:port` to listen on without TLS.")
    tls_listen_addr: str = setting("", "`host:port` to listen on with TLS; needs `[tls]`.")
    socket_path: str = setting("", "Unix socket to listen on.")
    prometheus_listen_addr: str = setting("", "`host:port` for metrics; empty means none.")
    config_command: str = setting("", "Executable whose JSON output is merged into this file.")
    bin_dir: str = setting("", "Accepted for compatibility.")
    runtime_dir: str = setting("", "Directory for sockets and hooks of the running process; must exist.")
    graceful_restart_timeout: timedelta = setting(
        timedelta(minutes=1), "Time that running calls get when the server is told to stop; 0 means 1m."
    )
    storages: tuple[StorageConfig, ...] = setting((), "The storages.", key="storage")
    auth: AuthConfig = setting(AuthConfig(), "Who may call this server.")
    tls: TlsConfig = setting(TlsConfig(), "What the TLS listener presents.")
    logging: NodeLoggingConfig = setting(NodeLoggingConfig(), "Log lines and reports of crashes.")
    prometheus: PrometheusConfig = setting(PrometheusConfig(), "Metrics.")
    gitlab: GitlabConfig = setting(GitlabConfig(), "The internal API.")
    gitlab_shell: GitlabShellConfig = setting(GitlabShellConfig(), "Deprecated.", key="gitlab-shell")
    hooks: HooksConfig = setting(HooksConfig(), "The operator's hooks.")
    git: GitConfig = setting(GitConfig(), "How git is run.")
    concurrency: tuple[ConcurrencyConfig, ...] = setting((), "Limits per RPC.")
    pack_objects_limiting: PackObjectsLimitingConfig = setting(PackObjectsLimitingConfig(), "Limit on packing.")
    pack_objects_cache: StreamCacheConfig = setting(StreamCacheConfig(), "Kept packs.")
    archive_cache: StreamCacheConfig = setting(
        StreamCacheConfig(min_occurrences=0, backpressure=False), "Kept archives."
    )
    daily_maintenance: DailyMaintenanceConfig = setting(
        DailyMaintenanceConfig(), "When repositories are tidied; without it at 12:00 for 10 minutes, all storages."
    )
    timeout: TimeoutConfig = setting(TimeoutConfig(), "Limits on negotiation.")
    votes: VotesConfig = setting(VotesConfig(), "How the node votes.")
    http2: Http2Config = setting(Http2Config(), "The transport's implementation.")
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What a start reports and goes on: unknown keys and oddities, one line each."""
