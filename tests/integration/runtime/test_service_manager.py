"""What the service manager hears."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from praefect.runtime.service_manager import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ServiceManager, socket.socket]]:
    """A manager, and the socket it listens on."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path.name}-{id(request)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1) if request.param == "abstract" else address)
        listening.setblocking(False)
        yield ServiceManager(address), listening


def test_manager_hears_of_start_and_stop(heard: tuple[ServiceManager, socket.socket]) -> None:
    manager, listening = heard
    manager.ready()
    manager.stopping()
    assert [listening.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


def test_reload_names_the_process_that_takes_over(heard: tuple[ServiceManager, socket.socket]) -> None:
    manager, listening = heard
    manager.reloading()
    manager.replaced(4711)
    begun = listening.recv(100).split(b"\n")
    assert begun[0] == b"RELOADING=1"
    assert begun[1].startswith(b"MONOTONIC_USEC=")
    assert listening.recv(100) == b"MAINPID=4711\nREADY=1"


def test_replaced_process_says_no_more(heard: tuple[ServiceManager, socket.socket]) -> None:
    manager, listening = heard
    manager.replaced(4711)
    manager.stopping()
    assert listening.recv(100).startswith(b"MAINPID")
    with pytest.raises(BlockingIOError):
        listening.recv(100)


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_absent_manager_is_no_trouble(address: str) -> None:
    ServiceManager(address).ready()
