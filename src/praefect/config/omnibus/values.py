"""From tokens to values. Nothing is evaluated; what is not declarative is refused by name."""

import re
from typing import Final, NoReturn

from praefect.config.omnibus.faults import GitlabRbError, Place, UnsupportedConstructError
from praefect.config.omnibus.syntax import (
    EnvironmentVariable,
    Expression,
    FileContent,
    Joined,
    Pair,
    Scalar,
    Sequence,
    Stripped,
    Table,
)
from praefect.config.omnibus.tokens import Interpolation, Kind, Part, Token

MOST_NESTED: Final = 32
MOST_CHARACTERS: Final = 1 << 20
LITERALS: Final = {"true": True, "false": False, "nil": None}

_KEYWORD: Final = re.compile(
    "alias|and|begin|BEGIN|break|case|class|def|defined[?]|do|else|elsif|end|END|ensure|for|if|in|module|next|not|or|redo"
    "|rescue|retry|return|self|super|then|undef|unless|until|when|while|yield|__FILE__|__LINE__|__method__"
)


class ValueParser:
    """Reads tokens from left to right; one more per interpolation."""

    def __init__(self, tokens: tuple[Token, ...], constants: dict[str, Expression], depth: int = 0) -> None:
        self._tokens = tokens
        self.constants = constants
        self._depth = depth
        self._position = 0

    @property
    def next(self) -> Token:
        """The token that comes."""
        return self._tokens[self._position]

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.next.kind is Kind.END

    def take(self) -> Token:
        """Take it; the last one stays."""
        token = self.next
        if not self.at_end():
            self._position += 1
        return token

    def take_mark(self, *marks: str) -> bool:
        """Take the token that comes if it is one of these marks."""
        if self.next.is_mark(*marks):
            self.take()
            return True
        return False

    def expect(self, mark: str, where: str) -> None:
        """Take a mark that must come."""
        if not self.take_mark(mark):
            self.refuse_next(f'"{mark}" is missing {where}')

    def skip_newlines(self) -> None:
        """Take ends of lines."""
        while self.next.kind is Kind.NEWLINE:
            self.take()

    def refuse_next(self, otherwise: str) -> NoReturn:
        """Refuse the next token: by name if it begins something that is not supported, else as what is wrong here."""
        token = self.next
        if is_keyword(token):
            raise UnsupportedConstructError(token.place, f'keyword "{token.text}"')
        raise GitlabRbError(token.place, f"{otherwise}, before {_describe(token)}")

    def value_behind_mark(self) -> Expression:
        """A value that may stand in the next line."""
        self.skip_newlines()
        return self.value()

    def value(self) -> Expression:
        """One value."""
        self.skip_newlines()
        if self._depth >= MOST_NESTED:
            raise GitlabRbError(self.next.place, f"values are nested deeper than {MOST_NESTED}")
        self._depth += 1
        value = self._with_methods(self._primary())
        self._depth -= 1
        return value

    def _primary(self) -> Expression:
        token = self.take()
        match token.kind:
            case Kind.STRING:
                value = self._string(token)
            case Kind.SYMBOL:
                value = self._joined(token.parts, token.place)
            case Kind.NUMBER:
                value = Scalar(place=token.place, value=token.number)
            case Kind.WORDS:
                items = tuple(Scalar(place=token.place, value=word) for word in token.words)
                value = Sequence(place=token.place, items=items)
            case Kind.NAME if token.text in LITERALS:
                value = Scalar(place=token.place, value=LITERALS[token.text])
            case Kind.CONSTANT if not is_keyword(token):
                value = self._from_constant(token)
            case Kind.MARK if token.text in ("[", "{"):
                value = self._array(token) if token.text == "[" else self._hash(token)
            case _:
                self._no_value(token)
        return value

    def _no_value(self, token: Token) -> NoReturn:
        """Refuse a token that begins no value."""
        if token is not self.next:
            self._position -= 1
        if token.kind is Kind.NAME and not is_keyword(token):
            raise UnsupportedConstructError(token.place, f'variable or method call "{token.text}"')
        if token.is_mark("("):
            raise UnsupportedConstructError(token.place, "expression in parentheses")
        self.refuse_next("a value is expected")

    def _string(self, token: Token) -> Expression:
        """A string with those that stand directly behind it, which belong to it."""
        parts = token.parts
        while self.next.kind is Kind.STRING:
            parts += self.take().parts
        return self._joined(parts, token.place)

    def _joined(self, parts: tuple[Part, ...], place: Place) -> Expression:
        """One string out of its parts; what is known already is joined now."""
        known = ""
        expressions: list[Expression] = []
        for part in parts:
            value = Scalar(place=place, value=part) if isinstance(part, str) else self._interpolated(part, place)
            if isinstance(value, Scalar):
                known += _to_text(value)
                if len(known) > MOST_CHARACTERS:
                    raise GitlabRbError(place, f"string is longer than {MOST_CHARACTERS} characters")
                continue
            expressions += [Scalar(place=place, value=known), value]
            known = ""
        if not expressions:
            return Scalar(place=place, value=known)
        return Joined(place=place, parts=(*expressions, Scalar(place=place, value=known)))

    def _interpolated(self, part: Interpolation, place: Place) -> Expression:
        inner = ValueParser(part.tokens, self.constants, self._depth)
        value = inner.lone_value()
        if isinstance(value, Sequence | Table):
            raise UnsupportedConstructError(place, "interpolation of an array or hash")
        return value

    def lone_value(self) -> Expression:
        """The only value there is; nothing at all is an empty string, as in Ruby."""
        self.skip_newlines()
        if self.at_end():
            return Scalar(place=self.next.place, value="")
        value = self.value()
        self.skip_newlines()
        if not self.at_end():
            self.refuse_next("the interpolation does not end")
        return value

    def _with_methods(self, value: Expression) -> Expression:
        while self.next.is_mark("."):
            place = self.take().place
            method = self.take()
            if not method.is_name("strip", "chomp"):
                raise UnsupportedConstructError(place, f'method call ".{method.text}"')
            if self.take_mark("("):
                self.expect(")", f'behind ".{method.text}("')
            value = Stripped(place=place, subject=value, both_ends=method.text == "strip")
        return value

    def _from_constant(self, token: Token) -> Expression:
        if token.text == "ENV":
            return self._environment(token)
        if token.text == "File":
            return self._file(token)
        if self.next.is_mark("."):
            self.take()
            raise UnsupportedConstructError(token.place, f'method call "{token.text}.{self.next.text}"')
        if self.next.is_mark("(", "["):
            raise UnsupportedConstructError(token.place, f'"{token.text}{self.next.text}…"')
        if token.text not in self.constants:
            raise GitlabRbError(token.place, f"constant {token.text} is not set above")
        return self.constants[token.text]

    def _environment(self, token: Token) -> Expression:
        if self.take_mark("["):
            name = self._literal(self.value(), "name of an environment variable")
            self.skip_newlines()
            self.expect("]", "behind the name")
            return EnvironmentVariable(place=token.place, name=name)
        arguments = self._call_of(token, "fetch")
        if len(arguments) not in (1, 2):
            raise GitlabRbError(token.place, "ENV.fetch takes a name and perhaps a default")
        name = self._literal(arguments[0], "name of an environment variable")
        default = arguments[1] if len(arguments) == 2 else None
        return EnvironmentVariable(place=token.place, name=name, required=True, default=default)

    def _file(self, token: Token) -> Expression:
        arguments = self._call_of(token, "read")
        if len(arguments) != 1:
            raise GitlabRbError(token.place, "File.read takes a path and nothing else")
        return FileContent(place=token.place, path=self._literal(arguments[0], "path of File.read"))

    def _call_of(self, token: Token, method: str) -> list[Expression]:
        """The arguments of the one method of a constant that is read."""
        if not self.take_mark("."):
            raise UnsupportedConstructError(token.place, f"{token.text} as a whole")
        if not self.next.is_name(method):
            raise UnsupportedConstructError(token.place, f'method call "{token.text}.{self.next.text}"')
        self.take()
        self.expect("(", f"behind {token.text}.{method}")
        arguments = self.items(")")
        self.expect(")", "behind the arguments")
        if self.next.is_mark("{"):
            raise UnsupportedConstructError(token.place, f"block of {token.text}.{method}")
        return arguments

    def _literal(self, value: Expression, what: str) -> str:
        if isinstance(value, Scalar) and isinstance(value.value, str):
            return value.value
        raise UnsupportedConstructError(value.place, f"{what} that is not written out")

    def key(self, value: Expression) -> str:
        """A value as the key of a hash."""
        if isinstance(value, Scalar) and isinstance(value.value, str | int) and not isinstance(value.value, bool):
            return str(value.value)
        raise UnsupportedConstructError(value.place, "key that is no plain string or symbol")

    def _array(self, token: Token) -> Expression:
        items = self.items("]")
        self.expect("]", f"at the end of the array of line {token.place.line}")
        return Sequence(place=token.place, items=tuple(items))

    def items(self, closing: str) -> list[Expression]:
        """Values separated by commas; pairs among them are one hash, the last value."""
        place = self.next.place
        items, pairs = self._elements(closing)
        return [*items, Table(place=place, pairs=pairs)] if pairs else items

    def _elements(self, closing: str) -> tuple[list[Expression], tuple[Pair, ...]]:
        """Values, then pairs, separated by commas; without ``closing`` they end with the line."""
        items: list[Expression] = []
        pairs: list[Pair] = []
        while not self._at_end_of_items(closing):
            element = self._pair_or_value()
            if isinstance(element, Pair):
                pairs.append(element)
            elif pairs:
                raise GitlabRbError(element.place, "value behind pairs of a hash")
            else:
                items.append(element)
            if closing:
                self.skip_newlines()
            if not self.take_mark(","):
                break
            self.skip_newlines()
        return items, tuple(pairs)

    def _at_end_of_items(self, closing: str) -> bool:
        if not closing:
            return self.next.kind in (Kind.NEWLINE, Kind.END)
        self.skip_newlines()
        return self.next.is_mark(closing)

    def _pair_or_value(self) -> Expression | Pair:
        token = self.next
        if token.kind is Kind.LABEL:
            self.take()
            return Pair(self.key(self._joined(token.parts, token.place)), token.place, self._value_of(token))
        value = self.value()
        if not self.take_mark("=>"):
            return value
        return Pair(self.key(value), token.place, self.value_behind_mark())

    def _value_of(self, label: Token) -> Expression:
        if self.next.is_mark(",", "}"):
            raise UnsupportedConstructError(label.place, "hash key without a value")
        return self.value_behind_mark()

    def _hash(self, token: Token) -> Expression:
        items, pairs = self._elements("}")
        self.expect("}", f"at the end of the hash of line {token.place.line}")
        if items:
            raise GitlabRbError(items[0].place, "hash key without a value")
        return Table(place=token.place, pairs=pairs)


def _to_text(scalar: Scalar) -> str:
    """What Ruby writes for a value in a string."""
    value = scalar.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def is_keyword(token: Token) -> bool:
    """Whether it is a word of Ruby's grammar that is not supported."""
    return token.kind in (Kind.NAME, Kind.CONSTANT) and _KEYWORD.fullmatch(token.text) is not None


def _describe(token: Token) -> str:
    """Name a token without its value."""
    if token.kind in (Kind.NAME, Kind.CONSTANT, Kind.MARK):
        return f'"{token.text}"'
    return str(token.kind.value)
