"""Lines have upstream's layout in each format."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from praefect.observability.rendering import render_json, render_text, terminal_renderer

AT = 1771902245.123


def test_text_line_as_the_reference_shows_it() -> None:
    line = render_text(AT, "info", "Starting Praefect", {"pid": 17, "version": "18.9.0"})
    assert line == 'time="2026-02-24T03:04:05.123Z" level=info msg="Starting Praefect" pid=17 version=18.9.0'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "version="),
        ("a-b._/@^+Z9", "version=a-b._/@^+Z9"),
        ("a b", 'version="a b"'),
        ("a:b", 'version="a:b"'),
        ("ü", 'version="ü"'),
        ('"', r'version="\""'),
        ("a\nlevel=error", r'version="a\nlevel=error"'),
        ([0.001, 0.005, 0.025], 'version="[0.001 0.005 0.025]"'),
        ({"interval": timedelta(hours=168)}, 'version="map[interval:168h0m0s]"'),
        (ValueError("no"), "version=no"),
        (None, 'version="<nil>"'),
        (True, "version=true"),
    ],
)
def test_text_quotes_what_is_no_word(value: object, text: str) -> None:
    assert render_text(AT, "info", "m", {"version": value}).partition("msg=m ")[2] == text


def test_text_sorts_fields_and_keeps_time_level_and_message_first() -> None:
    line = render_text(AT, "warning", "m", {"b": 1, "a": 2, "pid": 3})
    assert line.partition(" ")[2] == "level=warning msg=m a=2 b=1 pid=3"


@pytest.mark.parametrize("render", [render_text, render_json])
def test_clashing_fields_are_renamed(render: object) -> None:
    assert callable(render)
    line = render(AT, "info", "m", {"time": "t", "level": "l", "msg": "x"})
    for name in ("fields.time", "fields.level", "fields.msg"):
        assert name in line


def test_json_line_as_the_reference_shows_it() -> None:
    fields = {"grpc.code": "NotFound", "grpc.time_ms": 1.92, "pid": 17, "error_metadata": {"storage_name": "default"}}
    assert render_json(AT, "info", "finished streaming call with code NotFound", fields) == (
        '{"error_metadata":{"storage_name":"default"},"grpc.code":"NotFound","grpc.time_ms":1.92,"level":"info",'
        '"msg":"finished streaming call with code NotFound","pid":17,"time":"2026-02-24T03:04:05.123Z"}'
    )


def test_json_escapes_markup_and_stays_one_line() -> None:
    line = render_json(AT, "info", "<a> & b\u2028\n", {"k<": "ü"})
    assert line.startswith(r'{"k\u003c":"ü","level":"info","msg":"\u003ca\u003e \u0026 b\u2028\n"')
    assert json.loads(line)["msg"] == "<a> & b\u2028\n"


def test_json_takes_any_value() -> None:
    fields = {
        "error": ValueError("no"),
        "config": {"verification_interval": timedelta(hours=168)},
        "names": {"b", "a"},
        "mixed": {1: "x", "y": 2},
        "raw": b"x",
    }
    line = json.loads(render_json(AT, "error", "m", fields))
    assert line["error"] == "no"
    assert line["config"] in ({"verification_interval": "168h0m0s"}, "map[verification_interval:168h0m0s]")
    assert "1" in line["mixed"]
    assert line["raw"] == "x"


def test_unsortable_keys_do_not_lose_the_line() -> None:
    assert json.loads(render_json(AT, "info", "m", {"mixed": {1: "x", "y": 2}}))["msg"] == "m"


def test_terminal_line_has_colour_and_seconds_since_the_start() -> None:
    line = terminal_renderer(AT - 3.5)(AT, "info", "message", {"key": "a value"})
    assert line == f'\x1b[36mINFO\x1b[0m[0003] {"message":<44} \x1b[36mkey\x1b[0m="a value"'
