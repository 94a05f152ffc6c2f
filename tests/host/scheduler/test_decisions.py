"""Room on hosts, as the scheduler program sees it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from drover.client.scheduling import Answer, SchedulerRequest
from drover.client.world import Container, Full, Host, Object, World
from drover.host.scheduler.decisions import RANDOM_PORTS, Decisions, Unplaceable
from drover.host.scheduler.pools import FORGET_SECONDS, Pools

GIB = 1024**3


class Room:
    """Hosts, what runs on them, and a clock that a test moves."""

    def __init__(self, *objects: Object) -> None:
        self.now = 0.0
        self.world = World()
        self.pools = Pools(lambda: self.now)
        self.decisions = Decisions(self.pools)
        self.revision = 0
        self.becomes(*objects)

    def becomes(self, *objects: Object) -> bool:
        self.revision += 1
        return self.pools.apply(self.world, self.world.apply(Full("e", self.revision, objects)))

    def hosts(self, *uuids: str, **request: Any) -> list[str]:
        return list(self.decisions.prioritize(asked(*uuids, **request)).prioritized_candidates or ())

    def reserve(self, host: str, *uuids: str, phase: str = "instance.allocate", **request: Any) -> Answer:
        return self.decisions.reserve(asked(*uuids, phase=phase, host=host, **request))

    def release(self, *uuids: str, phase: str) -> None:
        self.decisions.release(asked(*uuids, phase=phase))


def asked(
    *uuids: str,
    phase: str = "instance.allocate",
    host: str | None = None,
    memory: int = 0,
    cpu: int = 0,
    ports: tuple[dict[str, Any], ...] = (),
    labels: dict[str, str] | None = None,
    force: bool = False,
) -> SchedulerRequest:
    """A request as it comes over the wire."""
    requests: list[dict[str, Any]] = [{"resource": "instanceReservation", "amount": 1, "type": "computePool"}]
    if memory:
        requests.append({"resource": "memoryReservation", "amount": memory, "type": "computePool"})
    if cpu:
        requests.append({"resource": "cpuReservation", "amount": cpu, "type": "computePool"})
    requests += [
        {
            "resource": "portReservation",
            "type": "portPool",
            "instanceId": uuid.removeprefix("c"),
            "resourceUuid": uuid,
            "portRequests": list(ports),
        }
        for uuid in (uuids if ports else ())
    ]
    context = [
        {"id": int(uuid.removeprefix("c")), "uuid": uuid, "data": {"fields": {"labels": labels or {}}}}
        for uuid in uuids
    ]
    document = {"phase": phase, "resourceRequests": requests, "context": context, "hostID": host, "force": force}
    return msgspec.convert(document, SchedulerRequest)


def host(uuid: str, **fields: Any) -> Host:
    return Host(uuid=uuid, name=uuid, **{"state": "active", "memory": 8 * GIB, "milli_cpu": 4000, **fields})


def runs(uuid: str, on: str, **fields: Any) -> Container:
    return Container(uuid=uuid, name=uuid, host_uuid=on, **{"state": "running", **fields})


def web(public: int | None = 80, address: str | None = None) -> dict[str, Any]:
    return {"privatePort": 80, "publicPort": public, "ipAddress": address, "protocol": "tcp"}


def test_fewest_containers_first() -> None:
    room = Room(host("h1"), host("h2"), host("h3"), runs("c1", "h1"), runs("c2", "h1"), runs("c3", "h2"))
    assert room.hosts("c9") == ["h3", "h2", "h1"]


def test_memory_and_cpu_of_all_members_must_fit() -> None:
    room = Room(host("h1"), host("h2", memory=2 * GIB), runs("c1", "h1", memory_reservation=7 * GIB, state="stopped"))
    assert set(room.hosts("c9", memory=GIB)) == {"h1", "h2"}
    assert room.hosts("c9", memory=2 * GIB) == ["h2"], "a stopped container keeps its memory"
    assert room.hosts("c9", memory=3 * GIB) == []
    assert room.hosts("c9", cpu=4001) == []


def test_hosts_that_take_nothing_are_left_out() -> None:
    room = Room(host("h1", state="inactive"), host("h2", agent_state="reconnecting"), host("h3", agent_state="active"))
    assert room.hosts("c9") == ["h3"]


def test_ports_of_running_containers_are_taken() -> None:
    running = runs("c1", "h1", ports=("0.0.0.0:80:80/tcp",))
    room = Room(host("h1"), host("h2"), running)
    assert room.hosts("c9", ports=(web(),)) == ["h2"]
    room.becomes(host("h1"), host("h2"), msgspec.structs.replace(running, state="stopped"))
    assert set(room.hosts("c9", ports=(web(),))) == {"h1", "h2"}


def test_a_restart_does_not_collide_with_itself() -> None:
    room = Room(host("h1"), runs("c1", "h1", ports=("0.0.0.0:80:80/tcp",)))
    answer = room.reserve("h1", "c1", phase="instance.start", ports=(web(),))
    assert answer.port_reservation is not None


def test_only_labelled_containers_where_a_host_asks_for_it() -> None:
    room = Room(host("h1", labels={"io.rancher.scheduler.require_any": "gpu,tier=front"}))
    assert room.hosts("c9") == []
    assert room.hosts("c9", labels={"GPU": "1"}) == ["h1"]
    assert room.hosts("c9", labels={"tier": "Front"}) == ["h1"]
    assert room.hosts("c9", labels={"tier": "back"}) == []


def test_a_reservation_counts_until_the_container_is_there_or_never_comes() -> None:
    room = Room(host("h1"), host("h2"))
    room.reserve("h1", "c1", memory=8 * GIB)
    assert room.hosts("c9", memory=GIB) == ["h2"]
    room.becomes(host("h1"), host("h2"), runs("c1", "h1", memory_reservation=8 * GIB))
    room.now = FORGET_SECONDS + 1
    room.pools.forget_broken_promises()
    assert room.hosts("c9", memory=GIB) == ["h2"], "it came"
    room.becomes(host("h1"), host("h2"))
    assert set(room.hosts("c9", memory=8 * GIB)) == {"h1", "h2"}
    room.reserve("h1", "c2", memory=8 * GIB)
    room.now += FORGET_SECONDS + 1
    room.pools.forget_broken_promises()
    assert set(room.hosts("c9", memory=8 * GIB)) == {"h1", "h2"}, "it never came"


def test_what_does_not_fit_is_refused_and_forced() -> None:
    room = Room(host("h1"), runs("c1", "h1", ports=("80:80/tcp",)))
    with pytest.raises(Unplaceable, match="port 80/tcp used by c1"):
        room.reserve("h1", "c2", ports=(web(),))
    with pytest.raises(Unplaceable, match="memory"):
        room.reserve("h1", "c2", memory=9 * GIB)
    room.reserve("h1", "c2", memory=9 * GIB, force=True)
    assert room.hosts("c9", memory=1) == []


def test_all_ports_of_a_container_go_to_one_address_of_the_pool() -> None:
    labels = {"io.rancher.scheduler.ips": "10.0.0.1, 10.0.0.2"}
    room = Room(host("h1", labels=labels), runs("c1", "h1", ports=("10.0.0.1:80:80/tcp",)))
    answer = room.reserve("h1", "c2", ports=(web(80), web(81)))
    assert answer.port_reservation is not None
    (reserved,) = answer.port_reservation
    assert reserved.instance_id == "2"
    assert [(each.allocated_ip, each.public_port) for each in reserved.allocated_ips] == [
        ("10.0.0.2", 80),
        ("10.0.0.2", 81),
    ]
    wire = msgspec.to_builtins(answer)
    assert wire["portReservation"][0]["allocatedIPs"][0] == {
        "allocatedIP": "10.0.0.2",
        "publicPort": 80,
        "privatePort": 80,
        "protocol": "tcp",
    }
    assert room.hosts("c9", ports=(web(),)) == [], "both addresses have it now"


def test_a_port_of_any_number_gets_a_free_one() -> None:
    room = Room(host("h1"))
    answer = room.reserve("h1", "c1", ports=(web(None),))
    assert answer.port_reservation is not None
    assert answer.port_reservation[0].allocated_ips[0].public_port in RANDOM_PORTS


def test_release() -> None:
    room = Room(host("h1"))
    room.reserve("h1", "c1", memory=8 * GIB, ports=(web(),))
    room.release("c1", phase="instance.stop")
    assert room.hosts("c9", ports=(web(),)) == ["h1"]
    assert room.hosts("c9", memory=GIB) == []
    room.release("c1", phase="instance.deallocate")
    assert room.hosts("c9", memory=GIB) == ["h1"]
    room.release("c7", phase="instance.deallocate")  # nobody knows it: nothing happens


def test_an_unknown_host_is_answered_with_nothing() -> None:
    assert Room().reserve("nowhere", "c1") == Answer()


def test_asking_leaves_no_trace() -> None:
    room = Room(host("h1"))
    before = dict(room.pools._numbers)
    for number in range(50):
        room.hosts(f"c{number}", memory=GIB)
    assert room.pools._numbers == before


def test_a_container_that_moves_counts_once() -> None:
    room = Room(host("h1"), host("h2"), runs("c1", "h1", memory_reservation=8 * GIB))
    room.becomes(host("h1"), host("h2"), runs("c1", "h2", memory_reservation=8 * GIB))
    assert room.hosts("c9", memory=GIB) == ["h1"]
    room.becomes(host("h1"), runs("c1", "h1", memory_reservation=8 * GIB))
    assert room.hosts("c9", memory=GIB) == []


def test_changed_labels_are_noticed() -> None:
    room = Room(host("h1"))
    assert not room.becomes(host("h1"), host("h2", labels={"a": "b"}))
    assert room.becomes(host("h1"), host("h2", labels={"a": "c"}))
