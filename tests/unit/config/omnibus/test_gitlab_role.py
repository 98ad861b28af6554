"""What becomes of GitLab's settings: where the front door listens and which storages it has."""

from pathlib import Path
from typing import Any

import pytest

from praefect.config import gateway
from praefect.config.omnibus.known_keys import Role
from tests.support.gitlab_rb_host import GitlabRbHost

URL = "external_url 'http://gitlab.example.com'"
SECRET = "gitlab_shell['secret_token'] = 's'"
STORAGE = "git_data_dirs({ 'praefect' => { 'gitaly_address' => 'tcp://p:2305', 'gitaly_token' => 't' } })"


@pytest.fixture
def host(tmp_path: Path) -> GitlabRbHost:
    return GitlabRbHost(tmp_path)


def storages(host: GitlabRbHost, *lines: str) -> list[dict[str, Any]]:
    report = host.say(URL, SECRET, *lines).run(Role.GITLAB)
    assert report.unknown == ()
    gateway.load(str(host.config))
    found: list[dict[str, Any]] = host.values()["storage"]
    return found


@pytest.mark.parametrize(
    ("lines", "listen_addr", "certificate"),
    [
        (("external_url 'http://h'",), "0.0.0.0:80", None),
        (("external_url 'http://h:8080/git'",), "0.0.0.0:8080", None),
        (("external_url 'https://h'",), "0.0.0.0:443", "/etc/gitlab/ssl/h.crt"),
        (("external_url 'https://h:8443'",), "0.0.0.0:8443", "/etc/gitlab/ssl/h.crt"),
        (("external_url 'https://h'", "nginx['ssl_certificate'] = '/c'"), "0.0.0.0:443", "/c"),
        (
            ("external_url 'https://h'", "nginx['listen_port'] = 80", "nginx['listen_https'] = false"),
            "0.0.0.0:80",
            None,
        ),
        (("external_url 'https://h'", "nginx['listen_https'] = nil"), "0.0.0.0:443", "/etc/gitlab/ssl/h.crt"),
        (("external_url 'http://h'", "nginx['listen_port'] = '8081'"), "0.0.0.0:8081", None),
        (("external_url 'http://h'", "nginx['listen_port'] = nil"), "0.0.0.0:80", None),
        (("external_url 'http://h'", "nginx['listen_addresses'] = ['*', '[::]']"), "0.0.0.0:80", None),
        (("external_url 'http://h'", "nginx['listen_addresses'] = ['10.0.0.1']"), "10.0.0.1:80", None),
        (("external_url 'http://h'", "gateway['configuration'] = { listen_addr: 'h:9' }"), "h:9", None),
    ],
)
def test_where_it_listens(
    host: GitlabRbHost, lines: tuple[str, ...], listen_addr: str, certificate: str | None
) -> None:
    report = host.say(SECRET, STORAGE, *lines).run(Role.GITLAB)
    assert host.values()["listen_addr"] == listen_addr
    assert host.values().get("tls", {}).get("certificate_path") == certificate
    assert report.unknown == ()
    assert report.ignored == {}


def test_without_an_address_it_is_private(host: GitlabRbHost) -> None:
    report = host.say(SECRET, STORAGE).run(Role.GITLAB)
    assert "listen_addr" not in host.values()
    assert report.notes[0] == "external_url is not set: the front door listens on 127.0.0.1:8080 only"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            "external_url 'GITLAB_SERVER_URL'",
            "external_url: an address that begins with http:// or https:// is expected",
        ),
        ("external_url 'ftp://h'", "external_url: an address that begins with http:// or https:// is expected"),
        ("external_url 'http://'", "external_url: an address that begins with http:// or https:// is expected"),
        ("external_url 'http://h:70000'", "external_url: an address that begins with http:// or https:// is expected"),
        ("external_url 'http://[h'", "external_url: an address that begins with http:// or https:// is expected"),
        ("external_url 5", "external_url: a text is expected"),
        ("nginx['listen_port'] = 'x'", "nginx['listen_port']: a port is expected"),
        ("nginx['listen_port'] = 0", "nginx['listen_port']: a port is expected"),
        ("nginx['listen_port'] = true", "nginx['listen_port']: a port is expected"),
        ("nginx['listen_addresses'] = '*'", "nginx['listen_addresses']: an array is expected"),
        ("nginx['listen_addresses'] = []", "nginx['listen_addresses']: an array is expected"),
        ("git_data_dirs 5", "git_data_dirs: a hash is expected"),
        ("gateway['configuration'] = 5", "gateway['configuration']: a hash is expected"),
    ],
)
def test_what_cannot_be(host: GitlabRbHost, line: str, fault: str) -> None:
    assert host.say(URL, SECRET, STORAGE, line).refusal(Role.GITLAB) == f"gitlab.rb:4: {fault}"


@pytest.mark.parametrize(
    ("lines", "address", "token"),
    [
        ((), "unix:/var/opt/gitlab/gitaly/gitaly.socket", None),
        (("gitaly['auth_token'] = 'l'",), "unix:/var/opt/gitlab/gitaly/gitaly.socket", "l"),
        (("gitaly['socket_path'] = '/s'", "gitaly['listen_addr'] = 'h:1'"), "unix:/s", None),
        (("gitaly['listen_addr'] = '0.0.0.0:8075'",), "tcp://127.0.0.1:8075", None),
        (("gitaly['listen_addr'] = '10.0.0.1:8075'",), "tcp://10.0.0.1:8075", None),
        (("gitaly['configuration'] = { socket_path: '/s', auth: { token: 'l' } }",), "unix:/s", "l"),
        (
            ("gitlab_rails['gitaly_token'] = 'g'", "gitaly['auth_token'] = 'l'"),
            "unix:/var/opt/gitlab/gitaly/gitaly.socket",
            "g",
        ),
    ],
)
def test_a_storage_of_this_machine(host: GitlabRbHost, lines: tuple[str, ...], address: str, token: str | None) -> None:
    for data in ("git_data_dirs({ 'default' => { 'path' => '/d' } })", "git_data_dirs({ 'default' => '/d' })"):
        (storage,) = storages(host, data, *lines)
        assert (storage["gitaly_address"], storage.get("gitaly_token")) == (address, token)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{ 'default' => {}, 'praefect' => { 'gitaly_address' => 'tcp://p:1' } }", [100, 0]),
        ("{ 'default' => {}, 'praefect' => { 'gitaly_address' => 'tcp://p:1', 'weight' => 100 } }", [None, 100]),
        ("{ 'default' => { 'weight' => 0 }, 'praefect' => { 'gitaly_address' => 'tcp://p:1' } }", [0, None]),
        ("{ 'a' => {}, 'b' => {} }", [None, None]),
        ("{ 'default' => {} }", [None]),
    ],
)
def test_where_new_projects_go(host: GitlabRbHost, data: str, expected: list[int | None]) -> None:
    assert [storage.get("weight") for storage in storages(host, f"git_data_dirs({data})")] == expected


def test_the_cluster_takes_new_projects(host: GitlabRbHost) -> None:
    storages(
        host, "git_data_dirs({ 'default' => { 'weight' => 0 }, 'praefect' => { 'gitaly_address' => 'tcp://p:1' } })"
    )
    weights = [one.weight for one in gateway.load(str(host.config)).config.storages]
    assert weights == [0, 100]


def test_todays_spelling_wins(host: GitlabRbHost) -> None:
    today = "gitlab_rails['repositories_storages'] = { default: { gitaly_address: '/run/gitaly.socket' } }"
    assert storages(host, STORAGE, today) == [{"name": "default", "gitaly_address": "unix:/run/gitaly.socket"}]


def test_what_gitlab_keeps_in_its_database(host: GitlabRbHost) -> None:
    host.say(
        URL,
        SECRET,
        STORAGE,
        "gateway['configuration'] = {",
        "  user: [ { username: 'a', token: 'hush', read_only: true }, { username: 'b', token: 'hush2' } ],",
        "  protection: [ { project: '*', branch: 'main' } ],",
        "  ca_file: '/ca',",
        "  colour: 1,",
        "}",
    )
    report = host.run(Role.GITLAB)
    config = gateway.load(str(host.config)).config
    assert [(user.username, user.read_only) for user in config.users] == [("a", True), ("b", False)]
    assert [(one.project, one.branch) for one in config.protections] == [("*", "main")]
    assert config.ca_file == "/ca"
    assert [(one.place.line, one.setting) for one in report.unknown] == [(8, "gateway['configuration']['colour']")]
    assert report.notes == ()
    assert "hush" not in repr(report)


def test_unknown_settings_of_a_storage(host: GitlabRbHost) -> None:
    report = host.say(URL, SECRET, "git_data_dirs({ 'a' => { 'path' => '/a',", "'colour' => 1 } })").run(Role.GITLAB)
    assert [(one.place.line, one.setting) for one in report.unknown] == [(4, "git_data_dirs['a']['colour']")]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ((SECRET,), "storage: none is configured"),
        ((STORAGE,), "secret: neither `secret` nor `secret_file` gives the secret shared with the nodes"),
        (
            (SECRET, STORAGE.replace("'gitaly_token' => 't'", "'weight' => 0")),
            "storage: every weight is 0, so no new project has a place",
        ),
        (
            (SECRET, STORAGE.replace("'gitaly_token' => 't'", "'weight' => 101")),
            "storage[0].weight: 101 is not between 0 and 100",
        ),
    ],
)
def test_what_the_gateway_would_refuse(host: GitlabRbHost, lines: tuple[str, ...], fault: str) -> None:
    refusal = host.say(URL, *lines).refusal(Role.GITLAB)
    assert refusal == f"gitlab.rb: makes no usable configuration of a gitlab:\n  {fault}"
