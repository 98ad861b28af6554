"""Every construct of a gitlab.rb that is read, as the values it gives."""

from typing import Any

import pytest

from praefect.config.omnibus.parser import parse
from praefect.config.omnibus.surroundings import Surroundings
from praefect.config.omnibus.syntax import Assignment, Call, Expression, Sequence, Table

ENVIRONMENT = {"TOKEN": "from-env", "PADDED": "  x\n", "EMPTY": ""}


def plain(expression: Expression) -> Any:
    if isinstance(expression, Sequence):
        return [plain(item) for item in expression.items]
    if isinstance(expression, Table):
        return {pair.name: plain(pair.value) for pair in expression.pairs}
    return Surroundings(ENVIRONMENT).plain(expression)


def value(text: str, before: str = "") -> Any:
    """What a value written in Ruby is."""
    (statement,) = parse(f"{before}\nx['y'] = {text}\n".encode(), "gitlab.rb")
    assert isinstance(statement, Assignment)
    return plain(statement.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("false", False),
        ("nil", None),
        ("0", 0),
        ("5432", 5432),
        ("-7", -7),
        ("+7", 7),
        ("1_000_000", 1000000),
        ("0x1F", 31),
        ("0b101", 5),
        ("0o17", 15),
        ("0644", 420),
        ("00", 0),
        ("0d12", 12),
        ("1.5", 1.5),
        ("-0.25", -0.25),
        ("2e3", 2000.0),
        ("1.5e-2", 0.015),
        (":default", "default"),
        (':"with space"', "with space"),
    ],
)
def test_plain_values(text: str, expected: object) -> None:
    result = value(text)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("''", ""),
        ("'a b'", "a b"),
        (r"'it\'s'", "it's"),
        (r"'back\\slash'", "back\\slash"),
        (r"'no\nescape #{x}'", r"no\nescape #{x}"),
        ("'ü'", "ü"),
        ("'two\nlines'", "two\nlines"),
        ('""', ""),
        (r'"\n\t\s\r\a\b\e\f\v\0"', "\n\t \r\a\b\x1b\f\v\0"),
        (r'"\x41\x7e\101\60"', "A~A0"),
        (r'"\xc3\xbc\303\274"', "üü"),
        (r'"\u00fc\u{1F600}\u{41 42  43}"', "ü😀ABC"),
        (r'"\"\\\#{no}\q"', '"\\#{no}q'),
        ('"a\\\nb"', "ab"),
        ('"# no comment"', "# no comment"),
        ("'a' 'b'", "ab"),
        ("'a' \\\n  \"b\"", "ab"),
        ("%q(it's (nested) #{x})", "it's (nested) #{x}"),
        (r"%q[a\]b\c]", r"a]b\c"),
        ("%q!a\\!b!", "a!b"),
        ('%Q{a {b} "c"\\n}', 'a {b} "c"\n'),
        ("%(plain)", "plain"),
        ("%|bar|", "bar"),
    ],
)
def test_strings(text: str, expected: str) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%w[]", []),
        ("%w[a b  c]", ["a", "b", "c"]),
        ("%w(10.6.0.11 10.6.0.12\n  10.6.0.13)", ["10.6.0.11", "10.6.0.12", "10.6.0.13"]),
        (r"%w[a\ b c\]d e\f]", ["a b", "c]d", r"e\f"]),
        ("%w(a (b c) d)", ["a", "(b", "c)", "d"]),
        ("%w<a b>", ["a", "b"]),
        ("%w/a b/", ["a", "b"]),
        ("%i[one two]", ["one", "two"]),
        ("[]", []),
        ("[1, 'a', nil, [true]]", [1, "a", None, [True]]),
        ("[\n  1, # one\n\n  2,\n]", [1, 2]),
        ("[ 'targets' => [ 'h:1', # first\n 'h:2', ] ]", [{"targets": ["h:1", "h:2"]}]),
        ("[1, a: 2]", [1, {"a": 2}]),
    ],
)
def test_arrays(text: str, expected: list[object]) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {}),
        ("{ 'a' => 1 }", {"a": 1}),
        ("{a: 1, b: 'c'}", {"a": 1, "b": "c"}),
        ('{ :a => 1, "b" => 2 }', {"a": 1, "b": 2}),
        ("{ \"a b\": 1, 'c': 2 }", {"a b": 1, "c": 2}),
        ("{\n  # ...\n  a: {\n    b: { 'c' => [ { d: 1 } ] },\n  },\n}", {"a": {"b": {"c": [{"d": 1}]}}}),
        ("{ a:\n  1,\n 'b' =>\n 2 }", {"a": 1, "b": 2}),
        ("{ a: 1, a: 2 }", {"a": 2}),
        ("{ 5 => 'five' }", {"5": "five"}),
        ("{ if: 1, end: 2, class: 3 }", {"if": 1, "end": 2, "class": 3}),
    ],
)
def test_hashes(text: str, expected: dict[str, object]) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<<EOS\none\n  two\nEOS", "one\n  two\n"),
        ("<<-EOS\none\n  EOS", "one\n"),
        ("<<~EOS\n    one\n\n      two\n    EOS", "one\n\n  two\n"),
        ("<<~EOS\n\t  one\n\t\ttwo\n\tEOS", "one\n\ttwo\n"),
        ("<<'EOS'\n#{no} \\n\nEOS", "#{no} \\n\n"),
        ('<<"EOS"\na\\tb\nEOS', "a\tb\n"),
        ("<<~EOS.strip\n  one\n  two\nEOS", "one\ntwo"),
        ("<<-EOS.chomp # comment\none\nEOS\n", "one"),
        ("{ a: <<A, b: <<B }\nfirst\nA\nsecond\nB", {"a": "first\n", "b": "second\n"}),
        ("[<<A,\nfirst\nA\n2]", ["first\n", 2]),
        ("<<EOS\nEOS", ""),
        ("<<EOS\n EOS\nEOS", " EOS\n"),
        ('<<EOS\n#{T} and "quotes"\nEOS', 't and "quotes"\n'),
    ],
)
def test_heredocs(text: str, expected: object) -> None:
    assert value(text, before="T = 't'") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T", "secret"),
        ('"#{T}"', "secret"),
        ('"a#{T}b#{T}"', "asecretbsecret"),
        ('"#{ PORT }:#{1}#{true}#{nil}#{:s}#{}"', "2305:1trues"),
        ('"#{"inner #{T} }"}"', "inner secret }"),
        ("\"#{'}'}\"", "}"),
        ("\"#{ENV['TOKEN']}-#{ENV['MISSING']}\"", "from-env-"),
        ("COMPOSED", "x-secret"),
        ('{ "#{T}" => 1 }', {"secret": 1}),
        ("[T, PORT]", ["secret", 2305]),
        ("%Q(#{T})", "secret"),
        (':"#{T}"', "secret"),
    ],
)
def test_constants_and_interpolation(text: str, expected: object) -> None:
    assert value(text, before="T = 'secret'\nPORT = 2305\nCOMPOSED = \"x-#{T}\"") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ENV['TOKEN']", "from-env"),
        ('ENV["TOKEN"]', "from-env"),
        ("ENV['MISSING']", None),
        ("ENV.fetch('TOKEN')", "from-env"),
        ("ENV.fetch('MISSING', 'default')", "default"),
        ("ENV.fetch('MISSING', 5)", 5),
        ("ENV.fetch('EMPTY', 'default')", ""),
        ("ENV['PADDED'].strip", "x"),
        ("ENV['PADDED'].chomp()", "  x"),
        ("'a '.strip", "a"),
    ],
)
def test_environment(text: str, expected: object) -> None:
    assert value(text) == expected


def test_statements() -> None:
    text = """# comment
=begin
praefect['not'] = `this`
=end
T = 'x'; praefect['enable'] = true
praefect[:a]["b"] [:"c d"] = 1 # comment

praefect['multi'] =
  'line'
external_url 'https://gitlab.example.com'
external_url "https://#{T}"
roles ['praefect_role', "x"]
roles 'a', 'b'
roles(['c'])
git_data_dirs({ "default" => { "path" => "/p" } })
git_data_dirs "default" => { "path" => "/q" },
              "other" => { "path" => "/r" }
git_data_dirs(
  default: {
    path: "/s",
  },
)
external_url <<~URL.strip
  http://here
URL
__END__
this is not ( read
"""
    found: list[object] = []
    for statement in parse(text.encode(), "gitlab.rb"):
        name = statement.name if isinstance(statement, Call) else (statement.root, *statement.path)
        found.append((statement.place.line, name, plain(statement.value)))
    assert found == [
        (5, ("praefect", "enable"), True),
        (6, ("praefect", "a", "b", "c d"), 1),
        (8, ("praefect", "multi"), "line"),
        (10, "external_url", "https://gitlab.example.com"),
        (11, "external_url", "https://x"),
        (12, "roles", ["praefect_role", "x"]),
        (13, "roles", ["a", "b"]),
        (14, "roles", ["c"]),
        (15, "git_data_dirs", {"default": {"path": "/p"}}),
        (16, "git_data_dirs", {"default": {"path": "/q"}, "other": {"path": "/r"}}),
        (18, "git_data_dirs", {"default": {"path": "/s"}}),
        (23, "external_url", "http://here"),
    ]


@pytest.mark.parametrize("text", ["", "\n", "# only a comment", "\ufeff# mark", "=begin\n=end", "__END__"])
def test_files_that_say_nothing(text: str) -> None:
    assert parse(text.encode(), "gitlab.rb") == ()


def test_line_ends_of_other_systems() -> None:
    (statement,) = parse(b"x['y'] = <<~A\r\n  one\r\nA\r\n", "gitlab.rb")
    assert plain(statement.value) == "one\n"


def test_values_are_in_no_repr() -> None:
    statements = parse(
        b"praefect['auth_token'] = 'hush'\nT = 'hush'\nx['y'] = { a: \"#{T}\", b: [ 'hush' ], c: %w[hush] }", "f"
    )
    assert "hush" not in repr(statements)
