"""A model of writes, leases, doubts and settlements: two proxies with a write each, three nodes, one database.

Every action that may happen next is a function from a state to states. Nothing has a duration: whatever may be late is
late in some run. Faults are counted, so that the runs are finitely many. The assumptions are those of
docs/consistency.md: a lease is buried only after its holder knows it has lapsed or cannot know anything (A1), and what
a dead process has sent has arrived or is lost by then (A2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

T = TypeVar("T")

IDLE, OPENED, FORWARDED, CHECKED, SENT, ACKED, UNKNOWN = range(7)
RUNNING, STOPPED, DEAD = range(3)
NODES = (0, 1, 2)
PROXIES = (0, 1)
FREE = 9
"""Owner of a doubt that is nobody's."""


class Proxy(NamedTuple):
    status: int = RUNNING
    may_commit: bool = True
    incarnation: int = 1
    phase: int = IDLE
    opened_in: int = 0  # the incarnation that opened its doubt
    members: int = 0  # the nodes that take part, as bits
    applied: int = 0  # those it knows to have committed
    is_late: bool = False  # it may have committed past its lease, and nobody has been told
    snapshot: tuple[int, int, tuple[int, ...], tuple[tuple[int, int] | None, ...]] | None = None


class State(NamedTuple):
    proxies: tuple[Proxy, Proxy] = (Proxy(), Proxy())
    masks: tuple[int, ...] = (0, 0, 0)  # the writes each node has applied
    prepared: tuple[int, ...] = (0, 0, 0)  # the writes each node waits to commit
    nodes_up: int = 7
    database_up: bool = True
    generation: int = 0
    generations: tuple[int, ...] = (0, 0, 0)
    leases: tuple[int, int] = (1, 1)  # the incarnation whose lease is stored, 0 for none
    doubts: tuple[tuple[int, int] | None, ...] = (None, None)  # owner and 1 if it was taken over
    opened_in: tuple[int, ...] = (0, 0)
    untouched: tuple[int, ...] = (
        0,
        0,
    )  # the nodes at the generation when a doubt was opened, less those copied to since
    flight: tuple[int, int] = (0, 0)  # COMMITs on their way, a bit per node
    acknowledged: int = 0
    faults: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is explored.

    Attributes:
        doubts: whether doubts are kept; without them the model must find what is wrong then.
        reopens: whether a process that lost its doubt has the repository settled again.
        conditional: whether a comparison is recorded only if nothing has changed since.
        waits: whether a doubt is given up only after what was sent has arrived or is lost (A2).
        excludes_copies: whether a write counts only replicas that were not copied to since it began.
        writers: how many of the proxies write; the other one may settle all the same.
        faults: how many faults may happen.
    """

    doubts: bool = True
    reopens: bool = True
    conditional: bool = True
    waits: bool = True
    excludes_copies: bool = True
    writers: int = 2
    faults: int = 2


class Violation(NamedTuple):
    invariant: str
    trace: tuple[str, ...]


def explore(rules: Rules, *, depth: int = 1000) -> tuple[int, Violation | None]:
    """Look at every state within ``depth`` steps; return how many there are, and the shortest way to a violation."""
    first = State()
    came: dict[State, tuple[State, str] | None] = {first: None}
    waiting = deque([(first, 0)])
    while waiting:
        state, steps_so_far = waiting.popleft()
        broken = violated(state)
        if broken is not None:
            return len(came), Violation(broken, _trace(came, state))
        if steps_so_far == depth:
            continue
        for name, following in steps(state, rules):
            if following not in came:
                came[following] = (state, name)
                waiting.append((following, steps_so_far + 1))
    return len(came), None


def replay(rules: Rules, trace: tuple[str, ...]) -> str | None:
    """Follow a run by the names of its steps as far as the rules allow it; return the invariant it breaks."""
    state = State()
    for wanted in trace:
        following = dict(steps(state, rules)).get(wanted)
        if following is None:
            return None
        state = following
        broken = violated(state)
        if broken is not None:
            return broken
    return None


def _trace(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    names = []
    while (step := came[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))


# --- invariants ---


def violated(state: State) -> str | None:
    """Return the name of an invariant that does not hold."""
    current = [node for node in NODES if state.generations[node] == state.generation]
    if not current:
        return "somebody holds the generation"
    if any(state.masks[node] & state.acknowledged != state.acknowledged for node in current):
        return "every current replica holds every acknowledged write"
    if is_quiet(state) and len({state.masks[node] for node in current}) > 1:
        return "current replicas are equal once nothing is under way"
    return None


def is_quiet(state: State) -> bool:
    """Return whether nothing is under way and nobody is about to look for anything."""
    if state.doubts != (None, None) or state.flight != (0, 0) or any(state.prepared):
        return False
    return all(
        proxy.status == DEAD or (proxy.phase in (IDLE, ACKED, UNKNOWN) and proxy.snapshot is None)
        for proxy in state.proxies
    )


# --- steps ---


def steps(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    """Yield what may happen next."""
    for number in PROXIES:
        if state.proxies[number].status == RUNNING:
            if number < rules.writers:
                yield from _write(state, rules, number)
            yield from _keep_lease(state, rules, number)
            yield from _settle(state, rules, number)
    yield from _nodes(state)
    if state.faults < rules.faults:
        yield from ((name, after._replace(faults=state.faults + 1)) for name, after in _faults(state))
    yield from _recoveries(state)


def _with(state: State, number: int, **changes: object) -> State:
    proxies = list(state.proxies)
    proxies[number] = proxies[number]._replace(**changes)  # type: ignore[arg-type]
    return state._replace(proxies=(proxies[0], proxies[1]))


def _put(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _is_lapsed(state: State, write: int) -> bool:
    doubt = state.doubts[write]
    if doubt is None:
        return False
    owner, taken = doubt
    if taken or owner == FREE:
        return True
    return state.leases[owner] != state.opened_in[write]


def _unsettled(state: State) -> bool:
    return any(_is_lapsed(state, write) for write in PROXIES)


def _bits(mask: int) -> list[int]:
    return [node for node in NODES if mask >> node & 1]


def _current(state: State) -> int:
    return sum(1 << node for node in NODES if state.generations[node] == state.generation)


def _write(state: State, rules: Rules, number: int) -> Iterator[tuple[str, State]]:
    proxy = state.proxies[number]
    name = f"proxy {number}"
    if proxy.phase == IDLE and state.database_up and proxy.may_commit:
        members = _current(state) & state.nodes_up
        if not rules.doubts:
            yield f"{name} routes", _with(state, number, phase=OPENED, members=members, opened_in=proxy.incarnation)
        elif state.leases[number] == proxy.incarnation and not _unsettled(state):
            after = _with(state, number, phase=OPENED, members=members, opened_in=proxy.incarnation)
            yield (
                f"{name} opens its doubt",
                after._replace(
                    doubts=_put(state.doubts, number, (number, 0)),
                    opened_in=_put(state.opened_in, number, proxy.incarnation),
                    untouched=_put(state.untouched, number, _current(state)),
                ),
            )
    elif proxy.phase == OPENED:
        if proxy.may_commit and proxy.opened_in == proxy.incarnation and proxy.members & state.nodes_up:
            members = proxy.members & state.nodes_up
            prepared = tuple(
                writes | (1 << number) if members >> node & 1 else writes for node, writes in enumerate(state.prepared)
            )
            yield f"{name} forwards", _with(state, number, phase=FORWARDED)._replace(prepared=prepared)
    elif proxy.phase == FORWARDED:
        votes = [node for node in _bits(proxy.members) if state.prepared[node] >> number & 1]
        primary = min(_bits(proxy.members))
        # Three participants: the primary and one more; else the primary alone decides.
        quorum = primary in votes and (len(_bits(proxy.members)) < 3 or len(votes) >= 2)
        if quorum and proxy.may_commit:
            yield f"{name} decides to commit", _with(state, number, phase=CHECKED)
    elif proxy.phase == CHECKED:
        # Whoever was stopped right here sends what it had decided before.
        votes_mask = sum(1 << node for node in _bits(proxy.members) if state.prepared[node] >> number & 1)
        late = rules.doubts and not (state.leases[number] == proxy.opened_in and state.doubts[number] == (number, 0))
        after = _with(state, number, phase=SENT, is_late=late)
        yield f"{name} sends", after._replace(flight=_pair(state.flight, number, votes_mask))
    elif proxy.phase == SENT and state.database_up and proxy.applied & proxy.members & -proxy.members:
        # A secondary that has not answered is not waited for; it falls behind.
        yield f"{name} records", _record(state, rules, number)
    if proxy.phase == FORWARDED and state.faults:
        # The primary's call broke, and no vote was committed: certainly without effect.
        own = state.doubts[number] == (number, 0)
        after = _with(state, number, phase=UNKNOWN)
        yield f"{name} closes its doubt", after._replace(doubts=_put(state.doubts, number, None)) if own else after
    may_give_up = not (rules.waits and state.flight[number])
    if proxy.phase in (OPENED, FORWARDED, SENT) and state.database_up and state.faults and may_give_up:
        # A call broke, or the lease was lost: nobody knows the outcome.
        yield f"{name} gives up", _give_up(state, rules, number)


def _record(state: State, rules: Rules, number: int) -> State:
    proxy = state.proxies[number]
    if rules.doubts and not (state.doubts[number] == (number, 0) and state.opened_in[number] == proxy.opened_in):
        # Not recorded, and told so only when nothing is on its way any more.
        return state if rules.waits and state.flight[number] else _give_up(state, rules, number)
    counted = proxy.applied & state.untouched[number] if rules.doubts and rules.excludes_copies else proxy.applied
    raised = [node for node in _bits(counted) if state.generations[node] == state.generation]
    if not raised:
        return state if rules.waits and state.flight[number] else _give_up(state, rules, number)
    after = _with(state, number, phase=ACKED, is_late=False)
    after = after._replace(doubts=_put(state.doubts, number, None))
    generations = tuple(value + 1 if node in raised else value for node, value in enumerate(state.generations))
    return after._replace(
        generations=generations,
        generation=state.generation + 1,
        acknowledged=state.acknowledged | 1 << number,
    )


def _give_up(state: State, rules: Rules, number: int) -> State:
    after = _with(state, number, phase=UNKNOWN, is_late=False)
    if not rules.doubts:
        return after
    if state.doubts[number] == (number, 0) or rules.reopens:
        return after._replace(doubts=_put(state.doubts, number, (FREE, 0)))
    return after


def _keep_lease(state: State, rules: Rules, number: int) -> Iterator[tuple[str, State]]:
    proxy = state.proxies[number]
    if not (rules.doubts and state.database_up):
        return
    name = f"proxy {number}"
    if state.leases[number] == proxy.incarnation:
        if not proxy.may_commit:
            yield f"{name} renews its lease", _with(state, number, may_commit=True)
    else:
        # Its transactions are aborted; what it had decided to send has been sent by its own call.
        incarnation = proxy.incarnation + 1
        after = _with(state, number, may_commit=True, incarnation=incarnation)
        yield f"{name} begins a new incarnation", after._replace(leases=_pair(state.leases, number, incarnation))
    for other in PROXIES:
        holder = state.proxies[other]
        is_gone = not state.flight[other]  # A2
        if other != number and state.leases[other] and not holder.may_commit and is_gone:
            yield f"{name} buries the lease of proxy {other}", state._replace(leases=_pair(state.leases, other, 0))


def _settle(state: State, rules: Rules, number: int) -> Iterator[tuple[str, State]]:
    proxy = state.proxies[number]
    if not (rules.doubts and state.database_up) or state.leases[number] != proxy.incarnation:
        return
    name = f"proxy {number}"
    if proxy.snapshot is None and _unsettled(state):
        doubts = tuple(
            (number, 1) if _is_lapsed(state, write) and not _owned(state, write, number) else state.doubts[write]
            for write in PROXIES
        )
        current = _current(state)
        if current & state.nodes_up and all(not _is_lapsed(state, w) or doubts[w] == (number, 1) for w in PROXIES):
            states = tuple(state.masks[node] if state.nodes_up >> node & 1 else -1 for node in NODES)
            after = _with(state, number, snapshot=(state.generation, current, states, doubts))
            yield f"{name} takes over and compares", after._replace(doubts=doubts)
    elif proxy.snapshot is not None:
        after = _with(state, number, snapshot=None)
        generation, current, states, doubts = proxy.snapshot
        lapsed = [write for write in PROXIES if _is_lapsed(state, write)]
        unchanged = (
            (state.generation, _current(state)) == (generation, current)
            and all(doubts[write] == state.doubts[write] == (number, 1) for write in lapsed)
            and lapsed == [write for write in PROXIES if doubts[write] == (number, 1)]
        )
        if rules.conditional and not unchanged:
            yield f"{name} finds its comparison overtaken", after
            return
        yield f"{name} settles", _keep_majority(after, current, states, lapsed)


def _owned(state: State, write: int, number: int) -> bool:
    """Return whether a doubt that was taken over still belongs to another process that lives."""
    doubt = state.doubts[write]
    if doubt is None or not doubt[1] or doubt[0] == number:
        return False
    return state.leases[doubt[0]] == state.proxies[doubt[0]].incarnation


def _keep_majority(state: State, current: int, states: tuple[int, ...], lapsed: list[int]) -> State:
    known = [node for node in _bits(current) if states[node] >= 0]
    held = [states[node] for node in known]
    best = max(known, key=lambda node: (held.count(states[node]), -node))
    winners = [node for node in known if states[node] == states[best]]
    doubts: tuple[tuple[int, int] | None, ...] = tuple(
        None if write in lapsed else state.doubts[write] for write in PROXIES
    )
    state = state._replace(doubts=doubts)
    if len(winners) == len(_bits(current)):
        return state
    generations = tuple(
        value + 1 if node in winners and value == state.generation else value
        for node, value in enumerate(state.generations)
    )
    return state._replace(generations=generations, generation=state.generation + 1)


def _nodes(state: State) -> Iterator[tuple[str, State]]:
    for write in PROXIES:
        proxy = state.proxies[write]
        for node in NODES:
            bit = 1 << node
            is_prepared = state.prepared[node] >> write & 1
            if state.flight[write] & bit and state.nodes_up & bit:
                after = state._replace(flight=_pair(state.flight, write, state.flight[write] & ~bit))
                if is_prepared:
                    after = after._replace(
                        masks=_put(state.masks, node, state.masks[node] | 1 << write),
                        prepared=_put(state.prepared, node, state.prepared[node] & ~(1 << write)),
                    )
                    if proxy.status != DEAD:
                        after = _with(after, write, applied=proxy.applied | bit)
                yield f"node {node} hears of the commit of write {write}", after
            elif is_prepared and not state.flight[write] & bit and (proxy.status == DEAD or proxy.phase >= ACKED):
                prepared = _put(state.prepared, node, state.prepared[node] & ~(1 << write))
                yield f"node {node} drops write {write}", state._replace(prepared=prepared)
    if state.database_up and not _unsettled(state):
        yield from _repairs(state)


def _repairs(state: State) -> Iterator[tuple[str, State]]:
    sources = _bits(_current(state) & state.nodes_up)
    for target in NODES:
        if not state.nodes_up >> target & 1 or state.generations[target] >= state.generation:
            continue
        for source in sources:
            # What git has locked for a write that waits cannot be overwritten.
            if (state.masks[source] ^ state.masks[target]) & state.prepared[target]:
                continue
            yield (
                f"node {target} is repaired from {source}",
                state._replace(
                    masks=_put(state.masks, target, state.masks[source]),
                    generations=_put(state.generations, target, state.generations[source]),
                    untouched=tuple(nodes & ~(1 << target) for nodes in state.untouched),
                ),
            )


def _faults(state: State) -> Iterator[tuple[str, State]]:
    for number, proxy in enumerate(state.proxies):
        if proxy.status == RUNNING:
            yield f"proxy {number} is stopped", _with(state, number, status=STOPPED)
        if proxy.status != DEAD and not proxy.is_late:  # A3
            yield f"proxy {number} is killed", _with(state, number, status=DEAD, snapshot=None)
        if proxy.status == RUNNING and proxy.may_commit:
            yield f"proxy {number} loses its database", _with(state, number, may_commit=False)
        for node in NODES:
            if state.flight[number] >> node & 1:
                flight = _pair(state.flight, number, state.flight[number] & ~(1 << node))
                yield f"the commit of write {number} to node {node} is lost", state._replace(flight=flight)
    for node in NODES:
        if state.nodes_up >> node & 1:
            after = state._replace(nodes_up=state.nodes_up & ~(1 << node), prepared=_put(state.prepared, node, 0))
            yield f"node {node} crashes", after
    if state.database_up:
        yield "the database goes away", state._replace(database_up=False)


def _recoveries(state: State) -> Iterator[tuple[str, State]]:
    for number, proxy in enumerate(state.proxies):
        if proxy.status == STOPPED:
            yield f"proxy {number} wakes up", _with(state, number, status=RUNNING)
        if proxy.may_commit and (proxy.status != RUNNING or not state.database_up):
            yield f"the lease of proxy {number} lapses", _with(state, number, may_commit=False)
        if proxy.status == DEAD:
            for node in _bits(state.flight[number]):
                flight = _pair(state.flight, number, state.flight[number] & ~(1 << node))
                yield f"a last word to node {node} is lost", state._replace(flight=flight)
    for node in NODES:
        if not state.nodes_up >> node & 1:
            yield f"node {node} returns", state._replace(nodes_up=state.nodes_up | 1 << node)
    if not state.database_up:
        yield "the database returns", state._replace(database_up=True)


def _pair(values: tuple[int, int], index: int, value: int) -> tuple[int, int]:
    return (value, values[1]) if index == 0 else (values[0], value)
