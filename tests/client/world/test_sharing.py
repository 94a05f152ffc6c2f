"""Equal values of a frame's containers are kept once, and nothing else changes."""

from __future__ import annotations

from drover.client.world import Change, Container, Full, Host, Membership, decode_frame, encode_frame
from drover.client.world.sharing import share


def container(number: int) -> Container:
    return Container(
        uuid=f"c{number}",
        state="running",
        host_uuid="host-1",
        primary_ip=f"10.42.0.{number}",
        ips=(f"10.42.0.{number}",),
        labels={"io.rancher.stack.name": "shop", "long": "x" * 200},
        dns_search=("shop.rancher.internal", "rancher.internal"),
        memberships=(Membership(service_uuid="s", service_name="web"),),
    )


def test_equal_values_are_one() -> None:
    frame = Full(epoch="e", revision=1, objects=(Host(uuid="host-1"), container(1), container(2)))
    received = share(decode_frame(encode_frame(frame)))
    assert received == frame
    assert isinstance(received, Full)
    one, two = (each for each in received.objects if isinstance(each, Container))
    assert one.host_uuid is two.host_uuid
    assert one.dns_search is two.dns_search
    assert one.memberships is two.memberships
    assert one.labels["io.rancher.stack.name"] is two.labels["io.rancher.stack.name"]
    assert one.ips[0] is one.primary_ip


def test_a_change_is_shared_too() -> None:
    frame = Change(epoch="e", since=1, revision=2, changed=(container(1),))
    assert share(decode_frame(encode_frame(frame))) == frame
