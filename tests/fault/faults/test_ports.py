"""Ports: nobody else has those that are claimed, and all of them are free."""

from __future__ import annotations

import socket

from tests.fault.faults.ports import BLOCK, claimed_ports


def test_claims_do_not_overlap_and_end() -> None:
    with claimed_ports() as first, claimed_ports() as second:
        assert len(first) == len(second) == BLOCK
        assert not set(first) & set(second)
    with claimed_ports() as again:
        assert again == first


def test_port_in_use_is_not_claimed() -> None:
    with claimed_ports() as first:
        pass
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", first[3]))
        with claimed_ports() as others:
            assert first[3] not in others
