"""Configuration files and what each validator says about them (upstream's behaviour, observed)."""

from dataclasses import dataclass, field

GOOD = """\
listen_addr = "127.0.0.1:2305"

[[virtual_storage]]
name = "default"

[[virtual_storage.node]]
storage = "gitaly-1"
address = "tcp://gitaly-1:8075"

[[virtual_storage.node]]
storage = "gitaly-2"
address = "tcp://gitaly-2:8075"
"""
VIRTUAL = """\
[[virtual_storage]]
name = "a"
[[virtual_storage.node]]
storage = "s"
address = "tcp://s:1"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One file.

    Attributes:
        startup: the text after ``error reading config file: `` or ``validating config: ``, None if accepted.
        collected: key path and message of each problem that ``configuration validate`` reports.
        decode: the text of the only problem, with its place where it has one; None if the text is good.
    """

    name: str
    text: str
    startup: str | None = None
    reading: str | None = None
    collected: list[tuple[str, str]] = field(default_factory=list)
    decode: str | None = None
    holds: str | None = None  # expression over `config` that is true of an accepted file


def section(text: str) -> str:
    return f"{GOOD}{text}\n"


def unreadable(name: str, text: str, reading: str, decode: str) -> Row:
    return Row(name=name, text=text, reading=reading, decode=decode)


ONLY_ONE_NODE = f'listen_addr = "x:1"\n{VIRTUAL}'
RANGE = "not in range: {} is not greater than or equal to {}"
DATABASE_PROBLEM = "is less then 1m0s, which could lead to a database performance problem"

ROWS = [
    Row(name="minimal", text=GOOD, holds="config.storages() == {'default': ('gitaly-1', 'gitaly-2')}"),
    Row(
        name="empty",
        text="",
        startup="no listen address or socket path configured",
        collected=[
            ("", 'none of "socket_path", "listen_addr" or "tls_listen_addr" is set'),
            ("virtual_storage", "not set"),
        ],
    ),
    Row(name="blank listener", text=GOOD.replace("127.0.0.1:2305", "  ")),
    Row(
        name="no virtual storage",
        text='listen_addr = "x:1"\n',
        startup="no virtual storages configured",
        collected=[("virtual_storage", "not set")],
    ),
    unreadable(
        "virtual storage as a table",
        'listen_addr = "x:1"\n[virtual_storage]\nname = "a"\n',
        "toml: cannot store a table in a slice",
        "line 2 column 2: toml: cannot store a table in a slice",
    ),
    Row(
        name="virtual storage without name",
        text=GOOD.replace('name = "default"\n', ""),
        startup="virtual storages must have a name",
        collected=[("virtual_storage.[0].name", "blank or empty")],
    ),
    Row(
        name="virtual storage with a blank name",
        text=GOOD.replace('"default"', '" "'),
        collected=[("virtual_storage.[0].name", "blank or empty")],
    ),
    Row(
        name="virtual storage with nothing below it",
        text='listen_addr = "x:1"\n[[virtual_storage]]\n',
        startup="virtual storages must have a name",
        collected=[("virtual_storage.[0].name", "blank or empty"), ("virtual_storage.[0].node", "not set")],
    ),
    Row(
        name="no node",
        text='listen_addr = "x:1"\n[[virtual_storage]]\nname = "a"\n',
        startup='virtual storage "a": no primary gitaly backends configured',
        collected=[("virtual_storage.[0].node", "not set")],
    ),
    Row(
        name="two virtual storages of one name",
        text=GOOD + VIRTUAL.replace('"a"', '"default"'),
        startup='virtual storage "default": virtual storages must have unique names',
    ),
    Row(
        name="node without storage",
        text='listen_addr = "x:1"\n' + VIRTUAL.replace('storage = "s"\n', ""),
        startup='virtual storage "a": all gitaly nodes must have a storage',
        collected=[("virtual_storage.[0].node.[0].storage", "blank or empty")],
    ),
    Row(
        name="node with nothing below it",
        text='listen_addr = "x:1"\n[[virtual_storage]]\nname = "a"\n[[virtual_storage.node]]\n',
        startup='virtual storage "a": all gitaly nodes must have a storage',
        collected=[
            ("virtual_storage.[0].node.[0].storage", "blank or empty"),
            ("virtual_storage.[0].node.[0].address", "blank or empty"),
        ],
    ),
    Row(
        name="node without address",
        text='listen_addr = "x:1"\n' + VIRTUAL.replace('address = "tcp://s:1"\n', ""),
        startup='virtual storage "a": all gitaly nodes must have an address',
        collected=[("virtual_storage.[0].node.[0].address", "blank or empty")],
    ),
    Row(
        name="one storage name twice",
        text=GOOD.replace('"gitaly-2"', '"gitaly-1"'),
        startup='virtual storage "default": internal gitaly storages are not unique',
    ),
    Row(name="one storage name in two virtual storages", text=GOOD + VIRTUAL.replace('"s"', '"gitaly-1"')),
    Row(name="one address twice", text=GOOD.replace("gitaly-2:8075", "gitaly-1:8075")),
    Row(name="address without scheme", text=GOOD.replace("tcp://gitaly-1", "gitaly-1")),
    Row(
        name="replication factor above the number of nodes",
        text=GOOD.replace('name = "default"', 'name = "default"\ndefault_replication_factor = 4'),
        startup='virtual storage "default" has a default replication factor (4) which is higher '
        "than the number of storages (2)",
    ),
    Row(
        name="negative replication factor",
        text=GOOD.replace('name = "default"', 'name = "default"\ndefault_replication_factor = -4'),
        holds="config.virtual_storages[0].default_replication_factor == -4",
    ),
    Row(
        name="unknown election strategy",
        text=section('[failover]\nelection_strategy = "x"'),
        startup='invalid election strategy: "x"',
        collected=[("failover.election_strategy", 'not supported: "x"')],
    ),
    Row(
        name="unknown election strategy without failover",
        text=section('[failover]\nenabled = false\nelection_strategy = "x"'),
        startup='invalid election strategy: "x"',
    ),
    Row(
        name="empty election strategy",
        text=section('[failover]\nelection_strategy = ""'),
        startup='invalid election strategy: ""',
        collected=[("failover.election_strategy", 'not supported: ""')],
    ),
    Row(
        name="legacy election strategy is replaced",
        text=section('[failover]\nelection_strategy = "sql"'),
        holds="config.failover.election_strategy == 'per_repository'",
    ),
    Row(
        name="legacy election strategy with the switch",
        text="i_understand_my_election_strategy_is_unsupported_and_will_be_removed_without_warning = true\n"
        + section('[failover]\nelection_strategy = "local"'),
        holds="config.failover.election_strategy == 'local'",
    ),
    unreadable(
        "text for a bool",
        section('[failover]\nenabled = "yes"'),
        "toml: cannot decode TOML string into struct field ",
        "line 14 column 11: toml: cannot decode TOML string into struct field ",
    ),
    Row(
        name="no batch",
        text=section("[replication]\nbatch_size = 0"),
        startup="replication batch size was 0 but must be >=1",
        collected=[("replication.batch_size", RANGE.format(0, 1))],
    ),
    unreadable(
        "negative batch",
        section("[replication]\nbatch_size = -1"),
        "toml: negative number -1 does not fit in an uint",
        "toml: negative number -1 does not fit in an uint",
    ),
    unreadable(
        "number above 32 bits",
        section("[failover]\nread_error_threshold_count = 5000000000"),
        "toml: negative number 5000000000 does not fit in an uint32",
        "toml: negative number 5000000000 does not fit in an uint32",
    ),
    unreadable(
        "fraction for an integer",
        section("[replication]\nbatch_size = 1.5"),
        "toml: float cannot be assigned to uint",
        "line 14 column 14: toml: float cannot be assigned to uint",
    ),
    unreadable(
        "number for a text",
        GOOD.replace('"127.0.0.1:2305"', "5"),
        "toml: cannot decode TOML integer into struct field ",
        "line 1 column 15: toml: cannot decode TOML integer into struct field ",
    ),
    unreadable(
        "number for a section",
        f"auth = 3\n{GOOD}",
        "toml: cannot decode TOML integer into struct field ",
        "line 1 column 8: toml: cannot decode TOML integer into struct field ",
    ),
    unreadable(
        "text in a list of numbers",
        section('[reconciliation]\nhistogram_buckets = [\n  1.0, # one\n  "2",\n]'),
        "toml: cannot decode TOML string into struct field ",
        "line 16 column 3: toml: cannot decode TOML string into struct field ",
    ),
    Row(
        name="no workers",
        text=section("[replication]\nparallel_storage_processing_workers = 0"),
        collected=[("replication.parallel_storage_processing_workers", RANGE.format(0, 1))],
    ),
    Row(
        name="negative scheduling interval",
        text=section('[reconciliation]\nscheduling_interval = "-1s"'),
        collected=[("reconciliation.scheduling_interval", RANGE.format("-1s", "0s"))],
    ),
    Row(
        name="interval of less than nothing",
        text=section('[reconciliation]\nscheduling_interval = "-1ns"'),
        collected=[("reconciliation.scheduling_interval", RANGE.format("-1ns", "0s"))],
    ),
    Row(
        name="bare zero for a duration",
        text=section("[reconciliation]\nscheduling_interval = 0"),
        holds="config.reconciliation.scheduling_interval == timedelta(0)",
    ),
    Row(
        name="duration in full",
        text=section('[reconciliation]\nscheduling_interval = "1h30m0.5s"'),
        holds="config.reconciliation.scheduling_interval == timedelta(hours=1, minutes=30, milliseconds=500)",
    ),
    unreadable(
        "bare number for a duration",
        section("[reconciliation]\nscheduling_interval = 5"),
        'toml: time: missing unit in duration "5"',
        'line 14 column 23: toml: time: missing unit in duration "5"',
    ),
    unreadable(
        "duration without unit",
        section('[reconciliation]\nscheduling_interval = "5"'),
        'toml: time: missing unit in duration "5"',
        'line 14 column 23: toml: time: missing unit in duration "5"',
    ),
    unreadable(
        "days",
        section('[reconciliation]\nscheduling_interval = "1d"'),
        'toml: time: unknown unit "d" in duration "1d"',
        'line 14 column 23: toml: time: unknown unit "d" in duration "1d"',
    ),
    unreadable(
        "duration with a blank",
        section('[reconciliation]\nscheduling_interval = "5 minutes"'),
        'toml: time: unknown unit " minutes" in duration "5 minutes"',
        'line 14 column 23: toml: time: unknown unit " minutes" in duration "5 minutes"',
    ),
    unreadable(
        "empty duration",
        section('[reconciliation]\nscheduling_interval = ""'),
        'toml: time: invalid duration ""',
        'line 14 column 23: toml: time: invalid duration ""',
    ),
    unreadable(
        "bool for a duration",
        section("[reconciliation]\nscheduling_interval = true"),
        'toml: time: invalid duration "true"',
        'line 14 column 23: toml: time: invalid duration "true"',
    ),
    Row(
        name="descending buckets",
        text=section("[reconciliation]\nhistogram_buckets = [1.0, 0.5]"),
        collected=[("reconciliation.histogram_buckets", "bad order")],
    ),
    Row(
        name="descending buckets of a disabled loop",
        text=section("[reconciliation]\nscheduling_interval = 0\nhistogram_buckets = [1.0, 0.5]"),
    ),
    Row(name="repeated buckets", text=section("[reconciliation]\nhistogram_buckets = [1.0, 1.0]")),
    Row(
        name="integers as buckets",
        text=section("[reconciliation]\nhistogram_buckets = [1, 2]"),
        holds="config.reconciliation.histogram_buckets == (1.0, 2.0)",
    ),
    Row(
        name="negative verification interval",
        text=section('[background_verification]\nverification_interval = "-1s"'),
        collected=[("background_verification.verification_interval", RANGE.format("-1s", "0s"))],
    ),
    Row(
        name="check interval of the clean-up too short",
        text=section('[repositories_cleanup]\ncheck_interval = "1s"'),
        startup=f"repositories_cleanup.check_interval {DATABASE_PROBLEM}",
        collected=[("repositories_cleanup.check_interval", RANGE.format("1s", "1m0s"))],
    ),
    Row(
        name="run interval of the clean-up too short",
        text=section('[repositories_cleanup]\nrun_interval = "1s"'),
        startup=f"repositories_cleanup.run_interval {DATABASE_PROBLEM}",
        collected=[("repositories_cleanup.run_interval", RANGE.format("1s", "1m0s"))],
    ),
    Row(
        name="clean-up disabled",
        text=section('[repositories_cleanup]\nrun_interval = "0s"\ncheck_interval = "1s"'),
    ),
    Row(
        name="negative run interval of the clean-up",
        text=section('[repositories_cleanup]\nrun_interval = "-1s"'),
        collected=[("repositories_cleanup.run_interval", RANGE.format("-1s", "1m0s"))],
    ),
    Row(
        name="no repositories in a batch",
        text=section("[repositories_cleanup]\nrepositories_in_batch = 0"),
        collected=[("repositories_cleanup.repositories_in_batch", RANGE.format(0, 1))],
    ),
    Row(
        name="small stream window",
        text=section("[yamux]\nmaximum_stream_window_size_bytes = 1000"),
        startup="yamux.maximum_stream_window_size_bytes must be at least 262144 but it was 1000",
        collected=[("yamux.maximum_stream_window_size_bytes", RANGE.format(1000, 262144))],
    ),
    Row(
        name="no backlog",
        text=section("[yamux]\naccept_backlog = 0"),
        startup="yamux.accept_backlog must be at least 1 but it was 0",
        collected=[("yamux.accept_backlog", RANGE.format(0, 1))],
    ),
    Row(
        name="negative stop timeout",
        text=f'graceful_stop_timeout = "-1s"\n{GOOD}',
        collected=[("graceful_stop_timeout", RANGE.format("-1s", "0s"))],
    ),
    Row(
        name="no stop timeout",
        text=f"graceful_stop_timeout = 0\n{GOOD}",
        holds="config.graceful_stop_timeout == timedelta(minutes=1)",
    ),
    Row(
        name="one error threshold of three",
        text=section("[failover]\nread_error_threshold_count = 1"),
        collected=[
            ("failover.error_threshold_window", "not set"),
            ("failover.write_error_threshold_count", "not set"),
        ],
    ),
    Row(
        name="negative bootstrap interval",
        text=section('[failover]\nbootstrap_interval = "-1s"'),
        collected=[("failover.bootstrap_interval", RANGE.format("-1s", "0s"))],
    ),
    Row(
        name="zero intervals of the old electors",
        text=section("[failover]\nbootstrap_interval = 0\nmonitor_interval = 0"),
        holds="(config.failover.bootstrap_interval, config.failover.monitor_interval) "
        "== (timedelta(seconds=1), timedelta(seconds=3))",
    ),
    Row(
        name="negative scrape timeout",
        text=section('[prometheus]\nscrape_timeout = "-1s"'),
        collected=[("prometheus.scrape_timeout", RANGE.format("-1s", "0s"))],
    ),
    Row(
        name="negative scrape timeout without buckets",
        text=section('[prometheus]\nscrape_timeout = "-1s"\ngrpc_latency_buckets = []'),
    ),
    Row(
        name="descending latency buckets",
        text=section("[prometheus]\ngrpc_latency_buckets = [10.0, -4.2]"),
        collected=[("prometheus.grpc_latency_buckets", "bad order: expected asc: [10 -4.2]")],
    ),
    Row(name="unknown log format and level", text=section('[logging]\nformat = "x"\nlevel = "x"')),
    Row(
        name="certificate and key missing on disk",
        text=section('[tls]\ncertificate_path = "/nowhere/c"\nkey_path = "/nowhere/k"'),
        collected=[
            ("tls.certificate_path", 'doesn\'t exist: "/nowhere/c"'),
            ("tls.key_path", 'doesn\'t exist: "/nowhere/k"'),
        ],
    ),
    Row(
        name="certificate and key are directories",
        text=section('[tls]\ncertificate_path = "/"\nkey_path = "/"'),
        collected=[("tls.certificate_path", 'not a file: "/"'), ("tls.key_path", 'not a file: "/"')],
    ),
    Row(
        name="certificate alone",
        text=section('[tls]\ncertificate_path = "/nowhere/c"'),
        collected=[("tls.certificate_path", 'doesn\'t exist: "/nowhere/c"'), ("tls.key_path", 'doesn\'t exist: ""')],
    ),
    Row(
        name="two keys",
        text=section('[tls]\ncertificate_path = "/nowhere/c"\nkey_path = "/nowhere/k"\nkey = "k"'),
        collected=[("tls.key_path.key", "key_path and key cannot both be set")],
    ),
    Row(
        name="certificate that is none",
        text=section('[tls]\ncertificate_path = "/dev/../etc/passwd"\nkey_path = "/etc/passwd"'),
        collected=[
            (
                "tls.certificate_path",
                "loading x509 keypair: tls: failed to find any PEM data in certificate input",
            )
        ],
    ),
    unreadable(
        "TLS 1.1",
        section('[tls]\nmin_version = "TLS 1.1"'),
        'toml: unsupported TLS version: "TLS 1.1"',
        'line 14 column 15: toml: unsupported TLS version: "TLS 1.1"',
    ),
    Row(
        name="TLS 1.3",
        text=section('[tls]\nmin_version = "TLS 1.3"'),
        holds="config.tls.min_version == 'TLS 1.3'",
    ),
    unreadable(
        "key twice",
        f'listen_addr = "a:1"\n{GOOD}',
        "toml: key listen_addr is already defined",
        "toml: key listen_addr is already defined",
    ),
    unreadable(
        "key twice in a section",
        section('[auth]\ntoken = "a"\ntoken = "b"'),
        "toml: key token is already defined",
        "toml: key token is already defined",
    ),
    unreadable(
        "table twice",
        section("[auth]\n[auth]"),
        "toml: table auth already exists",
        "toml: table auth already exists",
    ),
    Row(
        name="key twice in different case",
        text=f'Listen_Addr = "a:1"\n{GOOD}',
        holds="config.listen_addr == '127.0.0.1:2305'",
    ),
    Row(
        name="keys and tables in other case",
        text=section('[AUTH]\nToken = "t"\n[Auth]\ntransitioning = true'),
        holds="config.auth.token == 't' and config.auth.transitioning",
    ),
    Row(
        name="unknown keys and tables",
        text=section("[gone]\nx = 1\n[auth]\nsecret = 2"),
        holds="config.warnings == ('unknown key \"gone\" is ignored', 'unknown key \"auth.secret\" is ignored')",
    ),
    Row(
        name="removed keys",
        text="failover_enabled = true\npostgres_queue_enabled = true\ndistributed_reads_enabled = true\n"
        'virtual_storage_name = "x"\n' + section("[failover]\nread_only_after_failover = true"),
        holds="len(config.warnings) == 5 and config.warnings[0] == "
        "'unknown key \"failover_enabled\" is ignored: replaced by failover.enabled'",
    ),
    unreadable(
        "no key before the equals sign",
        f"{GOOD}= 3\n",
        "toml: invalid character at start of key: =",
        "line 13 column 1: toml: invalid character at start of key: =",
    ),
    unreadable(
        "text without end",
        'listen_addr = "abc\n',
        "toml: ",
        "line 1 column 19: toml: ",
    ),
    Row(
        name="main values serve the direct connection",
        text=section(
            '[database]\nhost = "h"\nport = 1\nuser = "u"\nport_no_proxy = 5\n[database.session_pooled]\nuser = "v"'
        ),
        holds="(config.database.direct().host, config.database.direct().port, config.database.direct().user)"
        " == ('h', 5, 'v')",
    ),
    Row(
        name="more copies wanted than there are nodes",
        text=GOOD.replace('name = "default"', 'name = "default"\nminimum_copies = 3'),
        startup='virtual storage "default" has minimum_copies (3) higher than the number of storages (2)',
    ),
    Row(
        name="two designated primaries",
        text=GOOD.replace('storage = "gitaly', 'primary = true\nstorage = "gitaly')
        + "[failover]\nprefer_designated = true\n",
        startup='virtual storage "default" has more than one designated primary',
    ),
    Row(
        name="designated primary that is not heeded",
        text=GOOD.replace('storage = "gitaly-1"', 'primary = true\nstorage = "gitaly-1"'),
        holds="config.warnings == ('virtual_storage.[0].node.[0].primary is ignored, "
        "as failover.prefer_designated is not set',)",
    ),
    Row(
        name="negative age of reads without a database",
        text=section('[database]\noutage_reads_max_age = "-1s"'),
        startup="database.outage_reads_max_age must not be negative",
    ),
    unreadable(
        "unknown engine",
        section('[http2]\nengine = "x"'),
        'toml: unsupported HTTP/2 engine: "x"',
        'line 14 column 10: toml: unsupported HTTP/2 engine: "x"',
    ),
]
