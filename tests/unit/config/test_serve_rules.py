import pytest

from praefect.config.praefect import parse_config
from praefect.config.sections import LoggingConfig
from praefect.config.serve_rules import logging_fault, serve_faults
from tests.unit.config.config_table import section


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (
            "[reconciliation]\nhistogram_buckets = [1.0, 0.5]",
            ["histogram buckets must be in increasing order: 1.000000 >= 0.500000"],
        ),
        (
            "[prometheus]\ngrpc_latency_buckets = [2, 2, 1]",
            ["histogram buckets must be in increasing order: 2.000000 >= 2.000000"],
        ),
        ("[failover]\nread_error_threshold_count = 1", ["threshold window not set"]),
        ('[failover]\nerror_threshold_window = "1s"', ["write error threshold not set"]),
        (
            '[failover]\nerror_threshold_window = "1s"\nwrite_error_threshold_count = 1',
            ["read error threshold not set"],
        ),
        (
            (
                '[failover]\nerror_threshold_window = "1s"\n'
                "write_error_threshold_count = 1\nread_error_threshold_count = 1"
            ),
            [],
        ),
        ("[failover]\nenabled = false\nread_error_threshold_count = 1", []),
    ],
)
def test_what_the_server_cannot_run_with(text: str, expected: list[str]) -> None:
    assert list(serve_faults(parse_config(section(text).encode()).config)) == expected


@pytest.mark.parametrize("level", ["info", "WARN", "warning", "Trace", "panic"])
@pytest.mark.parametrize("layout", ["text", "json"])
def test_loggers_that_can_be_made(level: str, layout: str) -> None:
    assert logging_fault(LoggingConfig(format=layout, level=level)) is None


def test_loggers_that_cannot_be_made() -> None:
    prefix = "configuring logger: configuring logger:"
    assert logging_fault(LoggingConfig(format="x")) == f'{prefix} invalid logger format "x"'
    assert logging_fault(LoggingConfig(format="")) == f'{prefix} invalid logger format ""'
    assert logging_fault(LoggingConfig(level="x")) == f'{prefix} parse level: not a valid logrus Level: "x"'
