"""What becomes of a node's settings: its storages above all."""

import json
from pathlib import Path

import pytest

from praefect.config import node
from praefect.config.omnibus.known_keys import Role
from tests.support.gitlab_rb_host import GitlabRbHost

SAME = (
    "gitaly['auth_token'] = 't'",
    "gitaly['listen_addr'] = 'h:1'",
    "gitlab_shell['secret_token'] = 's'",
    "gitlab_rails['internal_api_url'] = 'http://g'",
)
DATA = "git_data_dirs({ 'gitaly-1' => { 'path' => '/data' } })"


@pytest.fixture
def host(tmp_path: Path) -> GitlabRbHost:
    return GitlabRbHost(tmp_path)


def shared(path: Path) -> str:
    names = ", ".join(f"'gitaly-{number}' => {{ 'path' => '{path}' }}" for number in (1, 2, 3))
    return f"git_data_dirs({{ {names} }})"


def test_storages_that_share_a_directory(host: GitlabRbHost) -> None:
    report = host.say(*SAME, shared(host.data)).run(Role.GITALY)
    places = {f"gitaly-{number}": host.data / f"gitaly-{number}" / "repositories" for number in (1, 2, 3)}
    assert host.values()["storage"] == [{"name": name, "path": str(path)} for name, path in places.items()]
    assert report.notes[0].startswith(f"storages gitaly-1, gitaly-2, gitaly-3 share {host.data}: ")
    for path in places.values():
        path.mkdir(parents=True)
    node.load(str(host.config))


def test_the_storage_of_this_node_keeps_the_directory(host: GitlabRbHost) -> None:
    (host.data / "repositories" / "@hashed").mkdir(parents=True)
    report = host.say(*SAME, shared(host.data)).run(Role.GITALY, "gitaly-2")
    assert host.values()["storage"] == [{"name": "gitaly-2", "path": f"{host.data}/repositories"}]
    assert report.notes == ()
    assert report.unknown == ()


def test_repositories_in_a_shared_directory_are_not_lost(host: GitlabRbHost) -> None:
    (host.data / "repositories" / "@hashed").mkdir(parents=True)
    assert host.say(*SAME, shared(host.data)).refusal(Role.GITALY) == (
        f"gitlab.rb:5: storages gitaly-1, gitaly-2, gitaly-3 share {host.data}, which holds repositories already: "
        "say with --storage whose they are"
    )


@pytest.mark.parametrize("name", ["a/b", "..", ""])
def test_a_shared_directory_and_a_name_that_is_none_of_a_directory(host: GitlabRbHost, name: str) -> None:
    data = f"git_data_dirs({{ '{name}' => {{ 'path' => '/d' }}, 'x' => {{ 'path' => '/d/' }} }})"
    assert host.say(*SAME, data).refusal(Role.GITALY).endswith("a directory cannot be named as one of them")


@pytest.mark.parametrize(
    ("lines", "storage", "expected"),
    [
        ((DATA,), "", [("gitaly-1", "/data/repositories")]),
        (
            ("git_data_dirs({ 'a' => '/old/', 'b' => { path: '/new' } })",),
            "",
            [("a", "/old/repositories"), ("b", "/new/repositories")],
        ),
        (("gitaly['storage'] = [ { 'name' => 'a', 'path' => '/a' } ]",), "", [("a", "/a")]),
        ((DATA, "gitaly['configuration'] = { storage: [ { name: 'a', path: '/a' } ] }"), "", [("a", "/a")]),
        (
            ("gitaly['configuration'] = { storage: [ { name: 'a', path: '/a' }, { name: 'b', path: '/b' } ] }",),
            "b",
            [("b", "/b")],
        ),
        (("git_data_dirs({ 'default' => {} })",), "", [("default", "/var/opt/gitlab/git-data/repositories")]),
        (
            ("git_data_dirs({ 'a' => { 'path' => '/a' }, 'praefect' => { 'gitaly_address' => 'tcp://p:1' } })",),
            "",
            [("a", "/a/repositories")],
        ),
    ],
)
def test_storages(host: GitlabRbHost, lines: tuple[str, ...], storage: str, expected: list[tuple[str, str]]) -> None:
    report = host.say(*SAME, *lines).run(Role.GITALY, storage)
    assert [(one["name"], one["path"]) for one in host.values()["storage"]] == expected
    assert report.unknown == ()


@pytest.mark.parametrize(
    ("lines", "storage", "fault"),
    [
        ((DATA,), "other", 'gitlab.rb:1: no storage of this machine is named "other"'),
        (("gitaly['storage'] = [ { name: 'a', path: '/a' } ]",), "b", 'gitlab.rb:1: no storage is named "b"'),
        ((), "", "UNUSABLE\n  storage: not set"),
        (("git_data_dirs 'here'",), "", "gitlab.rb:5: git_data_dirs: a hash is expected"),
        (
            ("git_data_dirs({ 'a' => { 'path' => '/a' }, 'b' => { 'path' => '/a/repositories/b' } })",),
            "",
            'UNUSABLE\n  storage.[1].path: can\'t nest: "/a/repositories/b/repositories" and "/a/repositories"',
        ),
        (("gitaly['storage'] = 'a'",), "", "gitlab.rb:5: gitaly['storage']: an array is expected"),
        (
            (DATA, "gitaly['daily_maintenance_start_hour'] = 24"),
            "",
            "UNUSABLE\n  daily_maintenance.start_hour: daily maintenance specified hour '24' outside range (0-23)",
        ),
    ],
)
def test_storages_that_cannot_be(host: GitlabRbHost, lines: tuple[str, ...], storage: str, fault: str) -> None:
    refusal = host.say(*SAME, *lines).refusal(Role.GITALY, storage)
    assert refusal == fault.replace("UNUSABLE", "gitlab.rb: makes no usable configuration of a gitaly:")


def test_unknown_settings_of_a_storage(host: GitlabRbHost) -> None:
    report = host.say(*SAME, "git_data_dirs({ 'a' => { 'path' => '/a',", "'colour' => 1 } })").run(Role.GITALY)
    assert [(one.place.line, one.setting) for one in report.unknown] == [(6, "git_data_dirs['a']['colour']")]


def test_what_a_push_needs_is_pointed_out(host: GitlabRbHost) -> None:
    report = host.say(DATA).run(Role.GITALY)
    assert [note.split(":")[0] for note in report.notes] == [
        "auth.token is not set",
        "gitlab_shell['secret_token'] is not set",
        "gitlab_rails['internal_api_url'] is not set",
        "no address to listen on is set",
        "the node starts once its storages exist",
    ]
    assert host.values()["socket_path"] == "/var/opt/gitlab/gitaly/gitaly.socket"


def test_the_address_of_gitlab_stands_in_for_the_internal_one(host: GitlabRbHost) -> None:
    report = host.say(DATA, "external_url 'http://front'", *SAME[:3]).run(Role.GITALY)
    assert host.values()["gitlab"]["url"] == "http://front"
    assert report.notes[0] == "gitlab.url is external_url, as gitlab_rails['internal_api_url'] is not set"
    report = host.say(DATA, "external_url 'http://front'", *SAME).run(Role.GITALY)
    assert host.values()["gitlab"]["url"] == "http://g"
    assert report.unknown == ()


def test_the_secret_of_the_package(host: GitlabRbHost) -> None:
    secrets = host.gitlab_rb.parent / "gitlab-secrets.json"
    host.say(DATA, *SAME[:2])
    for content in ("{}", "[]", '{"gitlab_shell": 5}', '{"gitlab_shell": {"secret_token": 5}}'):
        secrets.write_text(content)
        host.run(Role.GITALY)
        assert "gitlab" not in host.values()
    secrets.write_text(json.dumps({"gitlab_shell": {"secret_token": "from-package"}}))
    host.run(Role.GITALY)
    assert host.values()["gitlab"]["secret"] == "from-package"
    secrets.write_text("hush")
    assert host.refusal(Role.GITALY) == f"{secrets}:1: the file of secrets cannot be read"
    host.say(DATA, *SAME).run(Role.GITALY)
    assert host.values()["gitlab"]["secret"] == "s"


def test_settings_of_git(host: GitlabRbHost) -> None:
    host.say(
        *SAME,
        DATA,
        "gitaly['gitconfig'] = [",
        "  { 'section' => 'pack', 'key' => 'threads', 'value' => '4' },",
        "  { 'section' => 'http', 'subsection' => 'https://h', 'key' => 'proxy', 'value' => 'p', 'colour' => 1 },",
        "]",
    )
    report = host.run(Role.GITALY)
    assert host.values()["git"]["config"] == [
        {"key": "pack.threads", "value": "4"},
        {"key": "http.https://h.proxy", "value": "p"},
    ]
    assert [(one.place.line, one.setting) for one in report.unknown] == [(8, "gitaly['gitconfig']['colour']")]
    for value, fault in (
        ("5", "an array is expected"),
        ("[5]", "a hash is expected"),
        ("{ a: 1 }", "an array is expected"),
    ):
        assert host.say(*SAME, DATA, f"gitaly['gitconfig'] = {value}").refusal(Role.GITALY) == (
            f"gitlab.rb:6: gitaly['gitconfig']: {fault}"
        )


def test_hooks_and_the_internal_api(host: GitlabRbHost) -> None:
    host.say(
        *SAME,
        DATA,
        "gitlab_shell['custom_hooks_dir'] = '/old'",
        "gitlab_shell['http_settings'] = { 'user' => 'u', 'password' => 'p', 'ca_file' => '/ca',",
        "  'self_signed_cert' => true }",
    )
    report = host.run(Role.GITALY)
    assert host.values()["hooks"] == {"custom_hooks_dir": "/old"}
    assert host.values()["gitlab"]["http-settings"] == {"user": "u", "password": "p", "ca_file": "/ca"}
    assert [one.setting for one in report.unknown] == ["gitlab_shell['http_settings']['self_signed_cert']"]
    host.say(host.gitlab_rb.read_text(), "gitaly['custom_hooks_dir'] = '/new'").run(Role.GITALY)
    assert host.values()["hooks"] == {"custom_hooks_dir": "/new"}
