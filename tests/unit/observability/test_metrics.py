"""Metrics count, and print as Prometheus and upstream's dashboards want them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from praefect.domain.errors import UnavailableError
from praefect.observability.log import capture
from praefect.observability.metrics import (
    LATENCY_BUCKETS,
    Counter,
    Family,
    Gauge,
    Histogram,
    MetricType,
    Query,
    Registry,
)

SOON = timedelta(seconds=5)


def _page(*metrics: Counter | Gauge | Histogram) -> str:
    return Registry(*metrics).expose().decode()


def test_counter_keeps_its_name() -> None:
    counter = Counter("gitaly_praefect_read_distribution", "Reads.", ["virtual_storage", "storage"])
    counter.labels("default", "gitaly-2").inc()
    counter.labels("default", "gitaly-1").inc(2)
    counter.labels("default", "gitaly-1").inc()
    assert _page(counter) == (
        "# HELP gitaly_praefect_read_distribution Reads.\n"
        "# TYPE gitaly_praefect_read_distribution counter\n"
        'gitaly_praefect_read_distribution{storage="gitaly-1",virtual_storage="default"} 3\n'
        'gitaly_praefect_read_distribution{storage="gitaly-2",virtual_storage="default"} 1\n'
    )


def test_counter_does_not_go_down() -> None:
    with pytest.raises(ValueError, match="only go up"):
        Counter("c", "").inc(-1)


def test_gauge_goes_both_ways() -> None:
    gauge = Gauge("g", "Of something.")
    gauge.set(5)
    gauge.inc()
    gauge.dec(2.5)
    assert _page(gauge).endswith("\ng 3.5\n")


def test_histogram_may_end_in_total_and_prints_bounds_as_go_does() -> None:
    histogram = Histogram("size_total", "Sizes.", buckets=(0.005, 1, 1048576))
    for value in (0.005, 0.5, 1, 2):
        histogram.observe(value)
    assert _page(histogram) == (
        "# HELP size_total Sizes.\n"
        "# TYPE size_total histogram\n"
        'size_total_bucket{le="0.005"} 1\n'
        'size_total_bucket{le="1"} 3\n'
        'size_total_bucket{le="1.048576e+06"} 4\n'
        'size_total_bucket{le="+Inf"} 4\n'
        "size_total_sum 3.505\n"
        "size_total_count 4\n"
    )


def test_bound_comes_after_the_labels() -> None:
    histogram = Histogram("h", "", ["type"], buckets=(1,))
    histogram.labels("update").observe(2)
    assert 'h_bucket{type="update",le="1"} 0\n' in _page(histogram)
    assert 'h_sum{type="update"} 2\n' in _page(histogram)


@given(
    bounds=st.lists(st.floats(-1e6, 1e6), unique=True, max_size=8).map(sorted), values=st.lists(st.floats(-1e7, 1e7))
)
def test_buckets_count_what_is_not_above_them(bounds: list[float], values: list[float]) -> None:
    histogram = Histogram("h", "", buckets=bounds)
    for value in values:
        histogram.observe(value)
    samples = histogram.labels().samples("")
    counts = [value for suffix, _, value in samples if suffix == "_bucket"]
    assert counts == [*(sum(value <= bound for value in values) for bound in bounds), len(values)]
    assert histogram.labels().count == len(values)


def test_series_appear_with_their_first_event_or_when_created() -> None:
    counter = Counter("c", "", ["a", "b"])
    assert _page(counter) == ""
    counter.create(["x", "y"], ["1", "2"])
    assert _page(counter).count(" 0\n") == 4


def test_metric_without_labels_is_there_from_the_start() -> None:
    assert _page(Counter("c", "")).endswith("\nc 0\n")
    assert _page(Histogram("h", "", buckets=LATENCY_BUCKETS)).endswith("\nh_sum 0\nh_count 0\n")


def test_labels_are_escaped_and_come_back_whole() -> None:
    gauge = Gauge("g", "Back\\slash and\nnewline.", ["path"])
    value = 'a"b\\c\nd ü'
    gauge.labels(value).set(1)
    page = _page(gauge)
    assert 'g{path="a\\"b\\\\c\\nd ü"} 1\n' in page
    (family,) = text_string_to_metric_families(page)
    assert family.samples[0].labels == {"path": value}
    assert family.documentation == "Back\\slash and\nnewline."


def test_wrong_number_of_label_values_is_refused() -> None:
    counter = Counter("c", "", ["a", "b"])
    with pytest.raises(ValueError, match="c has the labels"):
        counter.labels("x")
    with pytest.raises(ValueError, match="c has the labels"):
        counter.inc()


@pytest.mark.parametrize(("name", "label"), [("a-b", "l"), ("", "l"), ("1a", "l"), ("a", "l m")])
def test_bad_names_are_refused(name: str, label: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        Counter(name, "", [label])


def test_buckets_must_ascend() -> None:
    with pytest.raises(ValueError, match="do not ascend"):
        Histogram("h", "", buckets=(1, 1))


def test_series_beyond_the_limit_share_one() -> None:
    counter = Counter("c", "", ["method"], limit=2)
    for method in ("a", "b", "c", "d", "a"):
        counter.labels(method).inc()
    assert _page(counter).splitlines()[2:] == ['c{method="a"} 2', 'c{method="b"} 1', 'c{method="overflow"} 2']


def test_page_is_sorted_by_name() -> None:
    lines = _page(Counter("b", ""), Gauge("a", ""), Counter("c", "")).splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["a 0", "b 0", "c 0"]


def test_name_is_registered_once() -> None:
    registry = Registry(Counter("c", ""))
    with pytest.raises(ValueError, match="'c' is registered already"):
        registry.register(Gauge("c", ""))


def test_page_is_what_prometheus_reads() -> None:
    counter = Counter("requests_total", "R.", ["code"])
    counter.labels("OK").inc(1234567)
    histogram = Histogram("h", "H.", ["type"], buckets=LATENCY_BUCKETS)
    histogram.labels("update").observe(0.3)
    families = {family.name: family for family in text_string_to_metric_families(_page(counter, histogram))}
    assert families["requests"].samples[0].value == 1234567
    assert families["h"].type == "histogram"
    assert {sample.labels["le"] for sample in families["h"].samples if sample.name == "h_bucket"} >= {"0.001", "1500"}


def _depth(value: float) -> Family:
    family = Family(name="queue_depth", help="Depth.", type=MetricType.GAUGE)
    family.add(value, {"virtual_storage": "default", "state": "ready"})
    return family


def _query(ask: object) -> Query:
    return Query(ask=ask, component="queue_depth_collector", failure="failed to query queue depth metrics")  # type: ignore[arg-type]


async def test_scrape_asks_the_queries() -> None:
    async def ask() -> Iterable[Family]:
        return [_depth(3)]

    registry = Registry(Gauge("z", ""))
    registry.register_query(_query(ask))
    page = (await registry.scrape(SOON)).decode()
    assert 'queue_depth{state="ready",virtual_storage="default"} 3\n' in page
    assert page.endswith("z 0\n")
    assert b"queue_depth" not in registry.expose()


async def test_failing_query_is_logged_and_left_out() -> None:
    async def fail() -> Iterable[Family]:
        raise UnavailableError("database is away")

    async def ask() -> Iterable[Family]:
        return [_depth(1)]

    registry = Registry()
    registry.register_query(_query(fail))
    registry.register_query(_query(ask))
    with capture() as lines:
        page = await registry.scrape(SOON)
    assert page.startswith(b"# HELP queue_depth")
    assert [(line["component"], line["msg"], line["error"]) for line in lines] == [
        ("queue_depth_collector", "failed to query queue depth metrics", "database is away")
    ]


async def test_slow_query_is_left_out() -> None:
    async def hang() -> Iterable[Family]:
        await asyncio.Event().wait()
        return []

    registry = Registry(Gauge("g", ""))
    registry.register_query(_query(hang))
    with capture() as lines:
        page = await registry.scrape(timedelta(milliseconds=5))
    assert page.endswith(b"g 0\n")
    assert lines[0]["error"] == "timed out"
