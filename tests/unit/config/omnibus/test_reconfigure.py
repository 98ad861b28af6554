"""The files of the page and of today, from gitlab.rb to what each program loads."""

import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from praefect.config import gateway, node, praefect
from praefect.config.omnibus.known_keys import Role
from praefect.config.omnibus.reconfigure import Report, Unknown
from praefect.config.omnibus.replacing import Outcome
from tests.support.gitlab_rb_host import FILES, GitlabRbHost


@pytest.fixture
def host(tmp_path: Path) -> GitlabRbHost:
    return GitlabRbHost(tmp_path)


SERVICES = (
    "postgresql",
    "redis",
    "nginx",
    "prometheus",
    "grafana",
    "unicorn",
    "sidekiq",
    "gitlab_workhorse",
)


class TestThePage:
    def test_praefect(self, host: GitlabRbHost) -> None:
        report = host.take("page_praefect.rb").run(Role.PRAEFECT)
        config = praefect.load(str(host.config))
        assert config.listen_addr == "0.0.0.0:2305"
        assert config.prometheus_listen_addr == "0.0.0.0:9652"
        assert config.auth.token == "external-aaaa"
        database = config.database
        assert (database.host, database.port, database.user) == ("10.0.0.5", 5432, "praefect")
        assert (database.password, database.dbname, database.sslmode) == ("sql-bbbb", "praefect_production", "require")
        (storage,) = config.virtual_storages
        assert storage.name == "praefect"
        assert [(one.storage, one.address, one.token, one.primary) for one in storage.nodes] == [
            ("gitaly-1", "tcp://10.0.0.11:8075", "internal-cccc", True),
            ("gitaly-2", "tcp://10.0.0.12:8075", "internal-cccc", False),
            ("gitaly-3", "tcp://10.0.0.13:8075", "internal-cccc", False),
        ]
        assert config.failover.prefer_designated
        assert not config.failover.manual
        assert config.warnings == ()
        assert report.unknown == ()
        assert report.ignored == {
            "about GitLab itself": ("gitlab_rails['rake_cache_clear']", "gitlab_rails['auto_migrate']"),
            "about how the package runs its programs": ("gitaly['enable']", "praefect['enable']"),
            "about other services": SERVICES,
        }
        assert [note.split(":")[0] for note in report.notes] == [
            'database.sslmode is "require", as the page has it',
            "failover.prefer_designated is set",
        ]

    def test_gitaly(self, host: GitlabRbHost) -> None:
        report = host.take("page_gitaly.rb").run(Role.GITALY)
        place = host.data / "repositories"
        assert report.notes == (f"the node starts once its storages exist: mkdir -p -m 0700 {place}",)
        place.mkdir(parents=True)
        config = node.load(str(host.config))
        assert config.listen_addr == "0.0.0.0:8075"
        assert config.prometheus_listen_addr == "0.0.0.0:9236"
        assert config.auth.token == "internal-cccc"
        assert (config.gitlab.url, config.gitlab.secret) == ("http://10.0.0.20", "shell-dddd")
        assert [(one.name, one.path) for one in config.storages] == [("gitaly-1", str(place))]
        assert config.warnings == ()
        assert report.unknown == ()
        assert report.ignored["about other services"] == (*SERVICES, "prometheus_monitoring")
        assert host.run(Role.GITALY).notes == ()

    def test_gitlab(self, host: GitlabRbHost) -> None:
        report = host.take("page_gitlab.rb").run(Role.GITLAB)
        file = gateway.load(str(host.config))
        assert file.unknown == ()
        config = file.config
        assert (config.external_url, config.listen_addr) == ("http://10.0.0.20", "0.0.0.0:80")
        assert config.secret == "shell-dddd"
        assert [(one.name, one.gitaly_address, one.gitaly_token, one.weight) for one in config.storages] == [
            ("default", "unix:/var/opt/gitlab/gitaly/gitaly.socket", "", 100),
            ("praefect", "tcp://10.0.0.10:2305", "external-aaaa", 0),
        ]
        assert config.tls.certificate_path == ""
        assert report.unknown == ()
        assert report.ignored == {"about other services": ("prometheus", "grafana")}
        assert [note.split(" ")[0] for note in report.notes] == ["new", "gateway['configuration']"]

    def test_the_node_of_the_gitlab_host(self, host: GitlabRbHost) -> None:
        host.take("page_gitlab.rb").run(Role.GITALY)
        (host.data / "repositories").mkdir(parents=True)
        config = node.load(str(host.config))
        assert config.socket_path == "/var/opt/gitlab/gitaly/gitaly.socket"
        assert [one.name for one in config.storages] == ["default"]
        assert (config.gitlab.url, config.gitlab.secret) == ("http://10.0.0.20", "shell-dddd")

    def test_a_storage_of_this_host_by_its_address(self, host: GitlabRbHost) -> None:
        text = 'git_data_dirs({ "default" => { "gitaly_address" => "tcp://10.0.0.20:8075" } })\n'
        host.say(f"{text}gitaly['listen_addr'] = '0.0.0.0:8075'\ngitlab_shell['secret_token'] = 's'")
        host.run(Role.GITALY)
        assert 'path = "/var/opt/gitlab/git-data/repositories"' in host.config.read_text()
        host.run(Role.GITLAB)
        (storage,) = gateway.load(str(host.config)).config.storages
        assert storage.gitaly_address == "tcp://10.0.0.20:8075"

    def test_gitaly_with_tls_only(self, host: GitlabRbHost) -> None:
        host.take("page_gitaly.rb")
        text = host.gitlab_rb.read_text().replace("gitaly['listen_addr']", "# gitaly['listen_addr']")
        tls = (
            "gitaly['tls_listen_addr'] = '0.0.0.0:9999'",
            "gitaly['certificate_path'] = '/c.pem'",
            "gitaly['key_path'] = '/k.pem'",
        )
        host.say("\n".join((text, *tls))).run(Role.GITALY)
        (host.data / "repositories").mkdir(parents=True)
        config = node.load(str(host.config))
        assert (config.listen_addr, config.tls_listen_addr) == ("", "0.0.0.0:9999")
        assert (config.tls.certificate_path, config.tls.key_path) == ("/c.pem", "/k.pem")


class TestToday:
    def test_praefect(self, host: GitlabRbHost) -> None:
        report = host.take("today_praefect.rb").run(Role.PRAEFECT)
        config = praefect.load(str(host.config))
        assert (config.listen_addr, config.tls_listen_addr) == ("0.0.0.0:2305", "0.0.0.0:3305")
        assert config.graceful_stop_timeout == timedelta(seconds=30)
        assert config.background_verification.verification_interval == timedelta(0)
        assert not config.background_verification.delete_invalid_records
        assert config.reconciliation.scheduling_interval == timedelta(seconds=90)
        assert config.reconciliation.histogram_buckets == (0.1, 1.0, 10.0)
        assert (config.database.host, config.database.port) == ("10.0.0.6", 6432)
        assert (config.database.session_pooled.host, config.database.session_pooled.port) == ("10.0.0.5", 5432)
        assert config.database.sslmode == "verify-full"
        (storage,) = config.virtual_storages
        assert (storage.name, storage.default_replication_factor) == ("default", 2)
        assert [one.storage for one in storage.nodes] == ["gitaly-1", "gitaly-2", "gitaly-3"]
        assert not config.failover.prefer_designated
        assert (config.logging.format, config.logging.level) == ("json", "warn")
        assert report.unknown == ()
        assert report.notes == ()
        assert report.ignored["about how the package runs its programs"] == (
            "gitaly['enable']",
            "praefect['enable']",
            "praefect['env']",
        )

    def test_gitaly(self, host: GitlabRbHost) -> None:
        (host.data / "repositories").mkdir(parents=True)
        report = host.take("today_gitaly.rb").run(Role.GITALY)
        config = node.load(str(host.config))
        assert (config.listen_addr, config.tls_listen_addr) == ("", "0.0.0.0:9999")
        assert config.gitlab.url == "https://gitlab.example.com"
        assert config.gitlab.http_settings.ca_file == "/etc/gitlab/ssl/ca.pem"
        assert config.gitlab.http_settings.read_timeout == 60
        assert config.hooks.custom_hooks_dir == "/var/opt/gitlab/gitaly/custom_hooks"
        assert config.pack_objects_cache.enabled
        assert config.pack_objects_cache.max_age == timedelta(minutes=10)
        assert (config.daily_maintenance.start_hour, config.daily_maintenance.start_minute) == (23, 0)
        assert [(limit.rpc, limit.max_concurrency) for limit in config.concurrency] == [
            ("/gitaly.SmartHTTPService/PostUploadPackWithSidechannel", 20)
        ]
        assert [(entry.key, entry.value) for entry in config.git.config] == [("pack.threads", "4")]
        assert config.git.catfile_cache_size == 50
        assert report.unknown == ()
        assert report.notes == ()
        assert report.ignored["about upstream's own machinery"] == ("gitaly['configuration']['cgroups']",)

    def test_gitlab(self, host: GitlabRbHost) -> None:
        report = host.take("today_gitlab.rb").run(Role.GITLAB)
        config = gateway.load(str(host.config)).config
        assert (config.external_url, config.listen_addr) == ("https://gitlab.example.com", "0.0.0.0:443")
        assert config.tls.certificate_path == "/etc/gitlab/ssl/gitlab.example.com.crt"
        assert config.tls.key_path == "/etc/gitlab/ssl/gitlab.example.com.key"
        assert [(one.name, one.gitaly_address, one.gitaly_token) for one in config.storages] == [
            ("default", "tcp://10.0.0.20:8075", "local-ffff"),
            ("praefect", "tls://praefect.example.com:3305", "external-aaaa"),
        ]
        assert [(user.username, user.token) for user in config.users] == [("alice", "alice-gggg")]
        assert report.unknown == ()
        assert report.ignored == {"about other services": ("prometheus",)}


class TestTheFile:
    def test_it_is_private_and_left_alone_when_nothing_changes(self, host: GitlabRbHost) -> None:
        host.take("page_praefect.rb")
        assert host.run(Role.PRAEFECT).outcome is Outcome.WRITTEN
        before = host.config.stat()
        assert stat.S_IMODE(before.st_mode) == 0o600
        report = host.run(Role.PRAEFECT)
        after = host.config.stat()
        assert report.outcome is Outcome.UNCHANGED
        assert report.changes == ()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert [path.name for path in host.output.iterdir()] == ["config.toml"]

    def test_its_mode_is_corrected(self, host: GitlabRbHost) -> None:
        host.take("page_praefect.rb").run(Role.PRAEFECT)
        host.config.chmod(0o644)
        assert host.run(Role.PRAEFECT).outcome is Outcome.MODE_CORRECTED
        assert stat.S_IMODE(host.config.stat().st_mode) == 0o600

    def test_it_is_replaced_and_not_rewritten(self, host: GitlabRbHost) -> None:
        host.take("page_praefect.rb").run(Role.PRAEFECT)
        with host.config.open() as reader:
            host.say(host.gitlab_rb.read_text().replace("external-aaaa", "external-new")).run(Role.PRAEFECT)
            assert "external-aaaa" in reader.read()
        assert "external-new" in host.config.read_text()

    def test_it_stays_when_the_new_one_is_refused(self, host: GitlabRbHost) -> None:
        host.take("page_praefect.rb").run(Role.PRAEFECT)
        before = host.config.read_bytes()
        for text in ("system('x')", "praefect['listen_addr'] = '0.0.0.0:1'"):
            host.say(text).refusal(Role.PRAEFECT)
        assert host.config.read_bytes() == before
        assert [path.name for path in host.output.iterdir()] == ["config.toml"]

    def test_a_directory_in_its_place(self, host: GitlabRbHost) -> None:
        host.config.mkdir(parents=True)
        assert host.take("page_praefect.rb").refusal(Role.PRAEFECT) == f"read {host.config}: is a directory"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_directory_that_cannot_be_written_to(self, host: GitlabRbHost) -> None:
        host.output.mkdir(mode=0o500)
        assert "permission denied" in host.take("page_praefect.rb").refusal(Role.PRAEFECT)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_root_leaves_it_to_its_owner(self, host: GitlabRbHost) -> None:
        host.output.mkdir()
        os.chown(host.output, 65534, 65534)
        host.take("page_praefect.rb").run(Role.PRAEFECT)
        assert (host.config.stat().st_uid, host.config.stat().st_gid) == (65534, 65534)
        os.chown(host.config, 65533, 65533)
        host.say(host.gitlab_rb.read_text() + "praefect['logging_level'] = 'warn'").run(Role.PRAEFECT)
        assert host.config.stat().st_uid == 65533


class TestTheReport:
    def changes(self, report: Report) -> list[tuple[str, str | None, str | None]]:
        return [(change.key, change.before, change.after) for change in report.changes]

    def test_changes_name_keys_and_mask_secrets(self, host: GitlabRbHost) -> None:
        host.take("page_praefect.rb")
        first = host.run(Role.PRAEFECT)
        assert ("listen_addr", None, '"0.0.0.0:2305"') in self.changes(first)
        assert ("virtual_storage[praefect].node[gitaly-1].token", None, "(secret)") in self.changes(first)
        text = host.gitlab_rb.read_text()
        text = text.replace("external-aaaa", "external-new").replace("5432", "5433").replace("10.0.0.13", "10.0.0.14")
        text = text.replace("praefect['database_user'] = 'praefect'\n", "").replace("internal-cccc", "internal-new", 1)
        second = host.say(text).run(Role.PRAEFECT)
        assert self.changes(second) == [
            ("auth.token", "(secret)", "(secret)"),
            ("database.port", "5432", "5433"),
            ("virtual_storage[praefect].node[gitaly-1].token", "(secret)", "(secret)"),
            ("virtual_storage[praefect].node[gitaly-3].address", '"tcp://10.0.0.13:8075"', '"tcp://10.0.0.14:8075"'),
            ("database.user", '"praefect"', None),
        ]
        for report in (first, second):
            for secret in ("external-", "internal-", "sql-"):
                assert secret not in repr(report)

    def test_what_an_operator_wrote_into_the_file(self, host: GitlabRbHost) -> None:
        host.take("page_praefect.rb").run(Role.PRAEFECT)
        host.config.write_text(
            f'odd = "hush"\nlisten_addr = {{ a = 1 }}\n{host.config.read_text().replace("listen_addr", "x")}'
        )
        assert [change for change in self.changes(host.run(Role.PRAEFECT)) if change[1] is not None] == [
            ("listen_addr", "(a table)", '"0.0.0.0:2305"'),
            ("odd", "(not a key of this file)", None),
            ("x", "(not a key of this file)", None),
            ("prometheus_x", "(not a key of this file)", None),
        ]

    def test_a_file_that_was_no_toml(self, host: GitlabRbHost) -> None:
        host.output.mkdir()
        host.config.write_bytes(b"\xff = hush")
        report = host.take("page_praefect.rb").run(Role.PRAEFECT)
        assert report.outcome is Outcome.WRITTEN
        assert all(change.before is None for change in report.changes)

    def test_settings_that_nobody_knows(self, host: GitlabRbHost) -> None:
        host.take("page_praefect.rb")
        start = host.gitlab_rb.read_text().count("\n")
        more = [
            "praefect['listen_adr'] = 'x'",
            "gitlab_rails['internal_api_ulr'] = 'x'",
            "praefect['configuration'] = {",
            "  auth: { tokn: 'x' },",
            "  virtual_storage: [ { name: 'v', colour: 1,",
            "    node: [ { storage: 's', address: 'tcp://h:1',",
            "              weight: 2 } ] } ],",
            "}",
            "sourdough['starter'] = { a: 1 }",
            "gitaly['listn'] = 1",
        ]
        report = host.say(host.gitlab_rb.read_text() + "\n".join(more)).run(Role.PRAEFECT)
        found = [(one.place.line - start, one.setting, one.suggestion) for one in report.unknown]
        assert found == [
            (1, "praefect['listen_adr']", "praefect['listen_addr']"),
            (2, "gitlab_rails['internal_api_ulr']", "gitlab_rails['internal_api_url']"),
            (4, "praefect['configuration']['auth']['tokn']", None),
            (5, "praefect['configuration']['virtual_storage'][0]['colour']", None),
            (7, "praefect['configuration']['virtual_storage'][0]['node'][0]['weight']", None),
            (9, "sourdough['starter']['a']", None),
            (10, "gitaly['listn']", None),
        ]
        assert all(isinstance(one, Unknown) and one.place.file == str(host.gitlab_rb) for one in report.unknown)

    def test_settings_of_other_roles(self, host: GitlabRbHost) -> None:
        names = ("page_praefect.rb", "page_gitaly.rb")
        host.say("\n".join((FILES / name).read_text() for name in names))
        assert host.run(Role.PRAEFECT).unknown == ()
        report = host.run(Role.GITALY)
        assert report.unknown == ()
        assert "praefect['virtual_storages']" in report.ignored["about other parts"]


def test_a_missing_gitlab_rb(host: GitlabRbHost) -> None:
    assert host.refusal(Role.PRAEFECT) == "open gitlab.rb: no such file or directory"
