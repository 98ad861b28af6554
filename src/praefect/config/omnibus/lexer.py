"""From the text of a gitlab.rb to tokens. What has no place in a declarative file is refused here already.

Ruby cannot be cut into words without knowing what stands before: ``<<EOS`` begins a heredoc where a value is expected
and is an operator elsewhere. The rules here are those of the subset.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from praefect.config.omnibus import strings
from praefect.config.omnibus.cursor import Cursor
from praefect.config.omnibus.faults import Place
from praefect.config.omnibus.strings import Quotes
from praefect.config.omnibus.tokens import Kind, Part, Token

MOST_INTERPOLATIONS: Final = 16

_BLANK: Final = re.compile(r"(?:[ \t\r\f\v]|\\\n)+")
_COMMENT: Final = re.compile(r"#[^\n]*")
_BLOCK_COMMENT: Final = re.compile(r"=begin\b")
_END_OF_BLOCK_COMMENT: Final = re.compile(r"=end\b")
_END_OF_PROGRAM: Final = re.compile(r"__END__(?:\n|\Z)")
_NAME: Final = re.compile(r"[^\W\d]\w*[?!]?")
_NUMBER: Final = re.compile(
    r"(?P<sign>[+-]?)(?:0[xX](?P<hex>[0-9a-fA-F_]+)|0[bB](?P<bin>[01_]+)|0[dD](?P<dec>[0-9_]+)|0[oO]?(?P<oct>[0-9_]+)"
    r"|(?P<float>[0-9][0-9_]*(?:\.[0-9][0-9_]*(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+))|(?P<int>[0-9][0-9_]*))(?P<rest>\w*)"
)
_BASES: Final = {"hex": 16, "bin": 2, "dec": 10, "oct": 8, "int": 10}
_HEREDOC: Final = re.compile(r"<<(?P<indent>[-~]?)(?P<quote>[\"'`]?)(?P<name>[^\W\d]\w*)(?P=quote)")
_PERCENT: Final = re.compile(r"%(?P<kind>[A-Za-z]?)(?P<opening>[^\w\s])")
_MARK: Final = re.compile(r"=>|[=,.()\[\]{}](?![=~])|[,.()\[\]{}]")
_OPERATOR: Final = re.compile(
    r"\.\.\.?|&&=?|\|\|=?|\*\*=?|<<=?|>>=?|<=>|===?|=~|!~|->|&\.|::|[-+*/%&|^<>!]=?|[=!~^?:;]"
)
_REFUSED_STARTS: Final = {"`": "command in backticks", "$": "global variable", "@": "instance variable"}
_PERCENT_REFUSED: Final = {"x": "command (%x)", "r": "regular expression"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heredoc:
    """A heredoc whose lines are still to come; ``index`` is the place of its token."""

    index: int
    place: Place
    indent: str
    quote: str
    name: str


def tokenize(text: str, file: str) -> tuple[Token, ...]:
    """Cut a text into tokens; the last one is of kind END.

    Raises:
        GitlabRbError: it holds what is no word of the subset.
    """
    return _Lexer(Cursor(text, file)).file_tokens()


class _Lexer:
    """Collects tokens from a cursor; one per nested interpolation."""

    def __init__(self, cursor: Cursor, depth: int = 0) -> None:
        self._cursor = cursor
        self._depth = depth
        self._tokens: list[Token] = []
        self._heredocs: list[_Heredoc] = []
        self._spaced = False

    def file_tokens(self) -> tuple[Token, ...]:
        """All tokens of the text."""
        while not self._cursor.at_end and not self._cursor.match(_END_OF_PROGRAM):
            self._read()
        if self._heredocs:
            self._cursor.fail("heredoc does not end", self._heredocs[0].place)
        self._add(Kind.END, self._cursor.place)
        return tuple(self._tokens)

    def interpolation_tokens(self) -> tuple[Token, ...]:
        """The tokens up to the brace that closes an interpolation."""
        opened = 0
        start = self._cursor.place
        while opened or self._cursor.peek() != "}":
            if self._cursor.at_end:
                self._cursor.fail("interpolation does not end", start)
            opened += {"{": 1, "}": -1}.get(self._cursor.peek(), 0)
            self._read()
        self._cursor.take()
        if self._heredocs:
            self._cursor.refuse("heredoc in an interpolation", start)
        self._add(Kind.END, self._cursor.place)
        return tuple(self._tokens)

    def _add(self, kind: Kind, place: Place, text: str = "", parts: tuple[Part, ...] = ()) -> None:
        self._tokens.append(Token(kind=kind, place=place, text=text, parts=parts))

    def _read(self) -> None:
        """Read white space, a comment or one token."""
        cursor = self._cursor
        spaced = cursor.match(_BLANK) is not None
        if spaced or cursor.match(_COMMENT):
            self._spaced = self._spaced or spaced
            return
        if cursor.at_line_start and cursor.match(_BLOCK_COMMENT):
            self._skip_block_comment(cursor.place)
            return
        self._read_token(cursor.peek())
        self._spaced = False

    def _skip_block_comment(self, start: Place) -> None:
        cursor = self._cursor
        cursor.take_line()
        while not cursor.match(_END_OF_BLOCK_COMMENT):
            if cursor.at_end:
                cursor.fail("=begin without =end", start)
            cursor.take_line()
        cursor.take_line()

    def _read_token(self, character: str) -> None:
        cursor = self._cursor
        if character in ("\n", ";"):
            self._add(Kind.NEWLINE, cursor.place)
            cursor.take()
            if character == "\n":
                self._read_heredocs()
        elif character in ('"', "'"):
            self._read_string()
        elif character == ":" and cursor.peek(2) != "::":
            self._read_symbol()
        elif character in _REFUSED_STARTS:
            cursor.refuse(_REFUSED_STARTS[character])
        elif not (self._read_number() or self._read_name()):
            self._read_marks()

    def _read_marks(self) -> None:
        """Read a heredoc, a literal that begins with a per cent sign, or a mark."""
        cursor = self._cursor
        place = cursor.place
        if self._expects_value():
            heredoc = cursor.match(_HEREDOC)
            if heredoc is not None:
                self._begin_heredoc(heredoc, place)
                return
            percent = cursor.match(_PERCENT)
            if percent is not None:
                self._read_percent(percent, place)
                return
            if cursor.peek() == "/":
                cursor.refuse("regular expression")
        mark = None if cursor.peek(2) == ".." else cursor.match(_MARK)
        if mark is not None:
            self._add(Kind.MARK, place, mark[0])
            return
        operator = cursor.match(_OPERATOR)
        if operator is not None:
            cursor.refuse(f'operator "{operator[0]}"', place)
        cursor.fail(f"unexpected character {cursor.peek()!a}")

    def _expects_value(self) -> bool:
        """Whether what comes begins a value; behind a name only if it leans to the right, as Ruby has it."""
        if not self._tokens:
            return True
        last = self._tokens[-1]
        if last.kind is Kind.NAME:
            return self._spaced and not self._cursor.peek(ahead=1).isspace()
        if last.kind is Kind.MARK:
            return last.text not in (")", "]", "}")
        return last.kind in (Kind.NEWLINE, Kind.LABEL)

    def _read_number(self) -> bool:
        cursor = self._cursor
        place = cursor.place
        if cursor.peek() in ("+", "-") and not self._expects_value():
            return False
        number = cursor.match(_NUMBER)
        if number is None:
            return False
        if number["rest"]:
            cursor.fail("number with letters behind it", place)
        self._tokens.append(Token(kind=Kind.NUMBER, place=place, number=self._number(number, place)))
        return True

    def _number(self, number: re.Match[str], place: Place) -> int | float:
        form = next(name for name in (*_BASES, "float") if number[name] is not None)
        text = number[form]
        if text.endswith("_") or "__" in text:
            self._cursor.fail("number with a stray underscore", place)
        if form == "float":
            return float(f"{number['sign']}{text}")
        try:
            return int(f"{number['sign']}{text.replace('_', '')}", _BASES[form])
        except ValueError:
            self._cursor.fail("octal number with a digit above 7", place)

    def _read_name(self) -> bool:
        cursor = self._cursor
        place = cursor.place
        name = cursor.match(_NAME)
        if name is None:
            return False
        if cursor.peek() == ":" and cursor.peek(2) != "::":
            cursor.take()
            self._add(Kind.LABEL, place, parts=(name[0],))
        else:
            self._add(Kind.CONSTANT if name[0][0].isupper() else Kind.NAME, place, name[0])
        return True

    def _read_string(self) -> None:
        cursor = self._cursor
        place = cursor.place
        parts = self._quoted(cursor.take(), place)
        if cursor.peek() == ":" and cursor.peek(2) != "::":
            cursor.take()
            self._add(Kind.LABEL, place, parts=parts)
        else:
            self._add(Kind.STRING, place, parts=parts)

    def _quoted(self, quote: str, place: Place) -> tuple[Part, ...]:
        """The parts of a string whose opening quote is taken."""
        quotes = Quotes.of(quote, place)
        if quote == "'":
            return (strings.read_plain(self._cursor, quotes),)
        return strings.read_interpolated(self._cursor, quotes, self._read_interpolation)

    def _read_interpolation(self, cursor: Cursor) -> tuple[Token, ...]:
        if self._depth >= MOST_INTERPOLATIONS:
            cursor.fail("interpolations are nested too deeply")
        return _Lexer(cursor, self._depth + 1).interpolation_tokens()

    def _read_symbol(self) -> None:
        cursor = self._cursor
        place = cursor.place
        cursor.take()
        if cursor.peek() in ('"', "'"):
            self._add(Kind.SYMBOL, place, parts=self._quoted(cursor.take(), place))
            return
        name = cursor.match(_NAME)
        if name is None:
            cursor.refuse('operator ":"', place)
        self._add(Kind.SYMBOL, place, parts=(name[0],))

    def _read_percent(self, percent: re.Match[str], place: Place) -> None:
        kind = percent["kind"]
        quotes = Quotes.of(percent["opening"], place)
        if kind in _PERCENT_REFUSED:
            self._cursor.refuse(_PERCENT_REFUSED[kind], place)
        if kind in ("w", "i"):
            words = strings.read_words(self._cursor, quotes)
            self._tokens.append(Token(kind=Kind.WORDS, place=place, words=words))
        elif kind == "q":
            self._add(Kind.STRING, place, parts=(strings.read_plain(self._cursor, quotes),))
        elif kind in ("", "Q"):
            parts = strings.read_interpolated(self._cursor, quotes, self._read_interpolation)
            self._add(Kind.STRING, place, parts=parts)
        else:
            self._cursor.refuse(f"literal %{kind}", place)

    def _begin_heredoc(self, heredoc: re.Match[str], place: Place) -> None:
        if heredoc["quote"] == "`":
            self._cursor.refuse("command in backticks", place)
        self._heredocs.append(
            _Heredoc(
                index=len(self._tokens),
                place=place,
                indent=heredoc["indent"],
                quote=heredoc["quote"],
                name=heredoc["name"],
            )
        )
        self._add(Kind.STRING, place)

    def _read_heredocs(self) -> None:
        """Read the lines of the heredocs that began in the line before."""
        for heredoc in self._heredocs:
            first_line = self._cursor.line
            text = self._heredoc_lines(heredoc)
            if heredoc.indent == "~":
                text = strings.remove_indentation(text)
            parts: tuple[Part, ...] = (text,)
            if heredoc.quote != "'":
                inside = Cursor(text, self._cursor.file, first_line)
                everything = Quotes("", "", heredoc.place)
                parts = strings.read_interpolated(inside, everything, self._read_interpolation)
            self._tokens[heredoc.index] = replace(self._tokens[heredoc.index], parts=parts)
        self._heredocs.clear()

    def _heredoc_lines(self, heredoc: _Heredoc) -> str:
        lines: list[str] = []
        while True:
            if self._cursor.at_end:
                self._cursor.fail("heredoc does not end", heredoc.place)
            line = self._cursor.take_line()
            bare = line.removesuffix("\n")
            if (bare.strip(" \t") if heredoc.indent else bare) == heredoc.name:
                return "".join(lines)
            lines.append(line)
