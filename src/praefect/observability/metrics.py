"""Counters, gauges and histograms, and their exposition as Prometheus reads it.

Our own because names are upstream's: some counters there do not end in ``_total`` and some histograms do, which client
libraries do not allow. Numbers print as a Go program prints them, for a bucket's bound is part of its series' identity.

A metric is made by whoever measures and registered by whoever composes the program. A series appears with its first
``labels`` call; ``create`` makes those that shall be there from the start.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from praefect.domain.errors import PraefectError
from praefect.observability.log import get_logger
from praefect.observability.values import format_float

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import timedelta

LATENCY_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 10.0, 30.0, 60.0, 300.0, 1500.0)
"""The default of ``prometheus.grpc_latency_buckets``, in seconds."""

OVERFLOW = "overflow"
"""The value of all labels of the series that counts for those beyond a metric's limit."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


class MetricType(enum.StrEnum):
    """What the TYPE line says."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(slots=True, kw_only=True)
class Family:
    """A metric at the moment of a scrape: its samples as (suffix of the name, labels as text, value)."""

    name: str
    help: str
    type: MetricType
    samples: list[tuple[str, str, float]] = field(default_factory=list)

    def add(self, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Add the sample of one series."""
        self.samples.append(("", _label_text(sorted(labels.items())) if labels else "", value))

    def write(self) -> str:
        """Return the lines of the family; nothing without samples."""
        if not self.samples:
            return ""
        lines = [f"# HELP {self.name} {self.help.translate(_HELP_ESCAPES)}", f"# TYPE {self.name} {self.type}"]
        lines += [
            f"{self.name}{suffix}{{{labels}}} {format_float(value)}"
            if labels
            else f"{self.name}{suffix} {format_float(value)}"
            for suffix, labels, value in self.samples
        ]
        return "\n".join(lines) + "\n"


class Collector(Protocol):
    """What can be registered: gives families when scraped."""

    def collect(self) -> Iterable[Family]:
        """Return the families as they are now."""


class CounterSeries:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count ``amount`` more.

        Raises:
            ValueError: ``amount`` is negative.
        """
        if amount < 0:
            msg = f"counters only go up, not by {amount}"
            raise ValueError(msg)
        self.value += amount

    def samples(self, labels: str) -> list[tuple[str, str, float]]:
        """Return what a scrape sees."""
        return [("", labels, self.value)]


class GaugeSeries:
    """One series of a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value

    def inc(self, amount: float = 1.0) -> None:
        """Add ``amount``."""
        self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        """Take ``amount`` away."""
        self.value -= amount

    def samples(self, labels: str) -> list[tuple[str, str, float]]:
        """Return what a scrape sees."""
        return [("", labels, self.value)]


class HistogramSeries:
    """One series of a histogram; each bucket counts what is above the bound before it and not above its own."""

    __slots__ = ("_bounds", "_counts", "_texts", "sum")

    def __init__(self, bounds: Sequence[float], texts: Sequence[str]) -> None:
        self._bounds = bounds
        self._texts = texts
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Count ``value`` in its bucket."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def samples(self, labels: str) -> list[tuple[str, str, float]]:
        """Return what a scrape sees."""
        prefix = f"{labels}," if labels else ""
        totals = list(itertools.accumulate(self._counts))
        samples: list[tuple[str, str, float]] = [
            ("_bucket", f'{prefix}le="{bound}"', total) for bound, total in zip(self._texts, totals, strict=True)
        ]
        return [*samples, ("_sum", labels, self.sum), ("_count", labels, totals[-1])]


class _Series(Protocol):
    def samples(self, labels: str) -> list[tuple[str, str, float]]: ...


_S = TypeVar("_S", bound=_Series)


class _Metric(Generic[_S]):
    """A name, its labels and its series.

    Args:
        name: as exposed; nothing is appended to it.
        description: the HELP text.
        labels: names of the labels, in the order in which ``labels`` takes their values.
        limit: how many series there can be; further ones share one, since values may come from clients.
    """

    _type: MetricType

    def __init__(
        self,
        name: str,
        description: str,
        labels: Sequence[str] = (),
        *,
        new_series: Callable[[], _S],
        limit: int = 10_000,
    ) -> None:
        for word in (name, *labels):
            if not _NAME.fullmatch(word):
                msg = f"{word!r} is no name for a metric or a label"
                raise ValueError(msg)
        self.name = name
        self._description = description
        self._labels = tuple(labels)
        self._order = sorted(range(len(self._labels)), key=self._labels.__getitem__)
        self._new_series = new_series
        self._limit = limit
        self._series: dict[tuple[str, ...], _S] = {}
        if not labels:
            self.labels()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels, in the order in which ``labels`` takes their values."""
        return self._labels

    def labels(self, *values: str) -> _S:
        """Return the series with these label values, in the order of the metric's labels.

        Raises:
            ValueError: there are too few or too many values.
        """
        series = self._series.get(values)
        return series if series is not None else self._add(values)

    def create(self, *values: Iterable[str]) -> None:
        """Make series for all combinations of the given values, one iterable per label."""
        for combination in itertools.product(*values):
            self.labels(*combination)

    def collect(self) -> Iterable[Family]:
        """Return the metric's only family."""
        family = Family(name=self.name, help=self._description, type=self._type)
        ordered = sorted(self._series.items(), key=lambda item: [item[0][index] for index in self._order])
        for values, series in ordered:
            labels = _label_text([(self._labels[index], values[index]) for index in self._order])
            family.samples += series.samples(labels)
        return (family,)

    def _add(self, values: tuple[str, ...]) -> _S:
        if len(values) != len(self._labels):
            msg = f"{self.name} has the labels {self._labels}, not as many as {values}"
            raise ValueError(msg)
        if len(self._series) >= self._limit:
            values = (OVERFLOW,) * len(self._labels)
        return self._series.setdefault(values, self._new_series())


class Counter(_Metric[CounterSeries]):
    """Counts what happened."""

    _type = MetricType.COUNTER

    def __init__(self, name: str, description: str, labels: Sequence[str] = (), *, limit: int = 10_000) -> None:
        super().__init__(name, description, labels, new_series=CounterSeries, limit=limit)

    def inc(self, amount: float = 1.0) -> None:
        """Count ``amount`` more, for a counter without labels."""
        self.labels().inc(amount)


class Gauge(_Metric[GaugeSeries]):
    """Says how much there is of something."""

    _type = MetricType.GAUGE

    def __init__(self, name: str, description: str, labels: Sequence[str] = (), *, limit: int = 10_000) -> None:
        super().__init__(name, description, labels, new_series=GaugeSeries, limit=limit)

    def set(self, value: float) -> None:
        """Replace the value of a gauge without labels."""
        self.labels().set(value)

    def inc(self, amount: float = 1.0) -> None:
        """Add to a gauge without labels."""
        self.labels().inc(amount)

    def dec(self, amount: float = 1.0) -> None:
        """Take away from a gauge without labels."""
        self.labels().dec(amount)


class Histogram(_Metric[HistogramSeries]):
    """Counts values by size.

    Args:
        buckets: the upper bounds, ascending, without infinity.
    """

    _type = MetricType.HISTOGRAM

    def __init__(
        self, name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float], limit: int = 10_000
    ) -> None:
        bounds = tuple(buckets)
        if any(lower >= upper for lower, upper in itertools.pairwise(bounds)):
            msg = f"the buckets of {name} do not ascend: {bounds}"
            raise ValueError(msg)
        texts = [*map(format_float, bounds), "+Inf"]
        super().__init__(name, description, labels, new_series=lambda: HistogramSeries(bounds, texts), limit=limit)

    def observe(self, value: float) -> None:
        """Count a value, for a histogram without labels."""
        self.labels().observe(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Families that must be asked for elsewhere, and what to log when that fails."""

    ask: Callable[[], Awaitable[Iterable[Family]]]
    component: str
    failure: str


class Registry:
    """The metrics of one page."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors: list[Collector] = []
        self._queries: list[Query] = []
        self._names: set[str] = set()
        self.register(*collectors)

    def register(self, *collectors: Collector) -> None:
        """Put metrics on the page.

        Raises:
            ValueError: a name is on it already.
        """
        for collector in collectors:
            name = getattr(collector, "name", None)
            if name is not None and name in self._names:
                msg = f"metric {name!r} is registered already"
                raise ValueError(msg)
            if name is not None:
                self._names.add(name)
            self._collectors.append(collector)

    def register_query(self, query: Query) -> None:
        """Put metrics on the page that ``scrape`` asks for and ``expose`` leaves out."""
        self._queries.append(query)

    def expose(self) -> bytes:
        """Write the page, families and series in the order of their names."""
        return _write(family for collector in self._collectors for family in collector.collect())

    async def scrape(self, query_timeout: timedelta) -> bytes:
        """Write the page with what its queries answer; a query that fails is logged and left out."""
        families = [family for collector in self._collectors for family in collector.collect()]
        for query in self._queries:
            try:
                async with asyncio.timeout(query_timeout.total_seconds()):
                    families += await query.ask()
            except (PraefectError, TimeoutError) as exc:
                get_logger(query.component).error(query.failure, error=str(exc) or "timed out")
        return _write(families)


def _write(families: Iterable[Family]) -> bytes:
    return "".join([family.write() for family in sorted(families, key=lambda family: family.name)]).encode()


def _label_text(pairs: Iterable[tuple[str, str]]) -> str:
    return ",".join([f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs])
