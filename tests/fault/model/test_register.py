"""The checker itself: what it accepts, and that it finds what is wrong."""

from __future__ import annotations

import pytest

from tests.fault.checks.references import Outage, check_references
from tests.fault.model.history import ABSENT, Answer, History, Read, Reference, Write
from tests.fault.traffic.clients import _conclude_push

REFERENCE = Reference("r.git", "refs/heads/a")


def _write(
    old: str,
    new: str,
    began: float,
    ended: float,
    answer: Answer = Answer.ACKNOWLEDGED,
    praefect: str = "praefect",
) -> Write:
    return Write(
        reference=REFERENCE,
        old=old,
        new=new,
        answer=answer,
        began=began,
        ended=ended,
        praefect=praefect,
        method="WriteRef",
    )


def _read(value: str, began: float, ended: float, praefect: str = "praefect") -> Read:
    return Read(reference=REFERENCE, value=value, began=began, ended=ended, praefect=praefect, method="ListRefs")


def _broken(*events: Write | Read, final: str, initial: str = "0", outages: tuple[Outage, ...] = ()) -> list[str]:
    history = History(
        writes=[event for event in events if isinstance(event, Write)],
        reads=[event for event in events if isinstance(event, Read)],
    )
    found = check_references(history, {REFERENCE: initial}, {REFERENCE: final}, outages)
    return sorted({violation.guarantee for violation in found})


LOST = "writes are linearizable and no acknowledged write is lost"
STALE = "a read sees every write acknowledged before it began"
REFUSED = "no refused write ever becomes visible"
UNKNOWN = "a read returns what was written"


def test_writes_in_a_row_are_accepted() -> None:
    assert _broken(_write("0", "1", 0, 1), _write("1", "2", 2, 3), _read("2", 4, 5), final="2") == []


def test_lost_write_is_found() -> None:
    assert _broken(_write("0", "1", 0, 1), _write("1", "2", 2, 3), final="1") == [LOST]


def test_two_successors_of_one_value_are_found() -> None:
    assert _broken(_write("0", "1", 0, 9), _write("0", "2", 0, 9), final="2") == [LOST]


def test_order_against_real_time_is_found() -> None:
    assert _broken(_write("1", "2", 0, 1), _write("0", "1", 2, 3), final="2") == [LOST]


@pytest.mark.parametrize("final", ["0", "1"])
def test_write_in_doubt_may_go_either_way(final: str) -> None:
    assert _broken(_write("0", "1", 0, 1, Answer.IN_DOUBT), final=final) == []


def test_write_in_doubt_may_happen_late() -> None:
    late = _write("1", "2", 0, 1, Answer.IN_DOUBT)
    assert _broken(late, _write("0", "1", 5, 6), _write("2", "3", 7, 8), final="3") == []


def test_refused_write_that_is_seen_is_found() -> None:
    assert _broken(_write("0", "1", 0, 1, Answer.REFUSED), _read("1", 2, 3), final="0") == [REFUSED]


def test_refused_write_at_the_end_is_found() -> None:
    assert REFUSED in _broken(_write("0", "1", 0, 1, Answer.REFUSED), final="1")


def test_stale_read_is_found() -> None:
    assert _broken(_write("0", "1", 0, 1), _read("0", 2, 3), final="1") == [STALE]


def test_concurrent_writes_are_read_in_any_order() -> None:
    assert _broken(_write("0", "1", 0, 9), _read("1", 2, 3), _read("0", 4, 5), final="1") == []


def test_read_from_the_future_is_found() -> None:
    assert _broken(_read("1", 0, 1), _write("0", "1", 2, 3), final="1") == [STALE]


def test_value_nobody_wrote_is_found() -> None:
    assert _broken(_read("7", 0, 1), final="0") == [UNKNOWN]


def test_write_in_doubt_may_be_seen_and_undone() -> None:
    assert _broken(_write("0", "1", 0, 1, Answer.IN_DOUBT), _read("1", 2, 3), final="0") == []


def test_another_praefect_learns_a_moment_later_and_no_later() -> None:
    write = _write("0", "1", 0, 1, praefect="praefect-2")
    assert _broken(write, _read("0", 1.5, 1.6), final="1") == []
    assert _broken(write, _read("0", 2.5, 2.6), final="1") == [STALE]


def test_reads_during_an_outage_may_be_stale() -> None:
    outage = Outage("", 2, 3)
    assert _broken(_write("0", "1", 0, 1), _read("0", 2, 3), final="1", outages=(outage,)) == []
    assert _broken(_write("0", "1", 0, 1), _read("0", 4, 5), final="1", outages=(outage,)) == [STALE]


def test_deleted_and_made_again() -> None:
    events = (_write("0", ABSENT, 0, 1), _write(ABSENT, "1", 2, 3), _write("1", ABSENT, 4, 5), _read(ABSENT, 6, 7))
    assert _broken(*events, final=ABSENT) == []


PUSHED = "To http://x\n*\tabc:refs/heads/a\t[new branch]\nDone\n"


@pytest.mark.parametrize(
    ("code", "output", "answer"),
    [
        (0, PUSHED, Answer.ACKNOWLEDGED),
        (1, PUSHED, Answer.IN_DOUBT),
        (1, "!\tabc:refs/heads/a\t[remote rejected] (no)\n", Answer.REFUSED),
        (1, "!\tabc:refs/heads/a\t[rejected] (stale info)\n", Answer.REFUSED),
        (1, "!\tabc:refs/heads/a\t[remote failure] (remote failed to report status)\n", Answer.IN_DOUBT),
        (128, "", Answer.IN_DOUBT),
        (0, "*\tabc:refs/heads/b\t[new branch]\n", Answer.IN_DOUBT),
    ],
)
def test_what_a_push_says(code: int, output: str, answer: Answer) -> None:
    assert _conclude_push(code, output, "refs/heads/a") is answer
