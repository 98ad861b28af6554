"""``failover``: move primaries by hand.

Works on the database, as ``remove-repository`` does, and not through a running Praefect: the primary is a record that
every Praefect reads anew for each write, and a move must also be possible while the one on this host is stopped. Who is
healthy is what the running Praefects have recorded in the last seconds; without any of them nothing moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.cli.command import Invocation
    from praefect.cli.output import Output
    from praefect.config.praefect import PraefectConfig, VirtualStorageConfig
    from praefect.datastore import Datastore
    from praefect.domain.failover import Move, Refusal, RepositoryState, Verdict
    from praefect.domain.repository import RelativePath, VirtualStorage

    Judge = Callable[[RepositoryState], Verdict]

_ATTEMPTS = 3
"""How often a repository is looked at whose records change meanwhile."""

_TARGETS = ("to", "from", "to-designated")


@dataclass(slots=True)
class Tally:
    """What became of the repositories."""

    moved: int = 0
    kept: int = 0
    refused: int = 0
    losing: int = 0
    lost_changes: int = 0

    def count(self, verdict: Verdict) -> None:
        """Count one."""
        from praefect.domain.failover import Move, Refusal

        if isinstance(verdict, Refusal):
            self.refused += 1
        elif isinstance(verdict, Move):
            self.moved += 1
            if verdict.loss is not None:
                self.losing += 1
                self.lost_changes += verdict.loss.changes
        else:
            self.kept += 1


@dataclass(slots=True, kw_only=True)
class Failover:
    """One run of the command."""

    datastore: Datastore
    virtual_storage: VirtualStorage
    judge: Judge
    is_applied: bool
    output: Output
    tally: Tally = field(default_factory=Tally)

    async def run(self, relative_path: RelativePath | None) -> None:
        """Judge and, if asked, move all repositories, or the one with the path."""
        from praefect.domain.repository import RepositoryNotFoundError

        found = False
        keeps_doubts = await self.datastore.own_schema.is_present()
        self.output.result |= {"virtual_storage": self.virtual_storage, "applied": self.is_applied, "repositories": []}
        self.output.summary = lambda: self._describe_interruption("")
        async for repository in self.datastore.failover.list_states(self.virtual_storage, relative_path):
            found = True
            self.output.show(f"looking at {repository.relative_path}")
            self.output.summary = partial(self._describe_interruption, repository.relative_path)
            verdict = await self._handle(repository, keeps_doubts=keeps_doubts)
            self.tally.count(verdict)
            if verdict is not None:
                self.output.append("repositories", document(verdict))
                self.output.say(f"  {repository.relative_path}: {describe(verdict)}")
        if relative_path is not None and not found:
            raise RepositoryNotFoundError

    def _describe_interruption(self, path: str) -> str:
        if not self.is_applied:
            return "nothing was changed"
        current = f"{path} may have moved or not, " if path else ""
        return f"{_count(self.tally.moved)} moved, {self.tally.refused} cannot move, {current}the others were not begun"

    async def _handle(self, repository: RepositoryState, *, keeps_doubts: bool) -> Verdict:
        from praefect.domain.failover import Move, Refusal

        for _ in range(_ATTEMPTS):
            verdict = self.judge(repository)
            if keeps_doubts and isinstance(verdict, Move):
                verdict = await self._heed_doubts(verdict)
            if not isinstance(verdict, Move) or not self.is_applied or await self.datastore.failover.move(verdict):
                return verdict
            path = repository.relative_path
            states = [state async for state in self.datastore.failover.list_states(self.virtual_storage, path)]
            if not states:
                return None  # deleted meanwhile
            repository = states[0]
        return Refusal(repository=repository, reason="its records keep changing; try again")

    async def _heed_doubts(self, move: Move) -> Move | Refusal:
        """Refuse what an unsettled write forbids.

        After an interrupted one the records call replicas equal that may differ, and the primary decides which of them
        is kept if no state has a majority. A live one restricts nobody who loses nothing: it is recorded under the new
        primary as under the old. What a loss takes must be known, however, and it adds to that.
        """
        from praefect.domain.failover import Refusal

        doubts = await self.datastore.doubts.list_of(move.repository.repository_id)
        if any(doubt.is_lapsed for doubt in doubts):
            reason = "an interrupted write has not been settled; praefect doubts -settle settles it"
        elif doubts and move.loss is not None:
            reason = "it is being written, so what would be lost is not known; try again"
        else:
            return move
        return Refusal(repository=move.repository, reason=reason)


def run(invocation: Invocation) -> None:
    """Show which primaries move, or move them."""
    import asyncio

    config = invocation.load_config()
    chosen = [name for name in _TARGETS if invocation.is_set(name)]
    if len(chosen) != 1:
        raise CommandError("give one of -to, -from and -to-designated")
    virtual = _virtual_storage(config, invocation.text("virtual-storage"))
    judge = _choose_judge(config, virtual, invocation)
    asyncio.run(_run(config, invocation, judge))


async def _run(config: PraefectConfig, invocation: Invocation, judge: Judge) -> None:
    from praefect.cli.database import open_records
    from praefect.cli.known import known_repositories
    from praefect.domain.repository import RelativePath, RepositoryNotFoundError, VirtualStorage

    output, is_applied = invocation.output, invocation.switch("apply")
    name = VirtualStorage(invocation.text("virtual-storage"))
    path = RelativePath(invocation.text("repository")) if invocation.is_set("repository") else None
    async with open_records(config, prefix="open database: sql open: ") as datastore:
        failover = Failover(
            datastore=datastore,
            virtual_storage=name,
            judge=judge,
            is_applied=is_applied,
            output=output,
        )
        output.say(f"Virtual storage: {name}")
        try:
            await failover.run(path)
        except RepositoryNotFoundError as exc:
            hints = await known_repositories(config, name, path or "", datastore)
            raise CommandError(str(exc), hints=hints) from exc
    _summarise(failover.tally, output, is_applied=is_applied)


def _virtual_storage(config: PraefectConfig, name: str) -> VirtualStorageConfig:
    from praefect.cli.known import known_virtual_storages
    from praefect.config.quoting import quote

    for virtual in config.virtual_storages:
        if virtual.name == name:
            return virtual
    raise CommandError(f"virtual storage {quote(name)} not found", hints=known_virtual_storages(config, name))


def _choose_judge(config: PraefectConfig, virtual: VirtualStorageConfig, invocation: Invocation) -> Judge:
    from praefect.cli.known import known_storages
    from praefect.config.quoting import quote
    from praefect.domain.failover import move_away, move_to
    from praefect.domain.repository import Storage

    accepts_loss = invocation.switch("accept-dataloss")
    if invocation.is_set("to-designated"):
        name = _designated(config, virtual)
    else:
        name = invocation.text("from") if invocation.is_set("from") else invocation.text("to")
        if name not in [node.storage for node in virtual.nodes]:
            raise CommandError(
                f"virtual storage {quote(virtual.name)} has no storage {quote(name)}",
                hints=known_storages(config, virtual.name, name),
            )
    storage = Storage(name)
    rule = move_away if invocation.is_set("from") else move_to
    return lambda repository: rule(repository, storage, accepts_loss=accepts_loss)


def _designated(config: PraefectConfig, virtual: VirtualStorageConfig) -> str:
    from praefect.config.quoting import quote

    if not config.failover.prefer_designated:
        raise CommandError('"primary = true" is ignored, as failover.prefer_designated is not set')
    for node in virtual.nodes:
        if node.primary:
            return node.storage
    raise CommandError(f'no node of virtual storage {quote(virtual.name)} has "primary = true"')


def document(verdict: Move | Refusal) -> dict[str, object]:
    """Say in a document what becomes of one repository."""
    from praefect.domain.failover import Refusal

    repository = verdict.repository
    said: dict[str, object] = {"relative_path": repository.relative_path, "primary": repository.primary}
    if isinstance(verdict, Refusal):
        return {**said, "moves": False, "reason": verdict.reason}
    loss = None if verdict.loss is None else {"changes": verdict.loss.changes, "held_by": list(verdict.loss.held_by)}
    return {**said, "moves": True, "to": verdict.target, "loss": loss}


def describe(verdict: Move | Refusal) -> str:
    """Write what becomes of one repository."""
    from praefect.domain.failover import Refusal, count_changes

    if isinstance(verdict, Refusal):
        return f"stays on {verdict.repository.primary or 'no storage'}: {verdict.reason}"
    text = f"{verdict.repository.primary or 'no storage'} -> {verdict.target}"
    if verdict.loss is None:
        return text
    holders = f"held by {', '.join(verdict.loss.held_by)}" if verdict.loss.held_by else "held by no configured storage"
    return f"{text}, losing {count_changes(verdict.loss.changes)} or less, {holders}"


def _summarise(tally: Tally, output: Output, *, is_applied: bool) -> None:
    from praefect.domain.failover import count_changes

    verbs = ("moved", "lost") if is_applied else ("would move", "would lose")
    output.result |= {"moved": tally.moved, "refused": tally.refused, "kept": tally.kept}
    output.say(f"{_count(tally.moved)} {verbs[0]}, {tally.refused} cannot move, {tally.kept} already in place.")
    if tally.losing:
        output.say(f"{_count(tally.losing)} {verbs[1]} {count_changes(tally.lost_changes)} or less.")
    if not is_applied:
        output.say("Nothing was changed; -apply moves them.")
    if tally.refused:
        raise CommandError(f"{_count(tally.refused)} cannot move")


def _count(number: int) -> str:
    return "1 repository" if number == 1 else f"{number} repositories"


COMMAND = Command(
    name="failover",
    summary="move primaries to a node, or away from one",
    description='Moves the primaries of repositories to a node (-to), to the node marked "primary = true"\n'
    "(-to-designated), or away from a node before its maintenance (-from). Without -apply it only shows what would\n"
    "move. A primary moves only to a node that the running Praefects see and whose replica is up to date; with\n"
    "-accept-dataloss also to one that is behind, and what the others have beyond it is lost. Exits with 1 if a\n"
    "primary cannot move.\n\n"
    "Example: praefect -config praefect.config.toml failover -virtual-storage default -from gitaly-1 -apply",
    flags=(
        Flag(name="virtual-storage", text="virtual storage of the repositories", required=True),
        Flag(name="repository", text="relative path of a repository; without it all are meant"),
        Flag(name="to", text="storage that becomes primary"),
        Flag(name="from", text="storage that shall be primary of nothing"),
        Flag(name="to-designated", kind=FlagKind.BOOL, text='move to the storage marked "primary = true"'),
        Flag(name="accept-dataloss", kind=FlagKind.BOOL, text="also move to a replica that is behind"),
        Flag(name="apply", kind=FlagKind.BOOL, text="move, and do not only show"),
        FORMAT,
    ),
    run=run,
)
