"""Frames without what no name is made from make the same names."""

from __future__ import annotations

import msgspec
import pytest

from drover.client.world import Change, Full, Key, World, encode_frame
from drover.host.dns.directory import Directory
from drover.host.dns.slim import decode_slim
from drover.host.dns.view import Shared
from tests.host.dns.worlds import HERE, base, case_objects, container, names_of, service


def test_the_records_are_the_same() -> None:
    web = service("inner", links={"shop/db": "store"})
    extra = container("e1", "10.42.7.1", web, dns=("10.0.0.9",), labels={"a": "b"}, external_id="x" * 64)
    whole = names_of(*case_objects(), web, extra).shared
    world, slim = World(), Shared()
    directory = Directory(world, slim, metadata_answer=("169.254.169.250",))
    full = Full("e", 1, (*base(), *case_objects(), web, extra), host=HERE)
    directory.apply(world.apply(decode_slim(encode_frame(full))))
    assert slim.records == whole.records
    assert {a: (v.records, v.search, v.upstreams) for a, v in slim.clients.items()} == {
        a: (v.records, v.search, v.upstreams) for a, v in whole.clients.items()
    }
    assert world.containers[extra.uuid].labels == {}
    change = Change("e", 1, 2, changed=(container("new", "10.42.7.2"),), gone=(Key("container", extra.uuid),))
    directory.apply(world.apply(decode_slim(encode_frame(change))))
    assert "new.rancher.internal." in slim.records
    assert "e1.rancher.internal." not in slim.records


def test_what_is_no_frame_is_refused() -> None:
    for text in (b"", b"{}", b'{"frame":"full"}', b'{"frame":"full","epoch":"e","revision":1,"objects":[{}]}'):
        with pytest.raises(msgspec.DecodeError):
            decode_slim(text)
