"""Multiplexed connections by number."""

import pytest

from praefect.transport.backchannel import BackchannelNotFoundError, BackchannelRegistry
from praefect.transport.peer import ListenerKind, Peer
from praefect.transport.sidechannel import NotMultiplexedError


def make_peer() -> Peer:
    return Peer(address="192.0.2.1:4242")


def test_numbers_count_from_one_and_are_not_used_twice() -> None:
    registry = BackchannelRegistry()
    one, two, three = make_peer(), make_peer(), make_peer()
    registry.add(one)
    registry.add(two)
    registry.remove(two)
    registry.add(three)
    assert [peer.backchannel_id for peer in (one, two, three)] == [1, 2, 3]
    assert registry.peer(1) is one
    assert len(registry) == 2


@pytest.mark.parametrize("backchannel_id", [0, 1, 7])
def test_peer_that_is_gone_is_not_found(backchannel_id: int) -> None:
    registry = BackchannelRegistry()
    peer = make_peer()
    registry.add(peer)
    registry.remove(peer)
    registry.remove(peer)
    with pytest.raises(BackchannelNotFoundError) as caught:
        registry.peer(backchannel_id)
    assert str(caught.value) == f"no backchannel for peer {backchannel_id}"
    assert registry.channel(backchannel_id) is None


async def test_plain_connection_has_no_way_back() -> None:
    peer = Peer(address="192.0.2.1:4242", listener=ListenerKind.TLS)
    assert peer.tls
    assert not peer.multiplexed
    assert peer.backchannel_id == 0
    with pytest.raises(NotMultiplexedError, match="fail to extract mux session: non-multiplexed connection"):
        peer.backchannel()
    with pytest.raises(NotMultiplexedError):
        await peer.open_sidechannel(0)
