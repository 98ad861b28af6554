"""What is no declaration is refused with its place and its name, and never carried out."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.config.omnibus.faults import GitlabRbError, UnsupportedConstructError
from praefect.config.omnibus.parser import MOST_BYTES, parse
from praefect.config.omnibus.values import MOST_NESTED


def refusal(text: str) -> GitlabRbError:
    with pytest.raises(GitlabRbError) as caught:
        parse(text.encode(), "/etc/gitlab/gitlab.rb")
    assert str(caught.value) == f"/etc/gitlab/gitlab.rb:{caught.value.place.line}: {caught.value.fault}"
    return caught.value


@pytest.mark.parametrize(
    ("text", "construct"),
    [
        ("`id`", "command in backticks"),
        ("x['y'] = `id`", "command in backticks"),
        ("x['y'] = \"a#{`id`}b\"", "command in backticks"),
        ("x['y'] = <<`EOS`\nid\nEOS", "command in backticks"),
        ("x['y'] = <<EOS\n#{`id`}\nEOS", "command in backticks"),
        ("x['y'] = %x(id)", "command (%x)"),
        ("system('id')", 'method call "system"'),
        ("system 'id'", 'method call "system"'),
        ("exec('id')", 'method call "exec"'),
        ("eval 'id'", 'method call "eval"'),
        ("require 'json'", 'method call "require"'),
        ("load '/x'", 'method call "load"'),
        ("puts 1", 'method call "puts"'),
        ("from_file '/etc/gitlab/other.rb'", 'method call "from_file"'),
        ("raise", 'method call "raise"'),
        ("x['y'] = system('id')", 'variable or method call "system"'),
        ("x['y'] = eval('1')", 'variable or method call "eval"'),
        ("x['y'] = \"#{eval('1')}\"", 'variable or method call "eval"'),
        ("x['y'] = praefect['auth_token']", 'variable or method call "praefect"'),
        ("x['y'] = [other]", 'variable or method call "other"'),
        ("token = 'x'", 'local variable "token"'),
        ("Kernel.exit", 'expression "Kernel.exit"'),
        ("ENV['X'] = 'y'", 'expression "ENV"'),
        ("File.write('/x', 'y')", 'expression "File.write"'),
        ("x['y'] = IO.read('/x')", 'method call "IO.read"'),
        ("x['y'] = YAML.load <<-'EOS'\na: 1\nEOS", 'method call "YAML.load"'),
        ("x['y'] = JSON.parse('{}')", 'method call "JSON.parse"'),
        ("x['y'] = File.open('/x')", 'method call "File.open"'),
        ("x['y'] = File.read(ENV['P'])", "path of File.read that is not written out"),
        ("x['y'] = File.read(\"/#{ENV['P']}\")", "path of File.read that is not written out"),
        ("x['y'] = File", "File as a whole"),
        ("x['y'] = ENV", "ENV as a whole"),
        ("x['y'] = ENV.to_h", 'method call "ENV.to_h"'),
        ("x['y'] = ENV[ENV['X']]", "name of an environment variable that is not written out"),
        ("x['y'] = ENV.fetch('X') { `id` }", "command in backticks"),
        ("x['y'] = ENV.fetch('X') { 'd' }", "block of ENV.fetch"),
        ("x['y'] = Foo::BAR", 'operator "::"'),
        ("x['y'] = Integer('1')", '"Integer(…"'),
        ("x['y'] = 'a'.upcase", 'method call ".upcase"'),
        ("x['y'] = ENV['X'].to_i", 'method call ".to_i"'),
        ("x['y'].merge!({})", 'method call "x[…].merge!"'),
        ("praefect.foo", 'method call "praefect.foo"'),
        ("x['y'] = 'a' + 'b'", 'operator "+"'),
        ("x['y'] = 5 * 60", 'operator "*"'),
        ("x['y'] = 5 -3", 'operator "-"'),
        ("x['y'] = 1 / 2", 'operator "/"'),
        ("x['y'] = 'a' % 1", 'operator "%"'),
        ("x['y'] = /a/", "regular expression"),
        ("x['y'] = %r{a}", "regular expression"),
        ("x['y'] << 'z'", 'operator "<<"'),
        ("x['y'] ||= 1", 'operator "||="'),
        ("x['y'] += 1", 'operator "+="'),
        ("x['y'] = ENV['X'] || 'd'", 'operator "||"'),
        ("x['y'] = 1 == 1", 'operator "=="'),
        ("x['y'] = !true", 'operator "!"'),
        ("x['y'] = 1..2", 'operator ".."'),
        ("x['y'] = true ? 1 : 2", 'operator "?"'),
        ("x['y'] = ?a", 'operator "?"'),
        ("x['y'] = ENV&.fetch('X')", 'operator "&."'),
        ("x['y'] = -> { 1 }", 'operator "->"'),
        ("x['y'] = *a", 'operator "*"'),
        ("x['y'] = { **other }", 'operator "**"'),
        ("x['y'] = $stdin", "global variable"),
        ("x['y'] = @a", "instance variable"),
        ("x['y'] = \"#$a\"", "interpolation of a variable"),
        ("x['y'] = \"#@a\"", "interpolation of a variable"),
        ("x['y'] = (1)", "expression in parentheses"),
        ("x['y'] = %W[a b]", "literal %W"),
        ("x['y'] = %s(a)", "literal %s"),
        ("x['y'] = \"\\C-a\"", "escape of a control or meta character"),
        ("x['y'] = \"#{[1]}\"", "interpolation of an array or hash"),
        ("x['y'] = \"#{<<A}\"\nA", "heredoc in an interpolation"),
        ("A = [1]", "constant that is an array or hash"),
        ("x['y'] = { a: , b: 1 }", "hash key without a value"),
        ("x['y'] = { ENV['X'] => 1 }", "key that is no plain string or symbol"),
        ("x['y'] = { nil => 1 }", "key that is no plain string or symbol"),
        ("x[ENV['X']] = 1", "key that is no plain string or symbol"),
        ("if true", 'keyword "if"'),
        ("x['y'] = 1 if true", 'keyword "if"'),
        ("x['y'] = 1 unless true", 'keyword "unless"'),
        ("x['y'] = if true then 1 end", 'keyword "if"'),
        ("def x\nend", 'keyword "def"'),
        ("BEGIN { exit }", 'keyword "BEGIN"'),
        ("x['y'] = self", 'keyword "self"'),
        ("external_url 'a' do\nend", 'keyword "do"'),
        ("begin\nend", 'keyword "begin"'),
        ("x['y'] = not(true)", 'keyword "not"'),
        ("x['y'] = 1 and exit", 'keyword "and"'),
        ("x['y'] = __FILE__", 'keyword "__FILE__"'),
    ],
)
def test_ruby_that_is_no_declaration(text: str, construct: str) -> None:
    error = refusal(f"# first line\nok['a'] = 1\n{text}")
    assert isinstance(error, UnsupportedConstructError)
    assert error.construct == construct
    assert error.fault == f"{construct} is not supported: the file is read, not run"
    assert error.place.line == (4 if "<<EOS\n#{" in text else 3)


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("x['y'] = 'abc\n\n", 1, "string does not end"),
        ("x['y'] = \"abc\n#{1}", 1, "string does not end"),
        ("x['y'] = \"#{1", 1, "interpolation does not end"),
        ("\nx['y'] = %w[a b", 2, "string does not end"),
        ("x['y'] = <<EOS\nabc\n", 1, "heredoc does not end"),
        ("\n=begin\nabc", 2, "=begin without =end"),
        ("x['y'] = [1,\n2", 2, '"]" is missing at the end of the array of line 1, before end of file'),
        ("x['y'] = {\n a: 1\n b: 2 }", 3, '"}" is missing at the end of the hash of line 1, before hash key'),
        ("x['y'] = { 1 }", 1, "hash key without a value"),
        ("x['y'] = [a: 1, 2]", 1, "value behind pairs of a hash"),
        ("x['y'", 1, '"]" is missing behind the key, before end of file'),
        ("x['y']\n= 1", 1, '"=" is missing, before end of line'),
        ("x['y'] =", 1, "a value is expected, before end of file"),
        ("x['y'] = 1 2", 1, "the statement does not end, before number"),
        ("x['y'] = 'a' x", 1, 'the statement does not end, before "x"'),
        ("{ a: 1 }", 1, 'a statement is expected, before "{"'),
        ("'text'", 1, "a statement is expected, before string"),
        ("true", 1, 'a statement is expected, before "true"'),
        ("git_data_dirs", 1, "git_data_dirs lacks its argument"),
        ("external_url()", 1, "external_url lacks its argument"),
        ("external_url('a'", 1, '")" is missing behind the argument, before end of file'),
        ("x['y'] = TOKEN", 1, "constant TOKEN is not set above"),
        ("x['y'] = TOKEN\nTOKEN = 1", 1, "constant TOKEN is not set above"),
        ("T = 1\nT = 2", 2, "constant T is set twice"),
        ("x['y'] = ENV.fetch('a', 'b', 'c')", 1, "ENV.fetch takes a name and perhaps a default"),
        ("x['y'] = File.read('/a', 5)", 1, "File.read takes a path and nothing else"),
        ("x['y'] = 08", 1, "octal number with a digit above 7"),
        ("x['y'] = 5m", 1, "number with letters behind it"),
        ("x['y'] = 1__0", 1, "number with a stray underscore"),
        ("x['y'] = \"\\u12\"", 1, "escape \\u without its digits"),
        ("x['y'] = \"\\xg\"", 1, "escape \\x without its digits"),
        ("x['y'] = \"\\ud800\"", 1, "escape \\u of a number that is no character"),
        ("x['y'] = \"\\u{110000}\"", 1, "escape \\u of a number that is no character"),
        ("x['y'] = \"\\xff\"", 1, "string is not UTF-8"),
        ("x['y'] = \"#{1 2}\"", 1, "the interpolation does not end, before number"),
        ("x['y'] = 1\\", 1, "unexpected character '\\\\'"),
        ("x['y'] = \x00", 1, "unexpected character '\\x00'"),
        (f"x['y'] = {'[' * 40}", 1, f"values are nested deeper than {MOST_NESTED}"),
        (f"x['y'] = {'{a: ' * 40}", 1, f"values are nested deeper than {MOST_NESTED}"),
        (f"x{'[1]' * 40} = 1", 1, f"setting is nested deeper than {MOST_NESTED}"),
        ("x['y'] = " + '"#{' * 40, 1, "interpolations are nested too deeply"),
    ],
)
def test_mistakes(text: str, line: int, fault: str) -> None:
    error = refusal(text)
    assert (error.place.line, error.fault) == (line, fault)


def test_a_file_that_is_too_large() -> None:
    with pytest.raises(GitlabRbError, match=r"^f:1: file is larger than 1048576 bytes$"):
        parse(b"#" * (MOST_BYTES + 1), "f")


def test_a_file_that_is_not_utf8() -> None:
    with pytest.raises(GitlabRbError, match=r"^f:2: file is not UTF-8$"):
        parse(b"\nx['y'] = '\xff'", "f")


def test_strings_do_not_grow_without_bound() -> None:
    lines = [
        "A = 'xxxxxxxxxxxxxxxx'",
        *(f'{chr(66 + n)} = "#{{{chr(65 + n)}}}" "#{{{chr(65 + n)}}}"' for n in range(20)),
    ]
    error = refusal("\n".join(lines))
    assert error.fault == "string is longer than 1048576 characters"


def test_messages_hold_no_values() -> None:
    for text in (
        "praefect['auth_token'] = 'hush' 'hush' 5",
        "praefect['auth_token'] = 'hush' if 'hush'",
        "'hush'",
        ":hush",
    ):
        assert "hush" not in str(refusal(text))


STATEMENTS = [
    "system('touch {}')",
    "`touch {}`",
    "x['y'] = `touch {}`",
    "x['y'] = %x[touch {}]",
    "x['y'] = \"#{{`touch {}`}}\"",
    "x['y'] = File.write('{}', '')",
    "File.write('{}', '')",
    "IO.popen('touch {}')",
    'eval("`touch {}`")',
    "BEGIN {{ `touch {}` }}",
    "x['y'] = ENV.fetch('NO') {{ `touch {}` }}",
    "x['y'] = <<`A`\ntouch {}\nA",
    "Kernel.send(:system, 'touch {}')",
    "x['y'] = [ system('touch {}') ]",
    "x['y'] = {{ a: open('|touch {}') }}",
    "praefect['z'].tap {{ `touch {}` }}",
    "require '{}'",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_nothing_is_carried_out(statement: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    refusal(statement.format(trace))
    assert not trace.exists()


PIECES = [
    "#{",
    "}",
    "<<~A\n",
    "\nA\n",
    "`",
    "%x(",
    "%w[",
    "praefect['x'] = ",
    "ENV['",
    "if ",
    " => ",
    "a: ",
    "'",
    '"',
    "ü",
]
RUBY = st.lists(st.sampled_from([*string.printable, *PIECES]), max_size=60).map("".join)


@given(RUBY)
def test_any_text_is_read_or_refused(text: str) -> None:
    place = None
    try:
        parse(text.encode(), "gitlab.rb")
    except GitlabRbError as exc:
        place = exc.place
    assert place is None or 1 <= place.line <= text.count("\n") + 1
