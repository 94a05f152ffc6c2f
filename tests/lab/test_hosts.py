"""A lab's hosts behave like hosts: they pull, run, talk, lose their cable and their power."""

import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anyio
import pytest

from lab import Lab, LabHost
from tests.lab.traces import is_running

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
async def pair(anyio_backend: str) -> AsyncIterator[Lab]:
    async with Lab(hosts=2, name=f"h{os.getpid()}") as lab:
        yield lab


async def _serve(lab: Lab, host: LabHost, image: str, port: int) -> str:
    """Run a web image with its port 80 published; return its URL as seen from the other hosts."""
    async with await host.docker() as docker:
        await docker.images.pull(lab.image(image))
        config: dict[str, Any] = {
            "Image": lab.image(image),
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(port)}]}, "Memory": 64 << 20},
        }
        await docker.containers.run(config, name=f"{image.replace('/', '-')}-{port}")
    return f"http://{host.address}:{port}"


async def _get(url: str) -> str:
    """Fetch from the machine itself, through the lab's switch; a container needs a moment to listen."""
    with anyio.fail_after(10):
        while True:
            try:
                async with aiohttp.request("GET", url, timeout=aiohttp.ClientTimeout(total=3)) as response:
                    return await response.text()
            except aiohttp.ClientConnectionError:
                await anyio.sleep(0.05)


async def _reaches(host: LabHost, url: str) -> bool:
    """Whether a program on the host gets an answer within 2 seconds."""
    answer = await host.run("curl", "--silent", "--max-time", "2", "--output", "/dev/null", "-w", "%{http_code}", url)
    return answer == "200"


async def test_an_image_is_pulled_from_the_registry_and_serves(pair: Lab) -> None:
    url = await _serve(pair, pair.hosts[0], "lab/web", 8000)
    async with await pair.hosts[0].docker() as docker:
        container = await docker.containers.get("lab-web-8000")
        assert (await _get(url)).strip() == container["Config"]["Hostname"]
    assert await _get(f"{url}/health") == "ok\n"


@pytest.mark.parametrize("image", ["lab/shell", "lab/redis", "lab/nginx", "lab/load"])
async def test_every_image_starts_and_stops_at_once(pair: Lab, image: str) -> None:
    async with await pair.hosts[1].docker() as docker:
        await docker.images.pull(pair.image(image))
        config: dict[str, Any] = {"Image": pair.image(image), "Tty": True}
        container = await docker.containers.run(config, name=image.replace("/", "-"))
        await anyio.sleep(0.3)
        assert (await container.show())["State"]["Running"]
        with anyio.fail_after(5):
            await container.stop(t=30)
        await container.delete()


async def test_containers_of_one_host_reach_ports_of_another(pair: Lab) -> None:
    url = await _serve(pair, pair.hosts[0], "lab/nginx", 8001)
    await _get(url)
    async with await pair.hosts[1].docker() as docker:
        await docker.images.pull(pair.image("lab/shell"))
        config: dict[str, Any] = {"Image": pair.image("lab/shell"), "Cmd": ["wget", "-q", "-O", "-", url]}
        container = await docker.containers.run(config, name="client")
        result = await container.wait(timeout=60)
        output = await container.log(stdout=True, stderr=True)
        assert (result["StatusCode"], output) == (0, ["lab/nginx\n"])


async def test_hosts_have_their_own_engines_and_names(pair: Lab) -> None:
    identities = set()
    for host in pair.hosts:
        async with await host.docker() as docker:
            info = await docker.system.info()
            assert info["Name"] == host.name
            identities.add(info["ID"])
    assert len(identities) == 2


async def test_a_cut_cable_is_silence_and_heals(pair: Lab) -> None:
    near, far = pair.hosts
    url = await _serve(pair, near, "lab/nginx", 8002)
    await _get(url)
    assert await _reaches(far, url)
    await near.cut_network()
    with pytest.raises(Exception, match="exit status 28"):
        await _reaches(far, url)
    await near.restore_network()
    assert await _reaches(far, url)


async def test_power_off_ends_all_and_power_on_finds_the_disks(pair: Lab) -> None:
    host = pair.hosts[1]
    async with await host.docker() as docker:
        await docker.images.pull(pair.image("lab/shell"))
        config: dict[str, Any] = {"Image": pair.image("lab/shell"), "Cmd": ["sleep", "600"]}
        container = await docker.containers.run(config, name="sleeper")
        pid = (await container.show())["State"]["Pid"]
    await host.power_off()
    assert not is_running(pid)
    await host.power_on()
    async with await host.docker() as docker:
        state = (await (await docker.containers.get("sleeper")).show())["State"]
        assert state["Running"] is False
        await (await docker.containers.get("sleeper")).start()


async def test_another_process_finds_the_lab(pair: Lab) -> None:
    other = Lab.attach(pair.name)
    assert [(host.name, host.address) for host in other.hosts] == [(host.name, host.address) for host in pair.hosts]
    assert other.registry == pair.registry
