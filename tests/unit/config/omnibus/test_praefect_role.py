"""What becomes of single settings of Praefect, and of values of every kind."""

from pathlib import Path

import pytest

from praefect.config import praefect
from praefect.config.node_sections import NodeConfig
from praefect.config.omnibus.convert import key_at
from praefect.config.omnibus.known_keys import GITALY_KEYS, GITALY_KEYS_ELSEWHERE, PRAEFECT_KEYS, Role
from praefect.config.omnibus.surroundings import MOST_FILE_BYTES
from praefect.config.praefect_sections import PraefectConfig
from tests.support.gitlab_rb_host import GitlabRbHost

STORAGE = "praefect['virtual_storages'] = { 'v' => { 's' => { 'address' => 'tcp://h:1' } } }"
LISTEN = "praefect['listen_addr'] = 'h:1'"


@pytest.fixture
def host(tmp_path: Path) -> GitlabRbHost:
    return GitlabRbHost(tmp_path)


@pytest.mark.parametrize(
    ("section", "targets"),
    [
        (PraefectConfig, PRAEFECT_KEYS.values()),
        (NodeConfig, (*GITALY_KEYS.values(), *GITALY_KEYS_ELSEWHERE.values())),
    ],
)
def test_every_known_key_has_a_key_to_go_to(section: type[object], targets: list[str]) -> None:
    for target in targets:
        assert key_at(section, tuple(target.split("."))).setting.doc


@pytest.mark.parametrize(
    ("setting", "value", "target", "expected"),
    [
        ("tls_listen_addr", "'h:2'", ("tls_listen_addr",), "h:2"),
        ("socket_path", "'/s'", ("socket_path",), "/s"),
        ("graceful_stop_timeout", "'1m'", ("graceful_stop_timeout",), "1m"),
        ("auth_token", "12345", ("auth", "token"), "12345"),
        ("auth_transitioning", "'true'", ("auth", "transitioning"), True),
        ("certificate_path", "'/c'", ("tls", "certificate_path"), "/c"),
        ("key_path", "'/k'", ("tls", "key_path"), "/k"),
        ("database_port", "'6432'", ("database", "port"), 6432),
        ("database_sslmode", "'verify-ca'", ("database", "sslmode"), "verify-ca"),
        ("database_sslcert", "'/c'", ("database", "sslcert"), "/c"),
        ("database_sslkey", "'/k'", ("database", "sslkey"), "/k"),
        ("database_sslrootcert", "'/r'", ("database", "sslrootcert"), "/r"),
        ("database_direct_host", "'d'", ("database", "session_pooled", "host"), "d"),
        ("database_direct_port", "5432", ("database", "session_pooled", "port"), 5432),
        ("database_host_no_proxy", "'d'", ("database", "host_no_proxy"), "d"),
        ("failover_enabled", "false", ("failover", "enabled"), False),
        ("failover_election_strategy", "'sql'", ("failover", "election_strategy"), "sql"),
        ("reconciliation_scheduling_interval", "0", ("reconciliation", "scheduling_interval"), "0s"),
        ("reconciliation_histogram_buckets", "'[0.5, 1, 2]'", ("reconciliation", "histogram_buckets"), [0.5, 1, 2]),
        ("prometheus_grpc_latency_buckets", "[0.5, 1]", ("prometheus", "grpc_latency_buckets"), [0.5, 1]),
        ("logging_level", ":warn", ("logging", "level"), "warn"),
        ("sentry_dsn", "'https://s'", ("sentry", "sentry_dsn"), "https://s"),
    ],
)
def test_single_settings(
    host: GitlabRbHost, setting: str, value: str, target: tuple[str, ...], expected: object
) -> None:
    report = host.say(STORAGE, LISTEN, f"praefect['{setting}'] = {value}").run(Role.PRAEFECT)
    found = host.values()
    for name in target:
        found = found[name]
    assert found == expected
    assert report.unknown == ()
    praefect.load(str(host.config))


@pytest.mark.parametrize(
    ("setting", "value", "fault"),
    [
        ("listen_addr", "true", "a text is expected"),
        ("listen_addr", "1.5", "a text is expected"),
        ("listen_addr", "['hush']", "a single value is expected"),
        ("listen_addr", "{ 'hush' => 1 }", "a single value is expected"),
        ("database_port", "'hush'", "a whole number is expected"),
        ("database_port", "1.5", "a whole number is expected"),
        ("database_port", "true", "a whole number is expected"),
        ("database_port", str(2**63), f"a number from {-(2**63)} to {2**63 - 1} is expected"),
        ("auth_transitioning", "'hush'", "true or false is expected"),
        ("auth_transitioning", "1", "true or false is expected"),
        ("graceful_stop_timeout", "30", "a time with its unit is expected, for instance '30s'"),
        ("graceful_stop_timeout", "'30'", "a time with its unit is expected, for instance '30s'"),
        ("graceful_stop_timeout", "false", "a time with its unit is expected, for instance '30s'"),
        ("reconciliation_histogram_buckets", "'hush'", "an array of numbers is expected"),
        ("reconciliation_histogram_buckets", "'[\"hush\"]'", "an array of numbers is expected"),
        ("reconciliation_histogram_buckets", "5", "an array is expected"),
        ("virtual_storages", "'hush'", "a hash is expected"),
        ("configuration", "'hush'", "a hash is expected"),
    ],
)
def test_values_of_the_wrong_kind(host: GitlabRbHost, setting: str, value: str, fault: str) -> None:
    refusal = host.say(STORAGE, "# a comment", f"praefect['{setting}'] = {value}").refusal(Role.PRAEFECT)
    assert refusal == f"gitlab.rb:3: praefect['{setting}']: {fault}"


@pytest.mark.parametrize(
    ("value", "line", "fault"),
    [
        ("{\nauth: 5 }", 2, "['auth']: a hash is expected"),
        ("{\nauth: [] }", 2, "['auth']: a hash is expected"),
        ("{ database: {\n\n port: 'x' } }", 3, "['database']['port']: a whole number is expected"),
        ("{ virtual_storage: {\n name: 'v' } }", 1, "['virtual_storage']: an array is expected"),
        ("{ virtual_storage: [\n 5 ] }", 2, "['virtual_storage'][0]: a hash is expected"),
        ("{ virtual_storage: [ {},\n{ name: {} } ] }", 2, "['virtual_storage'][1]['name']: a single value is expected"),
        (
            "{ prometheus: { grpc_latency_buckets: [1,\n'x'] } }",
            2,
            "['prometheus']['grpc_latency_buckets'][1]: a number is expected",
        ),
        ("{ http2: { engine: 'x' } }", 1, "['http2']['engine']: one of httpunk, h2 is expected"),
    ],
)
def test_values_of_the_wrong_kind_in_the_configuration(host: GitlabRbHost, value: str, line: int, fault: str) -> None:
    refusal = host.say(f"praefect['configuration'] = {value}").refusal(Role.PRAEFECT)
    assert refusal == f"gitlab.rb:{line}: praefect['configuration']{fault}"


def test_nodes_below_a_key_of_their_own(host: GitlabRbHost) -> None:
    host.say(
        LISTEN,
        "praefect['virtual_storages'] = {",
        "  'default' => {",
        "    'default_replication_factor' => 2,",
        "    'nodes' => {",
        "      'gitaly-1' => { 'address' => 'tcp://a:1', 'token' => 't' },",
        "      'gitaly-2' => { 'address' => 'tcp://b:1', 'token' => 't' },",
        "    }",
        "  },",
        "  'other' => { 'nodes' => { 'address' => 'tcp://c:1' } },",
        "}",
    )
    report = host.run(Role.PRAEFECT)
    assert host.values()["virtual_storage"] == [
        {
            "name": "default",
            "default_replication_factor": 2,
            "node": [
                {"storage": "gitaly-1", "address": "tcp://a:1", "token": "t"},
                {"storage": "gitaly-2", "address": "tcp://b:1", "token": "t"},
            ],
        },
        {"name": "other", "node": [{"storage": "nodes", "address": "tcp://c:1"}]},
    ]
    assert "failover" not in host.values()
    assert report.unknown == ()


def test_assignments_one_by_one(host: GitlabRbHost) -> None:
    host.say(
        "praefect['configuration'] = { listen_addr: 'h:1', auth: { token: 'old' } }",
        "praefect['configuration'][:auth]['token'] = 'new'",
        "praefect['virtual_storages']['v']['a']['address'] = 'tcp://a:1'",
        "praefect['virtual_storages']['v']['b'] = { 'address' => 'tcp://b:1' }",
        "praefect['logging_level'] = 'warn'",
        "praefect['logging_level'] = 'error'",
        "praefect['auth_token'] = 'loses'",
    )
    host.run(Role.PRAEFECT)
    values = host.values()
    assert values["auth"] == {"token": "new"}
    assert values["logging"] == {"level": "error"}
    assert [node["address"] for node in values["virtual_storage"][0]["node"]] == ["tcp://a:1", "tcp://b:1"]


def test_a_setting_below_what_is_no_hash(host: GitlabRbHost) -> None:
    refusal = host.say("praefect['a'] = 1", "praefect['a']['b'] = 2").refusal(Role.PRAEFECT)
    assert refusal == "gitlab.rb:2: setting below ['a'], which line 1 made no hash"


def test_what_is_no_node(host: GitlabRbHost) -> None:
    host.say(LISTEN, "praefect['virtual_storages'] = {", "'v' => { 's' => { 'address' => 'a:1' },", "'colour' => 1 } }")
    report = host.run(Role.PRAEFECT)
    assert [(one.place.line, one.setting) for one in report.unknown] == [
        (4, "praefect['virtual_storages']['v']['colour']")
    ]
    refusal = host.say("praefect['virtual_storages'] = { 'v' => 5 }").refusal(Role.PRAEFECT)
    assert refusal == "gitlab.rb:1: praefect['virtual_storages']['v']: a hash is expected"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("praefect['database_host'] = 'db'",), "require"),
        (("praefect['database_host'] = 'db'", "praefect['database_sslmode'] = 'disable'"), "disable"),
        (("praefect['database_host'] = '/run/postgresql'",), None),
        (("praefect['database_user'] = 'praefect'",), None),
        (("praefect['configuration'] = { database: { host: 'db' } }",), None),
    ],
)
def test_the_page_demands_tls_of_postgresql(host: GitlabRbHost, lines: tuple[str, ...], expected: str | None) -> None:
    report = host.say(STORAGE, LISTEN, *lines).run(Role.PRAEFECT)
    assert host.values()["database"].get("sslmode") == expected
    assert any("sslmode" in note for note in report.notes) == (expected == "require")


def test_an_address_is_listened_on(host: GitlabRbHost) -> None:
    report = host.say(STORAGE, "praefect['listen_addr'] = nil").run(Role.PRAEFECT)
    assert host.values()["listen_addr"] == "localhost:2305"
    assert report.notes[1:] == ("no address to listen on is set: listen_addr is the package's default, localhost:2305",)


def test_secrets_from_outside(host: GitlabRbHost, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-file\n")
    lines = (
        STORAGE,
        LISTEN,
        f"praefect['auth_token'] = File.read('{tmp_path}/secret').strip",
        "praefect['database_password'] = ENV['PASSWORD']",
        "praefect['database_user'] = ENV.fetch('DB_USER', 'praefect')",
        "praefect['database_port'] = ENV['DB_PORT']",
        "praefect['database_dbname'] = ENV['DB_NAME']",
    )
    host.say(*lines).run(Role.PRAEFECT, PASSWORD="from-environment", DB_PORT="6432")
    assert host.values()["auth"] == {"token": "from-file"}
    assert host.values()["database"] == {"port": 6432, "user": "praefect", "password": "from-environment"}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("ENV.fetch('MISSING')", "environment variable MISSING is not set"),
        ("ENV['MISSING'].strip", ".strip of what is no string, or of a variable that is not set"),
        ("File.read('DIR/missing')", "File.read: open DIR/missing: no such file or directory"),
        ("File.read('DIR')", "File.read: DIR is no file"),
        ("File.read('/dev/zero')", "File.read: /dev/zero is no file"),
        ("File.read('DIR/large')", f"File.read: DIR/large is larger than {MOST_FILE_BYTES} bytes"),
        ("File.read('DIR/binary')", "File.read: DIR/binary is not UTF-8"),
        ('File.read("a\\0b")', "File.read: the path is none"),
    ],
)
def test_what_is_missing_outside(host: GitlabRbHost, tmp_path: Path, value: str, fault: str) -> None:
    (tmp_path / "large").write_text("x" * (MOST_FILE_BYTES + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    refusal = host.say("\n", f"praefect['auth_token'] = {value.replace('DIR', str(tmp_path))}").refusal(Role.PRAEFECT)
    assert refusal.replace(str(tmp_path), "DIR") == f"gitlab.rb:3: {fault}"


def test_what_others_need_is_not_read(host: GitlabRbHost) -> None:
    host.say(STORAGE, LISTEN, "grafana['admin_password'] = File.read('/nowhere')", "redis['p'] = ENV.fetch('MISSING')")
    assert host.run(Role.PRAEFECT).ignored == {"about other services": ("grafana", "redis")}


def test_expressions_do_not_grow_without_bound(host: GitlabRbHost) -> None:
    doubled = [f'A{number + 1} = "#{{A{number}}}#{{A{number}}}"' for number in range(40)]
    host.say("A0 = ENV['X']", *doubled, "praefect['auth_token'] = A39")
    assert host.refusal(Role.PRAEFECT, X="x").endswith(": expression is nested too deeply or too large")


def test_a_command_in_the_configuration_is_not_run(host: GitlabRbHost, tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\ntouch {tmp_path}/trace\necho '{{}}'\n")
    command.chmod(0o700)
    host.say(f"praefect['configuration'] = {{ config_command: '{command}' }}").run(Role.PRAEFECT)
    assert host.values()["config_command"] == str(command)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ((LISTEN,), "virtual_storage: no virtual storages configured"),
        (
            (LISTEN, "praefect['virtual_storages'] = { 'v' => {} }"),
            'virtual storage "v": no primary gitaly backends configured',
        ),
        (
            (LISTEN, "praefect['virtual_storages'] = { 'v' => { 's' => {} } }"),
            'virtual storage "v": all gitaly nodes must have an address',
        ),
        ((LISTEN, STORAGE, "praefect['failover_election_strategy'] = 'x'"), 'invalid election strategy: "x"'),
    ],
)
def test_what_praefect_would_refuse(host: GitlabRbHost, lines: tuple[str, ...], fault: str) -> None:
    first, second = host.say(*lines).refusal(Role.PRAEFECT).split("\n")[:2]
    assert first == "gitlab.rb: makes no usable configuration of a praefect:"
    assert second.endswith(fault)
    assert not host.config.exists()


def test_strings_arrive_as_they_are(host: GitlabRbHost) -> None:
    host.say(STORAGE, LISTEN, 'praefect[\'auth_token\'] = "q\\"b\\\\n\\nt\\tu\\u00fcd\\u007fz\\u0001"')
    host.run(Role.PRAEFECT)
    assert praefect.load(str(host.config)).auth.token == 'q"b\\n\nt\tuüd\x7fz\x01'


def test_what_leaves_praefect_open_is_pointed_out(host: GitlabRbHost) -> None:
    report = host.say(STORAGE, LISTEN, "praefect['auth_token'] = ENV['TOKEN']").run(Role.PRAEFECT)
    assert report.notes == (
        "auth.token is not set: whoever reaches the address may read and write all repositories",
        f"{host.gitlab_rb}:3: environment variable TOKEN is not set",
    )
    assert host.run(Role.PRAEFECT, TOKEN="t").notes == ()
