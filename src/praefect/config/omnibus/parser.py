"""From the text of a gitlab.rb to statements. Nothing is evaluated; what is not declarative is refused by name."""

from typing import Final

from praefect.config.omnibus.faults import GitlabRbError, Place, UnsupportedConstructError
from praefect.config.omnibus.lexer import tokenize
from praefect.config.omnibus.syntax import Assignment, Call, Expression, Sequence, Statement, Table
from praefect.config.omnibus.tokens import Kind, Token
from praefect.config.omnibus.values import LITERALS, MOST_NESTED, ValueParser, is_keyword

MOST_BYTES: Final = 1 << 20
CALLS: Final = frozenset(
    {
        "external_url",
        "git_data_dirs",
        "gitlab_kas_external_url",
        "mattermost_external_url",
        "pages_external_url",
        "registry_external_url",
        "roles",
        "runtime_dir",
    }
)
"""Methods that only set something."""


def parse(data: bytes, file: str) -> tuple[Statement, ...]:
    """Parse a file.

    Args:
        data: its content.
        file: its name in messages.

    Raises:
        GitlabRbError: it is too large or not declarative; the message says where.
    """
    if len(data) > MOST_BYTES:
        raise GitlabRbError(Place(file, 1), f"file is larger than {MOST_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise GitlabRbError(Place(file, data[: exc.start].count(b"\n") + 1), "file is not UTF-8") from exc
    return _StatementParser(tokenize(text.replace("\r\n", "\n"), file), {}).statements()


class _StatementParser(ValueParser):
    """Reads tokens from left to right."""

    def statements(self) -> tuple[Statement, ...]:
        """All statements."""
        statements: list[Statement] = []
        self.skip_newlines()
        while not self.at_end():
            statement = self._statement()
            if statement is not None:
                statements.append(statement)
            if self.next.kind not in (Kind.NEWLINE, Kind.END):
                self.refuse_next("the statement does not end")
            self.skip_newlines()
        return tuple(statements)

    def _statement(self) -> Statement | None:
        token = self.next
        if token.kind is Kind.CONSTANT and not is_keyword(token):
            self._constant()
            return None
        if token.kind is not Kind.NAME or is_keyword(token) or token.text in LITERALS:
            self.refuse_next("a statement is expected")
        self.take()
        if token.text in CALLS:
            return Call(place=token.place, name=token.text, value=self._argument(token))
        if self.next.is_mark("["):
            return self._assignment(token)
        if self.next.is_mark("="):
            raise UnsupportedConstructError(token.place, f'local variable "{token.text}"')
        if self.next.is_mark("."):
            self.take()
            raise UnsupportedConstructError(token.place, f'method call "{token.text}.{self.next.text}"')
        raise UnsupportedConstructError(token.place, f'method call "{token.text}"')

    def _constant(self) -> None:
        token = self.take()
        if not self.take_mark("="):
            construct = token.text
            if self.take_mark("."):
                construct = f"{construct}.{self.next.text}"
            raise UnsupportedConstructError(token.place, f'expression "{construct}"')
        if token.text in self.constants:
            raise GitlabRbError(token.place, f"constant {token.text} is set twice")
        value = self.value_behind_mark()
        if isinstance(value, Sequence | Table):
            raise UnsupportedConstructError(token.place, "constant that is an array or hash")
        self.constants[token.text] = value

    def _assignment(self, root: Token) -> Assignment:
        path: list[str] = []
        while self.take_mark("["):
            if len(path) >= MOST_NESTED:
                raise GitlabRbError(root.place, f"setting is nested deeper than {MOST_NESTED}")
            path.append(self.key(self.value()))
            self.skip_newlines()
            self.expect("]", "behind the key")
        if not self.take_mark("="):
            if self.take_mark("."):
                name = self.next.text
                raise UnsupportedConstructError(root.place, f'method call "{root.text}[…].{name}"')
            self.refuse_next('"=" is missing')
        return Assignment(place=root.place, root=root.text, path=tuple(path), value=self.value_behind_mark())

    def _argument(self, name: Token) -> Expression:
        """The one argument of a call; a hash may stand there without its braces, several values are an array."""
        parentheses = self.take_mark("(")
        arguments = self.items(")" if parentheses else "")
        if parentheses:
            self.expect(")", "behind the argument")
        if not arguments:
            raise GitlabRbError(name.place, f"{name.text} lacks its argument")
        if len(arguments) == 1:
            return arguments[0]
        return Sequence(place=name.place, items=tuple(arguments))
