"""Published ports on a real engine: from everywhere, after every kind of disturbance."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.host.network.lonely_host import IMAGE, LonelyHost, ManagerProcess, eventually, lonely_host
from tests.host.network.worlds import container, frame, network, stock

pytestmark = [pytest.mark.docker, pytest.mark.slow]

OUTSIDE = "192.0.2.77"
INSIDE = "192.0.2.1"
SERVER = (
    "busybox mkdir -p /tmp/cgi-bin; echo '#!/bin/sh' >/tmp/cgi-bin/who; "
    "echo 'echo; echo from=$REMOTE_ADDR' >>/tmp/cgi-bin/who; busybox chmod +x /tmp/cgi-bin/who; "
    "exec httpd -f -p 80 -h /tmp"
)


@pytest.fixture(scope="module")
def host() -> Iterator[LonelyHost]:
    with lonely_host() as host:
        yield host


@pytest.fixture(scope="module")
def outside(host: LonelyHost) -> Iterator[str]:
    """A machine on the host's network: the name of its namespace."""
    name = f"{host.name}-out"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        host.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", name)
        host.run("ip", "addr", "add", f"{INSIDE}/24", "dev", "uplink")
        host.run("ip", "link", "set", "uplink", "up")
        host.run("ip", "route", "add", "default", "via", OUTSIDE)
        for command in (f"addr add {OUTSIDE}/24 dev eth0", "link set eth0 up", "link set lo up"):
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture(scope="module")
def manager(host: LonelyHost) -> Iterator[ManagerProcess]:
    with ManagerProcess(host) as manager:
        yield manager


@pytest.fixture(scope="module")
def web(host: LonelyHost, manager: ManagerProcess) -> str:
    """A web server behind port 8080 of the host; it shows who asks."""
    manager.show(frame(*stock()))
    server = host.start("10.42.7.9", "sh", "-c", SERVER)
    manager.attached(server)
    manager.show(
        frame(*stock(container("web", "10.42.7.9", docker_id=server, ports=("0.0.0.0:8080:80/tcp",))), revision=2)
    )
    eventually(lambda: host.rules("CATTLE_PREROUTING"), what=f"rules for the port: {manager.log()}")
    return server


def ask(host: LonelyHost, url: str, *, namespace: str = "", container: str = "") -> str:
    """What the web server says about who asks; empty when it does not answer."""
    address, _, port = url.partition(":")
    request = (
        f"printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | {'' if container else 'busybox '}nc -w 3 {address} {port}"
    )
    if container:
        answer = host.docker("exec", container, "sh", "-c", request, check=False)
    elif namespace:
        command = ["ip", "netns", "exec", namespace, "sh", "-c", request]
        answer = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    else:
        answer = host.run("sh", "-c", request, check=False)
    said = next((line for line in answer.splitlines() if line.startswith("from=")), "")
    return said.replace("[::ffff:", "").rstrip("]")


def test_from_outside_the_client_keeps_its_address(host: LonelyHost, web: str, outside: str):
    assert eventually(lambda: ask(host, f"{INSIDE}:8080", namespace=outside)) == f"from={OUTSIDE}"


def test_from_the_host_by_address_and_by_loopback(host: LonelyHost, web: str, outside: str):
    assert eventually(lambda: ask(host, f"{INSIDE}:8080"))
    assert eventually(lambda: ask(host, "127.0.0.1:8080"))


def test_from_another_container_and_from_itself(host: LonelyHost, web: str, outside: str, manager: ManagerProcess):
    other = host.start("10.42.7.10")
    manager.attached(other)
    for container_id in (other, web):
        answer = eventually(lambda each=container_id: ask(host, f"{INSIDE}:8080", container=each))
        assert answer.startswith("from=")


def test_the_metadata_service_sees_a_containers_own_address(host: LonelyHost, web: str, outside: str):
    script = "ip addr add 169.254.169.250/32 dev eth0; " + SERVER
    metadata = host.docker(
        *("run", "--detach", "--cap-add=NET_ADMIN", "--entrypoint", "sh", IMAGE, "-c", script),
    )
    assert eventually(lambda: ask(host, "169.254.169.250:80", container=web)) == "from=10.42.7.9"
    host.docker("rm", "--force", metadata)


def test_the_container_reaches_the_world_with_the_hosts_address(host: LonelyHost, web: str, outside: str):
    script = (
        "import socket; s=socket.create_server(('0.0.0.0', 9000)); print('ready', flush=True); "
        "c,a=s.accept(); print(a[0], flush=True)"
    )
    command = ["ip", "netns", "exec", outside, sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        host.docker("exec", web, "sh", "-c", f"echo hello | nc -w 2 {OUTSIDE} 9000", check=False)
        assert listener.stdout.readline() == f"{INSIDE}\n"


def test_a_policy_for_traffic_from_outside(host: LonelyHost, web: str, outside: str, manager: ManagerProcess):
    published = container("web", "10.42.7.9", docker_id=web, ports=("0.0.0.0:8080:80/tcp",), labels={"tier": "front"})
    to = {"selector": "tier=front"}

    def rule(selector: str, action: str) -> dict[str, object]:
        return {"from": {"selector": f"io.rancher.network.external{selector}"}, "to": to, "action": action}

    closed = [rule("=true", "deny")]
    manager.show(frame(*stock(published, own=network(policy=closed)), revision=10))
    eventually(lambda: not ask(host, f"{INSIDE}:8080", namespace=outside), what="nobody gets in")
    # The rule is about what comes from outside: the host and its containers are not concerned.
    assert ask(host, f"{INSIDE}:8080")
    assert ask(host, f"{INSIDE}:8080", container=web)
    some = [rule(f" in ({OUTSIDE}/32)", "allow"), *closed]
    manager.show(frame(*stock(published, own=network(policy=some)), revision=11))
    assert eventually(lambda: ask(host, f"{INSIDE}:8080", namespace=outside)) == f"from={OUTSIDE}"
    manager.show(frame(*stock(published), revision=12))
    eventually(lambda: not any("CATTLE_EXTERNAL_POLICY" in line for line in host.rules("FORWARD")))


def test_a_udp_flow_finds_a_port_that_is_published_later(
    host: LonelyHost, web: str, outside: str, manager: ManagerProcess
):
    """A peer that never stops sending keeps its untranslated connection alive: it must be forgotten."""
    receiver = host.start("10.42.7.30")
    manager.attached(receiver)
    script = (
        "import socket, time; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 4790));\n"
        f"while True: s.sendto(b'frame', ('{INSIDE}', 4789)); time.sleep(0.05)"
    )
    flow = ("conntrack", "-L", "-p", "udp", "--dport", "4789")
    command = ["ip", "netns", "exec", outside, sys.executable, "-c", script]
    with subprocess.Popen(command) as sender:
        try:
            eventually(lambda: f"src={INSIDE} dst={OUTSIDE}" in host.run(*flow), what="the flow is untranslated")
            manager.show(
                frame(
                    *stock(
                        container("web", "10.42.7.9", docker_id=web, ports=("0.0.0.0:8080:80/tcp",)),
                        container("peer", "10.42.7.30", docker_id=receiver, ports=("0.0.0.0:4789:4789/udp",)),
                    ),
                    revision=13,
                )
            )
            translated = f"src=10.42.7.30 dst={OUTSIDE}"
            eventually(lambda: translated in host.run(*flow), what="the flow goes to the container")
        finally:
            sender.kill()


def test_rules_come_back_after_a_flush(host: LonelyHost, web: str, outside: str, manager: ManagerProcess):
    before = host.run("iptables-save", "-t", "nat").splitlines()
    host.run("iptables", "-t", "nat", "-F", "CATTLE_PREROUTING")
    host.run("iptables", "-t", "nat", "-D", "PREROUTING", "1")
    eventually(lambda: ask(host, f"{INSIDE}:8080", namespace=outside), what="the port answers again")
    eventually(lambda: sorted(_rules(host)) == sorted(each for each in before if each.startswith("-A")))


def _rules(host: LonelyHost) -> list[str]:
    return [line for line in host.run("iptables-save", "-t", "nat").splitlines() if line.startswith("-A")]


def test_hooks_stand_first_after_an_engine_restart(host: LonelyHost, web: str, outside: str, manager: ManagerProcess):
    host.stop_engine()
    host.start_engine()
    host.docker("start", web)
    manager.attached(web)
    eventually(
        lambda: host.rules("FORWARD")[1] == "-A FORWARD -j CATTLE_FORWARD",
        timeout=6,
        what=f"our hook is first again {host.rules('FORWARD')} {manager.log()}",
    )
    assert host.rules("FORWARD")[0] == "-A FORWARD -s 10.42.0.0/16 -d 10.42.0.0/16 -j CATTLE_NETWORK_POLICY"
    assert eventually(lambda: ask(host, f"{INSIDE}:8080", namespace=outside)) == f"from={OUTSIDE}"


def test_nothing_is_removed_because_the_manager_stops(
    host: LonelyHost, web: str, outside: str, manager: ManagerProcess
):
    before = _rules(host)
    manager.stop()
    assert _rules(host) == before
    assert ask(host, f"{INSIDE}:8080", namespace=outside) == f"from={OUTSIDE}"
    with ManagerProcess(host) as again:
        # It knows no world yet: the rules of before stay.
        eventually(lambda: any("iptables.backend" in line for line in again.lines))
        assert _rules(host) == before
        again.show(frame(*stock(), revision=9))
        eventually(lambda: not host.rules("CATTLE_PREROUTING"), what="the container is gone from the world")
