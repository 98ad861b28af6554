"""Input that no proper client sends is answered with a 4xx that says why, and nothing is logged as a fault."""

from __future__ import annotations

import base64
import gzip
import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from praefect.observability import log
from tests.support.gateway_site import GUEST, ROOT, GatewayClient, internal_token, serve_site
from tests.support.raw_http import exchange, send

pytestmark = pytest.mark.asyncio(loop_scope="module")

Headers = tuple[tuple[bytes, bytes], ...]
PROJECTS, ALLOWED = b"/api/v4/projects", b"/api/v4/internal/allowed"
INFO_REFS = b"/app.git/info/refs?service=git-upload-pack"
UPLOAD, RECEIVE = b"/app.git/git-upload-pack", b"/app.git/git-receive-pack"
TOKEN: Headers = ((b"PRIVATE-TOKEN", ROOT.encode()),)
BASIC: Headers = ((b"Authorization", b"Basic " + base64.b64encode(b"root:" + ROOT.encode())),)
JSON: Headers = (*TOKEN, (b"Content-Type", b"application/json"))
GZIP: Headers = ((b"Content-Encoding", b"gzip"),)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayClient]:
    async with serve_site(tmp_path_factory.mktemp("site"), "default") as site:
        await site.client.create("app")
        yield site.client


@contextmanager
def nothing_crashes() -> Iterator[None]:
    """Fail if anything is logged with a stack, by us, by the HTTP server or by asyncio."""
    records: list[logging.LogRecord] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Collect()
    logging.getLogger().addHandler(handler)
    try:
        with log.capture() as lines:
            yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert [record for record in records if record.exc_info] == []
    assert [line for line in lines if "backtrace" in line] == []


def typed(content_type: bytes) -> Headers:
    return (*TOKEN, (b"Content-Type", content_type))


def form(body: bytes, boundary: bytes = b"a") -> tuple[Headers, bytes]:
    return typed(b"multipart/form-data; boundary=" + boundary), body


HOOK: Headers = ((b"Gitlab-Shell-Api-Request", b"valid now"),)
"""Stands for a token that is made when it is sent, as it is valid for a minute."""


def signed(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    return tuple((name, internal_token().encode() if (name, value) == HOOK[0] else value) for name, value in headers)


def claims(text: bytes) -> Headers:
    """Return the header with a token whose own header is ``text``."""
    return ((b"Gitlab-Shell-Api-Request", base64.urlsafe_b64encode(text).rstrip(b"=") + b".e30.e30"),)


@dataclass(frozen=True, slots=True)
class Row:
    """A request, and how it is answered."""

    name: str
    method: bytes
    target: bytes
    headers: Headers
    body: bytes
    status: int
    part: str


def _field(name: str, value: str, part: str) -> Row:
    """Return the creation of a project with a field that cannot be."""
    body = b'{"path": "new", "' + name.encode() + b'": ' + value.encode() + b"}"
    return Row(f"{name} {value[:20]}", b"POST", PROJECTS, JSON, body, 400, part)


def _post(name: str, headers: Headers, body: bytes, status: int, part: str) -> Row:
    return Row(name, b"POST", PROJECTS, headers, body, status, part)


def _git(name: str, headers: Headers, body: bytes, status: int, part: str) -> list[Row]:
    return [
        Row(f"{name} {target.decode()[9:]}", b"POST", target, (*BASIC, *headers), body, status, part)
        for target in (UPLOAD, RECEIVE)
    ]


ROWS = [
    # fields of a new project
    *(_field(name, r'"\ud800"', f"{name} is not valid Unicode") for name in ("path", "name", "default_branch")),
    _field("repository_storage", r'"\udfff"', "repository_storage is not valid Unicode"),
    *(_field(name, '{"a": 1}', f"{name} must be a string") for name in ("path", "name", "default_branch")),
    _field("name", r'"a\u0000b"', "printable characters"),
    _field("name", f'"{"n" * 256}"', "between 1 and 255"),
    _field("path", f'"{"p" * 1025}"', "between 1 and 1024"),
    _field("path", f'"{"p" * 256}"', "path segment"),
    _field("path", r'"a\u0000b"', "path segment"),
    *(
        _field("default_branch", json.dumps(branch), "is not what git accepts as the name of a branch")
        for branch in ("-x", "a..b", "HEAD", "a b", "x.lock", "a\u0000b", "/", "b" * 251, "@{x")
    ),
    # bodies
    _post("huge number", JSON, b'{"path": ' + b"1" * 5000 + b"}", 400, "not JSON"),
    _post("deep nesting", JSON, b"[" * 100_000, 400, "nested too deeply"),
    _post("no UTF-8", JSON, b'{"path": "\xff"}', 400, "not JSON"),
    _post("long", JSON, b'{"path": "' + b"a" * (1 << 20) + b'"}', 413, "1048576"),
    _post("long when unpacked", (*JSON, *GZIP), gzip.compress(b" " * (64 << 20)), 413, "1048576"),
    _post("no gzip", (*JSON, *GZIP), b"nonsense", 400, "cannot be read"),
    _post("unknown coding", (*JSON, (b"Content-Encoding", b"zip")), b"{}", 415, "Content-Encoding 'zip'"),
    *(
        _post(
            f"charset {charset.decode()} {kind.decode()}",
            typed(kind + b"; charset=" + charset),
            b"{}",
            415,
            "use UTF-8",
        )
        for charset in (b"nonsense", b"rot13", b"undefined", b"idna", b"utf-7")
        for kind in (b"application/json", b"application/x-www-form-urlencoded")
    ),
    _post("text", typed(b"text/plain"), b"path=a", 415, "neither JSON nor a form"),
    _post("odd type", typed(b"\xff/\xfe;;;"), b"path=a", 415, "neither JSON nor a form"),
    _post("form no UTF-8", typed(b"application/x-www-form-urlencoded"), b"path=\xff", 400, "the form cannot be read"),
    _post("many fields", typed(b"application/x-www-form-urlencoded"), b"a=b&" * 2000, 413, "1000"),
    _post("no boundary", typed(b"multipart/form-data"), b"x", 400, "boundary"),
    _post("wrong boundary", *form(b"--b\r\n\r\n"), 400, "boundary"),
    _post("nameless part", *form(b"--a\r\n\r\nx\r\n--a--\r\n"), 400, "missing name"),
    _post("half a part", *form(b"--a\r\nContent-Disposition: form-data; name=path\r\n\r\nx"), 400, "cannot be read"),
    _post(
        "part no base64",
        *form(
            b"--a\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n--a--\r\n"
        ),
        400,
        "cannot be read",
    ),
    _post(
        "part of an odd charset",
        *form(
            b"--a\r\nContent-Disposition: form-data; name=a\r\nContent-Type: text/x; charset=no\r\n\r\nx\r\n--a--\r\n"
        ),
        400,
        "cannot be read",
    ),
    _post(
        "nested parts",
        *form(b"--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n--a--\r\n"),
        400,
        "form",
    ),
    _post("no chunks", (*JSON, (b"Transfer-Encoding", b"chunked")), b"zz\r\n{}\r\n", 400, "chunk"),
    _post("odd expectation", (*JSON, (b"Expect", b"nonsense")), b"{}", 417, "Unknown Expect"),
    # projects by number and by path
    *(
        Row(
            f"{method.decode()} {key[:12].decode()}",
            method,
            PROJECTS + b"/" + key,
            TOKEN,
            b"",
            404,
            "404 Project Not Found",
        )
        for key in (b"9" * 19, b"9" * 30, b"9" * 5000, b"%D9%A3", b"%ff", b"%00", b"%ed%a0%80", b"a" * 2000)
        for method in (b"GET", b"DELETE")
    ),
    Row("bytes in the path", b"GET", PROJECTS + b"/\xff", TOKEN, b"", 400, "Invalid char"),
    # who is it
    Row("token", b"GET", PROJECTS, ((b"PRIVATE-TOKEN", b"\xff\xc3\xa9"),), b"", 401, "401 Unauthorized"),
    *(
        Row(f"Basic {value!r}", b"GET", INFO_REFS, ((b"Authorization", b"Basic " + value),), b"", 401, "Access denied")
        for value in (b"\xff", "é".encode(), b"/w==", b"====", b"x" * 5)
    ),
    *(
        Row(f"hook {name}", b"POST", ALLOWED, headers, b"{}", 401, "the shared secret does not fit")
        for name, headers in (
            ("bytes", ((b"Gitlab-Shell-Api-Request", b"\xff"),)),
            ("nesting", claims(b'{"a":' + b"[" * 2500 + b"]" * 2500 + b"}")),
            ("number", claims(b'{"a":' + b"1" * 5000 + b"}")),
            ("list", claims(b'{"alg":["HS256"]}')),
        )
    ),
    # hooks
    Row("hook deep nesting", b"POST", ALLOWED, HOOK, b"[" * 100_000, 400, "nested too deeply"),
    Row("hook no object", b"POST", ALLOWED, HOOK, b"[]", 400, "not a JSON object"),
    Row("hook charset", b"POST", ALLOWED, (*HOOK, (b"Content-Type", b"a/b; charset=no")), b"{}", 415, "use UTF-8"),
    *(
        Row(
            f"hook project {number[:9]}",
            b"POST",
            ALLOWED,
            HOOK,
            f'{{"gl_repository": "project-{number}"}}'.encode(),
            404,
            "found",
        )
        for number in ("9" * 30, "9" * 5000, "٣", r"\ud800", "-1")
    ),
    *(
        Row(
            f"hook user {user[:9]}",
            b"POST",
            ALLOWED,
            HOOK,
            f'{{"gl_repository": "project-1", "user_id": {user}}}'.encode(),
            403,
            "unknown",
        )
        for user in ("9" * 4000, f'"{"9" * 5000}"', "{}", r'"\ud800"', "null")
    ),
    # git
    *_git("no gzip", GZIP, b"nonsense", 400, "cannot be decoded"),
    *_git("unknown coding", ((b"Content-Encoding", b"zip"),), b"0000", 415, "Content-Encoding 'zip'"),
    *_git("nonsense", (), b"nonsense", 400, "not what git sends"),
    *_git("nothing", (), b"", 400, "not what git sends"),
    *_git("half a length", (), b"00", 400, "not what git sends"),
    *_git("impossible length", (), b"0003", 400, "not what git sends"),
    *_git("no chunks", ((b"Transfer-Encoding", b"chunked"),), b"zz\r\n0000\r\n", 400, "chunk"),
    *_git("protocol", ((b"Git-Protocol", b"\xff"),), b"0000", 400, "Git-Protocol"),
    Row("protocol", b"GET", INFO_REFS, (*BASIC, (b"Git-Protocol", "é".encode())), b"", 400, "Git-Protocol"),
    *(
        Row(f"git path {path[:9]!r}", b"GET", b"/" + path + INFO_REFS[4:], BASIC, b"", 404, "could not be found")
        for path in (b"%ff", b"a%00", b"a" * 7000, b"%ed%a0%80", b"..%2fapp", b"-x")
    ),
    # what is not HTTP
    Row("long target", b"GET", b"/" + b"a" * 9000, (), b"", 400, "8190"),
    Row("long header", b"GET", b"/", ((b"X", b"a" * 20_000),), b"", 400, "8190"),
    Row("NUL in the target", b"GET", b"/\0", (), b"", 400, "Invalid char"),
    Row("NUL in a header", b"GET", b"/", ((b"X\0", b"a"),), b"", 400, "header"),
    Row("method", b"BR\xffEW", b"/", (), b"", 400, "method"),
    Row("no port", b"CONNECT", b"host:99999", (), b"", 400, "host"),
    Row("no host", b"GET", b"http://[::1/", (), b"", 400, "http"),
    Row("no route", b"GET", b"/api/v4/nowhere", (), b"", 404, "Not Found"),
    Row("no such method", b"PATCH", PROJECTS, TOKEN, b"", 405, "Method Not Allowed"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ascii(row.name))
async def test_bad_input_is_refused_with_its_reason(client: GatewayClient, row: Row) -> None:
    with nothing_crashes():
        answer = await exchange(client.url, row.method, row.target, headers=signed(row.headers), body=row.body)
    text = answer.body.decode()
    assert (answer.status, row.part in text) == (row.status, True), text
    if row.target.startswith(b"/api/") and "json" in answer.head:
        assert row.part in json.loads(text)["message"]
    assert await client.projects() == ["app"]


async def test_a_push_of_many_references_is_judged(client: GatewayClient) -> None:
    changes = f"{'0' * 40} {'1' * 40} refs/heads/a-branch\n" * 40_000
    body = json.dumps({"gl_repository": "project-1", "user_id": "1", "changes": changes}).encode()
    answer = await exchange(client.url, b"POST", ALLOWED, headers=signed(HOOK), body=body)
    assert answer.status == 200


async def test_an_error_after_the_first_byte_is_no_fault_of_the_program(client: GatewayClient) -> None:
    unknown = b"0032want " + b"1" * 40 + b"\n00000009done\n"
    with nothing_crashes():
        answer = await exchange(client.url, b"POST", UPLOAD, headers=BASIC, body=unknown)
    assert b"not our ref" in answer.body


# --- any method, target, headers and body ---

NAMES = ("path", "name", "namespace", "default_branch", "repository_storage", "initialize_with_readme")
HOOK_NAMES = ("gl_repository", "user_id", "changes", "identifier")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\ud800", "\0", "a" * 300, "project-1", "1", "-x", "a..b", "app", "../x", f"project-{10**30}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.sampled_from((*NAMES, *HOOK_NAMES)) | st.text(max_size=5), VALUES, max_size=5)
PACKETS = st.lists(
    st.sampled_from(
        [b"0000", b"0001", b"0009done\n", b"0032want " + b"1" * 40 + b"\n", b"0014command=ls-refs\n", b"ffff"]
    )
    | st.binary(max_size=12),
    max_size=5,
).map(b"".join)
PART_LINES = (
    b"--a\r\n",
    b"--a--\r\n",
    b"\r\n",
    b"Content-Disposition: form-data; name=path\r\n",
    b"Content-Disposition: form-data; name=path; filename=x\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Type: text/plain; charset=no\r\n",
    b"Content-Type: multipart/mixed; boundary=a\r\n",
    b"Content-Transfer-Encoding: no\r\n",
    b"Content-Encoding: gzip\r\n",
    b"X" * 9000 + b": x\r\n",
)
PARTS = st.lists(st.sampled_from(PART_LINES) | st.binary(max_size=12), max_size=8).map(b"".join)
BODIES = st.one_of(
    OBJECTS.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(NAMES), st.text(alphabet="a/%f0-.", max_size=8)).map(
        lambda fields: "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    ),
    PARTS,
    PACKETS,
    st.binary(max_size=64),
    st.sampled_from([b"", b"[" * 5000, b"1" * 5000]),
)
BODIES = BODIES | BODIES.map(gzip.compress)
SEGMENTS = st.one_of(
    st.sampled_from([b"app", b"1", b"nowhere", b"%2e%2e", b"a%2Fb", b"9" * 40, b"%ff", b"%00", b"%ed%a0%80", b"-"]),
    st.binary(max_size=12).map(lambda raw: b"".join(b"%%%02x" % byte for byte in raw)),
    st.binary(max_size=6),
    st.integers(min_value=0).map(lambda number: b"%d" % number),
)
SERVICES = st.sampled_from([b"git-upload-pack", b"git-receive-pack", b"x", b"%ff", b""])
HOOK_ROUTES = (b"allowed", b"pre_receive", b"post_receive", b"check", b"gitaly/object_pool_members?disk_paths[]=%ff")
TARGETS = st.one_of(
    st.sampled_from([b"/", b"/-/status.json", b"/-/health", PROJECTS, INFO_REFS, UPLOAD, RECEIVE, b"*"]),
    SEGMENTS.map(lambda segment: PROJECTS + b"/" + segment),
    st.sampled_from(HOOK_ROUTES).map(lambda route: b"/api/v4/internal/" + route),
    st.builds(lambda path, service: b"/" + path + b".git/info/refs?service=" + service, SEGMENTS, SERVICES),
    st.builds(lambda path, service: b"/" + path + b".git/" + service, SEGMENTS, SERVICES),
    SEGMENTS.map(lambda segment: b"/" + segment),
)
HEADER_VALUES = st.binary(max_size=40).map(lambda raw: raw.translate(None, b"\r\n"))
CONTENT_TYPES = st.sampled_from(
    (
        b"application/json",
        b"application/json; charset=no",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=a",
        b"multipart/form-data; boundary=",
        b"application/x-git-upload-pack-request",
        b"text/plain",
    )
)
HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just(b"Content-Type"), CONTENT_TYPES | HEADER_VALUES),
        st.tuples(st.just(b"Content-Encoding"), st.sampled_from([b"gzip", b"deflate", b"identity", b"zip", b"br"])),
        st.tuples(st.just(b"Git-Protocol"), st.sampled_from([b"version=2", b"version=9"]) | HEADER_VALUES),
        st.tuples(st.sampled_from([b"X-Request-ID", b"Cookie", b"Range", b"Accept"]), HEADER_VALUES),
    ),
    max_size=3,
)
CREDENTIALS = st.one_of(
    st.just(TOKEN),
    st.just(BASIC),
    HEADER_VALUES.map(lambda value: ((b"PRIVATE-TOKEN", value),)),
    HEADER_VALUES.map(lambda value: ((b"Authorization", b"Basic " + value),)),
    st.just(HOOK),
)
READER: Headers = ((b"PRIVATE-TOKEN", GUEST.encode()),)
GENEROUS = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@GENEROUS
@given(
    method=st.sampled_from([b"GET", b"POST", b"POST", b"POST", b"DELETE", b"HEAD", b"PUT", b"OPTIONS"]),
    target=TARGETS,
    credentials=CREDENTIALS,
    headers=HEADERS,
    body=BODIES,
)
async def test_no_request_makes_it_fall_over(
    client: GatewayClient,
    method: bytes,
    target: bytes,
    credentials: Headers,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    who = READER if method == b"DELETE" else credentials
    with nothing_crashes():
        answer = await exchange(client.url, method, target, headers=signed((*who, *headers)), body=body)
    assert 200 <= answer.status < 500, answer
    if answer.status >= 400 and method != b"HEAD":
        assert answer.body.strip()
    assert (await exchange(client.url, b"GET", b"/-/health")).status == 200


@GENEROUS
@given(
    st.lists(
        st.sampled_from([b"GET / HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"Content-Length: "]) | st.binary(), max_size=8
    )
)
async def test_no_bytes_make_it_fall_over(client: GatewayClient, pieces: list[bytes]) -> None:
    with nothing_crashes():
        answer = await send(client.url, b"".join(pieces) + b"\r\n\r\n", eof=True)
    assert answer.status < 500
    assert (await exchange(client.url, b"GET", b"/-/health")).status == 200
