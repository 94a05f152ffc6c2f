"""Plug-ins of others, by the exec protocol: Debian's `bridge` and `host-local`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.network.lonely_host import IMAGE, LonelyHost, ManagerProcess, eventually, lonely_host
from tests.host.network.worlds import container, frame, network, stock

pytestmark = [pytest.mark.docker, pytest.mark.slow]

PLUGINS = Path("/usr/lib/cni")


def config(folder: Path, version: str) -> dict[str, object]:
    return {
        "cniVersion": version,
        "name": "other",
        "type": "bridge",
        "bridge": "cni7",
        "isDefaultGateway": True,
        "ipam": {"type": "host-local", "subnet": "10.77.0.0/24", "dataDir": str(folder / "leases")},
    }


@pytest.fixture
def host() -> Iterator[LonelyHost]:
    if not (PLUGINS / "bridge").exists():
        pytest.fail("this test needs CNI plug-ins (Debian: containernetworking-plugins)")
    with lonely_host() as host:
        yield host


def start(host: LonelyHost, name: str = "other") -> str:
    return host.start("10.42.7.9", options=(f"--label=io.rancher.cni.network={name}",))


def leases(host: LonelyHost) -> list[str]:
    return sorted(each.name for each in (host.folder / "leases" / "other").glob("10.*"))


@pytest.mark.parametrize("version", ["0.2.0", "0.4.0", "1.0.0"])
def test_files_of_a_driver_choose_the_plugin(host: LonelyHost, version: str):
    folder = host.folder / "cni" / "other.d"
    folder.mkdir(parents=True)
    (folder / "10-other.conf").write_text(json.dumps(config(host.folder, version)))
    with ManagerProcess(host) as manager:
        first = start(host)
        assert manager.attached(first)["ip4"]["ip"] == "10.77.0.2/24"
        assert "10.77.0.2/24" in host.docker("exec", first, "ip", "addr")
        host.run("busybox", "ping", "-c1", "-W2", "10.77.0.2")
        assert leases(host) == ["10.77.0.2"]
    with ManagerProcess(host) as manager:
        # A restarted manager does not run the plug-in again for what is attached.
        assert manager.attached(first)["ip4"]["ip"] == "10.77.0.2/24"
        eventually(lambda: any("container.attached" in line for line in manager.lines))
        assert leases(host) == ["10.77.0.2"]
        host.docker("rm", "--force", first)
        eventually(lambda: leases(host) == [], what=f"the address is given back: {manager.log()}")


def test_the_environment_chooses_the_plugin(host: LonelyHost):
    own = network()
    own.metadata["cniConfig"] = {"10-other.conf": config(host.folder, "0.4.0")}
    with ManagerProcess(host) as manager:
        manager.show(frame(*stock(own=own)))
        assert manager.attached(start(host, "ipsec"))["ip4"]["ip"] == "10.77.0.2/24"


def test_the_built_in_bridge_with_an_ipam_of_others(host: LonelyHost):
    ipam = {"type": "host-local", "subnet": "10.78.0.0/24", "dataDir": str(host.folder / "leases")}
    own = network(name="other", bridgeSubnet="10.78.0.0/24", ipam=ipam)
    with ManagerProcess(host) as manager:
        manager.show(frame(*stock(own=own)))
        mac = "--label=io.rancher.container.mac_address=02:00:01:00:00:41"
        local = host.docker("run", "--detach", "--network=none", "--label=io.rancher.cni.network=ipsec", mac, IMAGE)
        # host-local gives the first address, which is the bridge's, to nobody.
        assert manager.attached(local)["ip4"]["ip"] == "10.78.0.2/24"
        host.run("busybox", "ping", "-c1", "-W2", "10.78.0.2")
        assert leases(host) == ["10.78.0.2"]
        host.docker("rm", "--force", local)
        eventually(lambda: leases(host) == [], what=f"the address is given back: {manager.log()}")


def test_a_missing_plugin_is_named(host: LonelyHost):
    folder = host.folder / "cni" / "other.d"
    folder.mkdir(parents=True)
    (folder / "10-other.conf").write_text(json.dumps(config(host.folder, "0.4.0") | {"type": "no-such"}))
    with ManagerProcess(host, attach_tries=2) as manager:
        error = manager.attached(start(host))["error"]
        assert "failed to find CNI plug-in 'no-such'" in error


def test_a_network_that_comes_late_is_joined_after_all(host: LonelyHost):
    with ManagerProcess(host, attach_tries=1) as manager:
        waiting = host.start("10.42.7.9")
        assert "knows no network named ipsec" in manager.attached(waiting)["error"]
        manager.show(frame(*stock()))
        eventually(lambda: manager.outcome(waiting).get("ip4"), what=f"the container is attached: {manager.log()}")


def test_a_plugin_that_fails_is_tried_again(host: LonelyHost):
    plugins = host.folder / "plugins"
    plugins.mkdir()
    for name in ("bridge", "host-local"):
        shutil.copy(PLUGINS / name, plugins / name)
    flag = host.folder / "ready"
    wrapper = plugins / "late"
    wrapper.write_text(
        f'#!/bin/sh\n[ -e {flag} ] || {{ echo \'{{"code": 11, "msg": "not yet"}}\'; exit 1; }}\nexec {plugins}/bridge\n'
    )
    wrapper.chmod(0o755)
    folder = host.folder / "cni" / "other.d"
    folder.mkdir(parents=True)
    (folder / "10-other.conf").write_text(json.dumps(config(host.folder, "0.4.0") | {"type": "late"}))
    with ManagerProcess(host, cni_path=str(plugins)) as manager:
        waiting = start(host)
        eventually(lambda: any("not yet" in line for line in manager.lines))
        assert manager.outcome(waiting) == {}
        flag.touch()
        assert manager.attached(waiting)["ip4"]["ip"] == "10.77.0.2/24"


def test_a_native_container_gets_its_address_from_the_environment(host: LonelyHost):
    with ManagerProcess(host) as manager:
        native = host.docker(
            "run", "--detach", "--network=none", "--label=io.rancher.container.network=true", "drover-test/network:1"
        )
        manager.show(
            frame(*stock(container("native", "10.42.7.33", docker_id=native, primary_mac_address="02:00:01:00:00:33")))
        )
        assert manager.attached(native)["ip4"]["ip"] == "10.42.7.33/16"
        assert "02:00:01:00:00:33" in host.docker("exec", native, "ip", "link", "show", "eth0")
