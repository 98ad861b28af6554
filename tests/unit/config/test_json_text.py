import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.config.json_text import JsonSyntaxError, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unexpected end of JSON input"),
        (" \n", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ('{"a"', "unexpected end of JSON input"),
        ('"abc', "unexpected end of JSON input"),
        ("nul", "unexpected end of JSON input"),
        ("no", "invalid character 'o' in literal null (expecting 'u')"),
        ("trux", "invalid character 'x' in literal true (expecting 'e')"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("NaN", "invalid character 'N' looking for beginning of value"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("{} {}", "invalid character '{' after top-level value"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        ('["]" 2]', "invalid character '2' after array element"),
        ("{1}", "invalid character '1' looking for beginning of object key string"),
        ('"\t"', "invalid character '\\t' in string literal"),
        ('"\\x"', "invalid character 'x' in string escape code"),
    ],
)
def test_messages_are_gos(text: str, message: str) -> None:
    with pytest.raises(JsonSyntaxError) as caught:
        parse_json(text)
    assert str(caught.value) == message


@given(VALUES)
def test_documents_are_read(value: object) -> None:
    assert parse_json(json.dumps(value)) == value


@given(st.text(alphabet='{}[]:,"\\ntruefals0-. \n', max_size=12))
def test_anything_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(JsonSyntaxError):
        parse_json(text)
