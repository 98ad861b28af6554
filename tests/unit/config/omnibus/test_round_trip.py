"""Whatever value is written in Ruby, in whichever of its spellings, is read as that value."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from praefect.config.omnibus.parser import parse
from praefect.config.omnibus.surroundings import Surroundings
from praefect.config.omnibus.syntax import Assignment, Expression, Sequence, Table

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\r")
TEXTS = st.text(CHARACTERS, max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def plain(expression: Expression) -> Any:
    if isinstance(expression, Sequence):
        return [plain(item) for item in expression.items]
    if isinstance(expression, Table):
        return {pair.name: plain(pair.value) for pair in expression.pairs}
    return Surroundings({}).plain(expression)


def read(text: str) -> Any:
    (statement,) = parse(f"x['y'] = {text}\n".encode(), "gitlab.rb")
    assert isinstance(statement, Assignment)
    return plain(statement.value)


def single(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def double(text: str) -> str:
    return '"' + "".join(f"\\u{{{ord(c):x}}}" if c in '"\\#' or not c.isprintable() else c for c in text) + '"'


def octal(text: str) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in text.encode()) + '"'


def percent(text: str) -> str:
    return "%q(" + "".join(f"\\{c}" if c in "()\\" else c for c in text) + ")"


SPELLINGS = (single, double, octal, percent)


class Writer:
    """Writes values as Ruby, drawing each choice of spelling."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def choose(self, *choices: Any) -> Any:
        return self._data.draw(st.sampled_from(choices))

    def text(self, text: str) -> str:
        return str(self.choose(*SPELLINGS)(text))

    def space(self) -> str:
        return str(self.choose("", " ", "\n", " # note, ' \" }\n", " \\\n", "\n\t\n"))

    def write(self, value: Any) -> str:
        match value:
            case None:
                return "nil"
            case bool():
                return "true" if value else "false"
            case int() | float():
                return repr(value)
            case str():
                return self.text(value)
            case list():
                return self.joined("[", [self.write(item) for item in value], "]")
            case _:
                return self.joined("{", [self.pair(key, inner) for key, inner in value.items()], "}")

    def pair(self, key: str, value: Any) -> str:
        written = self.choose(f"{self.text(key)} =>", f"{double(key)}:", f":{double(key)} =>")
        return f"{written}{self.choose(' ', chr(10))}{self.write(value)}"

    def joined(self, opening: str, items: list[str], closing: str) -> str:
        comma = self.choose(",", "") if items else ""
        inner = f",{self.space()}".join(items)
        return f"{opening}{self.space()}{inner}{comma}{self.space()}{closing}"


@given(VALUES, st.data())
def test_values(value: Any, data: st.DataObject) -> None:
    assert read(Writer(data).write(value)) == value


@given(st.text(CHARACTERS.filter(lambda c: c not in "\n\r"), max_size=30).filter(lambda line: line != "_E"))
def test_lines_of_a_heredoc(line: str) -> None:
    assert read(f"<<'_E'\n{line}\n_E") == f"{line}\n"


@given(st.lists(st.text(CHARACTERS.filter(lambda c: not c.isspace()), min_size=1, max_size=5), max_size=5))
def test_words(words: list[str]) -> None:
    escaped = ("".join(f"\\{c}" if c in "[]\\" else c for c in word) for word in words)
    assert read(f"%w[ {'  '.join(escaped)} ]") == words
