import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.config.document import Document, parse
from praefect.config.faults import DecodeError
from praefect.config.positions import Path, scan

TEXT = '''# comment with = and [brackets]
a = "x # y" # comment
b.c = [1, [2, "]"], {d = 3}]
"quoted \\u0041" = """
several
lines \\""" still"""
'single.dotted' = \'\'\'raw \\\'\'\'
[table] # name
e = 2026-01-02 03:04:05
[table.inner]
f = {g = {h = "}"}, i = 1}
[[list]]
j = 1
[[list]]
j = 2
[list.below]
k = [
  "one", # first
  "two",
]
[[list.nested]]
l = 0x10
'''


def paths(value: Any, path: Path = ()) -> set[Path]:
    found = {path} if path else set()
    if isinstance(value, dict):
        for name, inner in value.items():
            found |= paths(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found |= paths(inner, (*path, number))
    return found


def test_every_key_of_a_text_has_a_place() -> None:
    places = scan(TEXT).places
    implied = {("b",)}  # named only as part of a dotted key
    assert paths(tomllib.loads(TEXT)) - implied == set(places)


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("a",), 2, 5),
        (("b", "c"), 3, 7),
        (("b", "c", 1, 1), 3, 15),
        (("b", "c", 2, "d"), 3, 26),
        (("quoted A",), 4, 19),
        (("table",), 8, 2),
        (("table", "inner", "f", "i"), 11, 25),
        (("list",), 12, 3),
        (("list", 1, "j"), 15, 5),
        (("list", 1, "below", "k", 1), 19, 3),
        (("list", 1, "nested", 0, "l"), 22, 5),
    ],
)
def test_places_are_those_of_values(path: Path, line: int, column: int) -> None:
    place = scan(TEXT).places[path]
    assert (place.line, place.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\na = 2\n", "toml: key a is already defined"),
        ("[t]\na.b = 1\na.b = 2\n", "toml: key b is already defined"),
        ("[a]\n[b]\n[a]\n", "toml: table a already exists"),
        ("[a.b]\n[a.b]\n", "toml: table b already exists"),
        ("a = 1\n[a]\n", "toml: key a is already defined"),
        ("a = 1\n[[a]]\n", "toml: key a is already defined"),
        ("a = {b = 1, b = 2}\n", "toml: key b is already defined"),
    ],
)
def test_what_stands_twice_is_named_without_a_place(text: str, message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse(text.encode())
    assert str(caught.value) == message
    assert caught.value.position is None


@given(st.text(alphabet="ab.=[]{}\"'# \n\\1,\r", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    fault, document = attempt(text)
    if fault is not None:
        place = fault.position
        assert place is None or (place.line >= 1 and place.column >= 1)
    if document is not None:
        for name in document.values:
            assert document.place((name,)) is not None or "." in text


def attempt(text: str) -> tuple[DecodeError | None, Document | None]:
    try:
        return None, parse(text.encode())
    except DecodeError as exc:
        return exc, None
