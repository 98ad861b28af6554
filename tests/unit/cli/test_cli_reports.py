"""How answers are written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from praefect.cli import dataloss, metadata, sql_migrate_status
from praefect.cli.sql_migrate import statements
from praefect.cli.times import format_utc, format_zoned
from praefect.cli.track_repositories import parse_entries
from praefect.datastore.migrations import MigrationStatus, load_migrations
from praefect.proto import praefect_pb2

APPLIED_AT = datetime(2026, 2, 24, 3, 4, 5, 123456, UTC)


@pytest.fixture
def utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_metadata() -> None:
    replica = praefect_pb2.GetRepositoryMetadataResponse.Replica
    response = praefect_pb2.GetRepositoryMetadataResponse(
        repository_id=1,
        virtual_storage="default",
        relative_path="@hashed/aa/bb/cc.git",
        replica_path="@cluster/repositories/6b/86/1",
        primary="gitaly-1",
        generation=3,
        replicas=[
            replica(
                storage="gitaly-1",
                assigned=True,
                generation=3,
                healthy=True,
                valid_primary=True,
                verified_at=Timestamp(seconds=int(APPLIED_AT.timestamp()), nanos=123456000),
            ),
            replica(storage="gitaly-2", assigned=True, generation=1, healthy=True),
            replica(storage="gitaly-3", assigned=True, generation=-1),
        ],
    )
    assert (
        metadata.render(response)
        == """\
Repository ID: 1
Virtual Storage: "default"
Relative Path: "@hashed/aa/bb/cc.git"
Replica Path: "@cluster/repositories/6b/86/1"
Primary: "gitaly-1"
Generation: 3
Replicas:
- Storage: "gitaly-1"
  Assigned: true
  Generation: 3, fully up to date
  Healthy: true
  Valid Primary: true
  Verified At: 2026-02-24 03:04:05.123456 +0000 UTC
- Storage: "gitaly-2"
  Assigned: true
  Generation: 1, behind by 2 changes
  Healthy: true
  Valid Primary: false
  Verified At: unverified
- Storage: "gitaly-3"
  Assigned: true
  Generation: replica not yet created
  Healthy: false
  Valid Primary: false
  Verified At: unverified"""
    )


def test_dataloss() -> None:
    repository = praefect_pb2.DatalossResponse.Repository
    response = praefect_pb2.DatalossResponse(
        repositories=[
            repository(
                relative_path="path/one.git",
                unavailable=True,
                primary="gitaly-3",
                storages=[
                    repository.Storage(name="gitaly-1", behind_by=2, assigned=True, healthy=True),
                    repository.Storage(name="gitaly-2"),
                    repository.Storage(name="gitaly-3", behind_by=1, assigned=True),
                ],
            ),
            repository(relative_path="b.git"),
        ]
    )
    assert "\n".join(dataloss.render(response)) == (
        """\
  Repositories:
    path/one.git (unavailable):
      Primary: gitaly-3
      In-Sync Storages:
        gitaly-2, unhealthy
      Outdated Storages:
        gitaly-1 is behind by 2 changes or less, assigned host
        gitaly-3 is behind by 1 change or less, assigned host, unhealthy
    b.git:
      Primary: No Primary
      In-Sync Storages:
      Outdated Storages:"""
    )


@pytest.mark.usefixtures("utc")
def test_migrations() -> None:
    statuses = [
        MigrationStatus(
            migration_id="20200109161404_hello_world", is_known=True, is_applied=True, applied_at=APPLIED_AT
        ),
        MigrationStatus(migration_id="20200113151438_1_test_migration", is_known=True, is_applied=False),
        MigrationStatus(migration_id="20990101000000_new", is_known=False, is_applied=True, applied_at=APPLIED_AT),
    ]
    assert sql_migrate_status.render(statuses) == (
        """\
┌─────────────────────────────────┬────────────────────────────┐
│            MIGRATION            │          APPLIED           │
├─────────────────────────────────┼────────────────────────────┤
│ 20200109161404_hello_world      │ 2026-02-24 03:04:05.123456 │
│                                 │ +0000 UTC                  │
│ 20200113151438_1_test_migration │ no                         │
│ 20990101000000_new              │ unknown migration          │
└─────────────────────────────────┴────────────────────────────┘
"""
    )


def test_migrations_none_of_which_is_applied() -> None:
    statuses = [MigrationStatus(migration_id="20200109161404_hello_world", is_known=True, is_applied=False)]
    assert sql_migrate_status.render(statuses).split("\n")[1:4:2] == [
        "│         MIGRATION          │ APPLIED │",
        "│ 20200109161404_hello_world │ no      │",
    ]


@pytest.mark.usefixtures("utc")
def test_a_zone_is_named_only_if_this_process_lives_in_it() -> None:
    assert format_zoned(APPLIED_AT) == "2026-02-24 03:04:05.123456 +0000 UTC"
    elsewhere = APPLIED_AT.astimezone(timezone(timedelta(hours=1)))
    assert format_zoned(elsewhere) == "2026-02-24 04:04:05.123456 +0100 +0100"
    assert format_zoned(APPLIED_AT.replace(microsecond=0)) == "2026-02-24 03:04:05 +0000 UTC"
    assert format_utc(0, 1) == "1970-01-01 00:00:00.000000001 +0000 UTC"
    assert format_utc(0, 120_000_000) == "1970-01-01 00:00:00.12 +0000 UTC"


def problems(text: str) -> list[tuple[int, list[str]]]:
    return [(entry.line, entry.problems) for entry in parse_entries(text.encode())]


GOOD_LINE = '{"relative_path":"a","Replica_Path":"b","virtual_storage":"v","authoritative_storage":"s","more":1}'


def test_good_entries_have_no_problems() -> None:
    (entry,) = parse_entries(f"{GOOD_LINE}\n".encode())
    assert entry.problems == []
    assert entry.request().replica_path == "b"


def test_what_an_entry_lacks() -> None:
    assert problems("{}\n") == [
        (
            1,
            [
                '"relative-path" is a required parameter',
                '"replica-path" is a required parameter',
                '"virtual-storage" is a required parameter',
                '"authoritative-storage" is a required parameter',
            ],
        )
    ]


def test_entries_that_are_no_json() -> None:
    assert problems("no\n\n[]\n") == [
        (1, ["invalid character 'o' in literal null (expecting 'u')"]),
        (2, ["unexpected end of JSON input"]),
        (3, ["json: cannot unmarshal value into Go value of type praefect.trackRequest"]),
    ]


def test_paths_that_stand_twice_are_reported_at_the_later_places() -> None:
    other = GOOD_LINE.replace('"v"', '"w"')
    assert problems(f"{GOOD_LINE}\n{{}}\n{other}\n{GOOD_LINE}") == [
        (1, []),
        (2, problems("{}")[0][1]),
        (3, ["duplicate entries for relative_path, line [1 3 4]"]),
        (4, ["duplicate entries for relative_path, line [1 3 4]"]),
    ]


def test_a_line_that_is_too_long_ends_the_file() -> None:
    assert problems(f"{GOOD_LINE}\n{'x' * 65536}\n{GOOD_LINE}\n") == [(1, [])]


def test_a_file_without_lines() -> None:
    assert parse_entries(b"") == []


def test_statements_of_a_migration() -> None:
    script = "-- why\nCREATE TABLE a (b int);\n\nCREATE FUNCTION f() AS $$\nBEGIN;\nEND\n$$;\n-- more\nSELECT 1;\n"
    assert statements(script) == ["CREATE TABLE a (b int)", "CREATE FUNCTION f() AS $$\nBEGIN;\nEND\n$$", "SELECT 1"]


def test_every_migration_has_statements() -> None:
    for migration in load_migrations():
        assert "".join(statements(migration.up))
        assert not any(statement.startswith("--") for statement in statements(migration.up))
