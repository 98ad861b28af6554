"""Loggers: levels, where fields come from, Python's own logging."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Iterator

import pytest

from praefect.observability import log
from praefect.observability.correlation import correlation_scope
from praefect.observability.log import Level, add_request_fields, capture, configure, get_logger, request_fields


@pytest.fixture
def _default_output() -> Iterator[None]:
    """Undo ``configure``, which is for the whole process."""
    output, root = log._output, logging.getLogger()
    saved = (output._render, output._stream, output.threshold)
    handlers, level = list(root.handlers), root.level
    yield
    output._render, output._stream, output.threshold = saved
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)


def test_line_has_message_level_component_pid_and_fields() -> None:
    with capture() as lines:
        get_logger("reconciler").info("reconciliation jobs scheduled", scheduled_jobs=[1])
    assert lines == [
        {
            "level": "info",
            "msg": "reconciliation jobs scheduled",
            "component": "reconciler",
            "pid": os.getpid(),
            "scheduled_jobs": [1],
        }
    ]


def test_empty_component_is_left_out() -> None:
    with capture() as lines:
        get_logger().info("m")
    assert "component" not in lines[0]


def test_fields_may_have_any_name() -> None:
    with capture() as lines:
        get_logger().info("m", message="a", event={"ID": 7}, level="b", **{"grpc.code": "OK", "self": 1})
    assert lines[0]["event"] == {"ID": 7}
    assert lines[0]["message"] == "a"
    assert lines[0]["grpc.code"] == "OK"
    assert lines[0]["self"] == 1


def test_bound_fields_are_in_every_line_and_the_calls_win() -> None:
    logger = get_logger("c").bind(storage="a", component="d")
    with capture() as lines:
        logger.info("m")
        logger.warning("m", storage="b")
    assert [(line["storage"], line["component"]) for line in lines] == [("a", "d"), ("b", "d")]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "fatal"])
def test_each_method_writes_its_level_from_the_threshold_on(level: str) -> None:
    for threshold in Level:
        with capture(threshold) as lines:
            getattr(get_logger(), level)("m")
        assert [line["level"] for line in lines] == ([level] if Level.parse(level) >= threshold else [])
        with capture(threshold):
            assert get_logger().is_enabled(Level.parse(level)) == bool(lines)


def test_error_tells_where_it_comes_from() -> None:
    try:
        int("wrong")
    except ValueError as exc:
        with capture() as lines:
            get_logger().error("m", exc_info=exc)
    assert "'wrong'" in str(lines[0]["error"])
    assert "test_error_tells" in str(lines[0]["backtrace"])


def test_correlation_id_is_in_lines_written_within_its_scope() -> None:
    with capture() as lines:
        get_logger().info("before")
        with correlation_scope("ID"):
            get_logger().info("within")
            get_logger().info("given", correlation_id="other")
        get_logger().info("after")
    assert [line.get("correlation_id") for line in lines] == [None, "ID", "other", None]


def test_request_fields_lie_over_the_loggers_and_end_with_the_request() -> None:
    logger = get_logger("transactions.Manager")
    with capture() as lines:
        with request_fields({"component": "praefect.StreamServerInterceptor", "user_id": "1"}):
            with request_fields({"user_id": "2"}):
                add_request_fields({"route": "r"})
                logger.info("inner")
            logger.info("outer", component="given")
        logger.info("after")
    chosen = [{key: line[key] for key in ("component", "user_id", "route") if key in line} for line in lines]
    assert chosen == [
        {"component": "praefect.StreamServerInterceptor", "user_id": "2", "route": "r"},
        {"component": "given", "user_id": "1"},
        {"component": "transactions.Manager"},
    ]


def test_unconfigured_process_writes_errors_as_text_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    get_logger("c").warning("quiet")
    get_logger("c").error("loud")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(f"level=error msg=loud component=c pid={os.getpid()}\n")
    assert captured.err.count("\n") == 1


@pytest.mark.usefixtures("_default_output")
def test_configured_format_level_and_stream_are_used() -> None:
    stream = io.StringIO()
    configure("json", "warn", stream)
    get_logger("c").info("quiet")
    get_logger("c").warning("loud", a=1)
    assert (
        json.loads(stream.getvalue()).items() >= {"level": "warning", "msg": "loud", "component": "c", "a": 1}.items()
    )


@pytest.mark.usefixtures("_default_output")
def test_terminal_gets_colours() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    configure("text", "info", stream)
    get_logger().info("m")
    assert stream.getvalue().startswith("\x1b[36mINFO")


@pytest.mark.parametrize(
    "name", ["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace", "INFO", "Warn"]
)
def test_level_names_of_the_configuration_are_known(name: str) -> None:
    assert Level.parse(name).name.lower() == {"warn": "warning"}.get(name.lower(), name.lower())


@pytest.mark.usefixtures("_default_output")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_the_stream_cannot_encode_is_escaped(log_format: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    configure(log_format, "info", stream)
    get_logger().info("m", path="a\udcffb", name="ü")
    assert raw.getvalue().endswith(b"\n")
    assert b"udcff" in raw.getvalue()


@pytest.mark.usefixtures("_default_output")
def test_broken_stream_does_not_end_the_work() -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    configure("json", "info", Broken())
    get_logger().info("m")


def test_unknown_level_and_format_are_refused_by_upstreams_text() -> None:
    with pytest.raises(ValueError, match=r'^not a valid logrus Level: "loud"$'):
        configure("json", "loud")
    with pytest.raises(ValueError, match=r'^invalid logger format ""$'):
        configure("", "info")


@pytest.mark.usefixtures("_default_output")
def test_lines_of_libraries_are_written_too() -> None:
    stream = io.StringIO()
    configure("json", "info", stream)
    library = logging.getLogger("some.library")
    library.info("quiet")
    library.warning("%s failed", "it")
    try:
        int("wrong")
    except ValueError:
        library.exception("loud")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.items() >= {"level": "warning", "msg": "it failed", "component": "some.library"}.items()
    assert second.items() >= {"level": "error", "msg": "loud", "component": "some.library"}.items()
    assert "'wrong'" in second["error"]
    assert "ValueError: invalid literal" in second["backtrace"]


@pytest.mark.usefixtures("_default_output")
def test_libraries_may_say_more_at_level_debug_and_once_after_reconfiguring() -> None:
    stream = io.StringIO()
    configure("json", "info", io.StringIO())
    configure("json", "debug", stream)
    logging.getLogger("some.library").info("detail")
    logging.getLogger("some.library").debug("more detail")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == ["info", "debug"]


@pytest.mark.usefixtures("_default_output")
def test_python_warnings_become_lines() -> None:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure("json", "info", stream)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    line = json.loads(stream.getvalue())
    assert line["level"] == "warning"
    assert "DeprecationWarning: old" in line["msg"]
