"""Archives: what is written is read back, however it is cut; what leads outside is refused."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from praefect.node.storage.tar_reader import ArchiveError, TarReader
from praefect.node.storage.tar_writer import Member, _pieces, tree_members

if TYPE_CHECKING:
    from pathlib import Path

LONG = "d/" + "n" * 180


def written(members: list[Member]) -> bytes:
    return b"".join(_pieces(members))


def read(directory: Path, data: bytes, size: int) -> None:
    reader = TarReader(directory, select=lambda _: True, keep_modes=False)
    try:
        for start in range(0, len(data), size):
            reader.feed(data[start : start + size])
        reader.finish()
    finally:
        reader.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(st.sampled_from(["a", "b/c", "b/d", LONG, "\udcff"]), st.binary(max_size=1500), max_size=5),
    size=st.integers(1, 700),
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], size: int) -> None:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name, content in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    read(target, written(list(tree_members(source, "top"))), size)
    found = {str(path.relative_to(target / "top")): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == files


def test_python_reads_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    (tmp_path / "x").chmod(0o500)
    data = written([*tree_members(tmp_path, "t"), Member(name="extra", content=b"2")])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert {member.name: (member.mode, member.size) for member in archive.getmembers()} == {
            "t": (0o777, 0),
            "t/x": (0o777, 1),
            "extra": (0o666, 1),
        }


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info.tobuf()


@pytest.mark.parametrize(
    "data",
    [
        member("../x"),
        member("/x"),
        member("a/../../x"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.SYMTYPE, "../.."),
        member("link", tarfile.SYMTYPE, "target") + member("link/../../x"),
        member("hard", tarfile.LNKTYPE, "x"),
        member("device", tarfile.CHRTYPE),
        b"\1" * 512,
    ],
)
def test_bad_member_is_refused(tmp_path: Path, data: bytes) -> None:
    target = tmp_path / "inner" / "target"
    target.mkdir(parents=True)
    with pytest.raises(ArchiveError):
        read(target, data + bytes(1024), 512)
    assert list(tmp_path.iterdir()) == [tmp_path / "inner"]


def test_file_behind_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    data = member("link", tarfile.SYMTYPE, "real") + member("link/x") + bytes(1024)
    with pytest.raises(ArchiveError):
        read(tmp_path, data, 10_000)


def test_cut_off_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 2000)
    data = written([Member(name="f", path=tmp_path / "source")])
    (tmp_path / "target").mkdir()
    with pytest.raises(ArchiveError, match="unexpected end"):
        read(tmp_path / "target", data[:1500], 100)


def test_pax_headers_are_understood(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("ä" * 90)
        info.size = 1
        archive.addfile(info, io.BytesIO(b"1"))
    read(tmp_path, buffer.getvalue(), 100)
    assert (tmp_path / ("ä" * 90)).read_bytes() == b"1"
