"""``track-repositories``: record many repositories that are on nodes' disks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag
from praefect.cli.track_repository import IMMEDIATELY
from praefect.config.quoting import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praefect.cli.command import Invocation
    from praefect.cli.tracking import Tracker, TrackRequest
    from praefect.config.praefect import PraefectConfig

LONGEST_LINE_BYTES = 64 * 1024
_KEYS = ("relative_path", "replica_path", "virtual_storage", "authoritative_storage")


@dataclass(slots=True, kw_only=True)
class Entry:
    """One line of the file; ``problems`` says what is wrong with it, ``hints`` what may have been meant."""

    line: int
    values: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    hints: Sequence[str] = ()

    def value(self, key: str) -> str:
        """The value of a key, empty if it is missing."""
        return self.values.get(key, "")

    def request(self) -> TrackRequest:
        """What is to be recorded."""
        from praefect.cli.tracking import TrackRequest
        from praefect.domain.repository import RelativePath, ReplicaPath, Storage, VirtualStorage

        return TrackRequest(
            virtual_storage=VirtualStorage(self.value("virtual_storage")),
            relative_path=RelativePath(self.value("relative_path")),
            replica_path=ReplicaPath(self.value("replica_path")),
            authoritative_storage=Storage(self.value("authoritative_storage")),
        )


def run(invocation: Invocation) -> None:
    """Look at all of them, then record all of them."""
    import asyncio

    asyncio.run(_track_all(invocation.load_config(), invocation))


async def _track_all(config: PraefectConfig, invocation: Invocation) -> None:
    from praefect.cli.database import open_records
    from praefect.cli.nodes import dial_nodes
    from praefect.cli.tracking import Tracker

    path, output = invocation.text("input-path"), invocation.output
    async with (
        open_records(config, prefix="connect to database: sql open: ") as datastore,
        dial_nodes(config) as nodes,
    ):
        tracker = Tracker(
            config=config,
            datastore=datastore,
            nodes=nodes,
            replicate_immediately=invocation.switch(IMMEDIATELY.name),
            output=output,
        )
        entries = await _read_valid_entries(path, tracker)
        output.say("All repository details are correctly formatted")
        output.say(f"Tracking {len(entries)} repositories in Praefect DB...")
        for number, entry in enumerate(entries):
            summary = _summarise(entry, number, len(entries))
            output.summary = partial(str, summary)
            output.show(f"tracking {number + 1} of {len(entries)} repositories")
            try:
                await tracker.track(entry.request())
            except CommandError as exc:
                path = quote(entry.value("relative_path"))
                raise CommandError(f"tracking repository {path}: {exc}", hints=[*exc.hints, summary]) from exc


def _summarise(entry: Entry, done: int, total: int) -> str:
    """Say what is recorded while one entry is being recorded."""
    place = f"line {entry.line} ({quote(entry.value('relative_path'))}) may be recorded or not"
    return f"{done} of {total} repositories are tracked, {place}, lines behind it are not"


async def _read_valid_entries(path: str, tracker: Tracker) -> Sequence[Entry]:
    data = _read(path)
    output = tracker.output
    output.say(f"Validating repository information in {quote(path)}")
    output.summary = lambda: "nothing is tracked"
    entries = parse_entries(data)
    if not entries:
        raise CommandError(f"no repository information found in {quote(path)}")
    for number, entry in enumerate(entries, start=1):
        output.show(f"looking at {number} of {len(entries)} repositories")
        if not entry.problems:
            await _check(entry, tracker)
    invalid = [entry for entry in entries if entry.problems]
    if invalid:
        output.say("\n".join(_report(invalid, path)))
        output.result["invalid"] = [
            {"line": entry.line, **{key: entry.value(key) for key in _KEYS[:2]}, "problems": entry.problems}
            for entry in invalid
        ]
        hints = dict.fromkeys(hint for entry in invalid for hint in entry.hints)
        raise CommandError("invalid entries found, aborting", hints=tuple(hints))
    return entries


def _read(path: str) -> bytes:
    from praefect.config.faults import ConfigError
    from praefect.config.reading import read_file

    try:
        return read_file(path)
    except ConfigError as exc:
        if str(exc).endswith("is a directory"):  # which opens, but has no lines
            return b""
        raise CommandError(f"open input: {exc}") from exc


def parse_entries(data: bytes) -> list[Entry]:
    """Parse a file and note what is wrong with each line by itself, and with paths that stand twice."""
    entries: list[Entry] = []
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if len(line) >= LONGEST_LINE_BYTES:
            break
        entries.append(_parse_entry(number, line.removesuffix(b"\r")))
    places: dict[str, list[int]] = {}
    for entry in entries:
        if path := entry.value("relative_path"):
            places.setdefault(path, []).append(entry.line)
    for entry in entries:
        lines_of_path = places.get(entry.value("relative_path"), [])
        if len(lines_of_path) > 1 and entry.line != lines_of_path[0]:
            listed = " ".join(map(str, lines_of_path))
            entry.problems.append(f"duplicate entries for relative_path, line [{listed}]")
    return entries


def _parse_entry(number: int, line: bytes) -> Entry:
    from praefect.config.json_text import JsonSyntaxError, parse_json

    entry = Entry(line=number)
    try:
        document = parse_json(line.decode(errors="replace"))
    except JsonSyntaxError as exc:
        entry.problems.append(str(exc))
        return entry
    if not isinstance(document, dict):
        entry.problems.append("json: cannot unmarshal value into Go value of type praefect.trackRequest")
        return entry
    for name, value in document.items():
        key = name.lower()
        if key not in _KEYS or value is None:
            continue
        if not isinstance(value, str):
            entry.problems.append(f"json: cannot unmarshal value into Go struct field .{key} of type string")
            entry.values.clear()
            return entry
        entry.values[key] = value
    for key in _KEYS:
        if not entry.value(key):
            entry.problems.append(f'"{key.replace("_", "-")}" is a required parameter')
    return entry


async def _check(entry: Entry, tracker: Tracker) -> None:
    """Note whether a line names what is recorded already, or what is on no disk."""
    from praefect.cli.running_praefect import describe_rpc_error
    from praefect.domain.errors import PraefectError
    from praefect.transport.grpc.status import StatusError

    request = entry.request()
    try:
        is_known = await tracker.datastore.repositories.repository_exists(
            request.virtual_storage, request.relative_path
        )
    except PraefectError as exc:
        raise CommandError(f"checking database: {exc}") from exc
    if is_known:
        entry.problems.append("repository is already tracked by Praefect")
        return
    try:
        if not await tracker.exists_on_disk(request):
            entry.problems.append("not a valid git repository")
    except StatusError as exc:
        entry.problems.append(f"checking repository on disk: {describe_rpc_error(exc)}")
    except CommandError as exc:
        entry.problems.append(f"checking repository on disk: {exc}")
        entry.hints = exc.hints


def _report(invalid: Sequence[Entry], path: str) -> list[str]:
    lines = [f"Found {len(invalid)} invalid request(s) in {quote(path)}:"]
    for entry in invalid:
        paths = ", ".join(f"{key}: {quote(entry.value(key))}" for key in _KEYS[:2])
        lines.append(f"  line {entry.line}, {paths}")
        lines += [f"    {problem}" for problem in entry.problems]
    return lines


COMMAND = Command(
    name="track-repositories",
    summary="record many repositories that are on disk",
    description="Reads one JSON object per line, with the keys relative_path, replica_path, virtual_storage and\n"
    "authoritative_storage. Nothing is recorded unless every line can be.\n\n"
    "Example: praefect -config praefect.config.toml track-repositories -input-path repositories.jsonl",
    flags=(Flag(name="input-path", text="file with the repositories", required=True), IMMEDIATELY, FORMAT),
    run=run,
)
