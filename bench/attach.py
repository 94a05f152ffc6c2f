"""From `docker start` to the program's first instruction: on a managed network, next to Docker's own bridge.

Each round starts one container of each kind, which runs `true` and ends; the time is from the call to the end. A
container without any network says what the engine itself takes. The host has a namespace and an engine of its own.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from bench.docker_api import DockerApi
from bench.options import Options
from bench.result import Measure, Result, at_most, median_of, significant
from tests.host.network.lonely_host import IMAGE, LonelyHost, ManagerProcess, lonely_host, wait_folder
from tests.host.network.worlds import frame, stock

NAME = "attach"
TITLE = "Start of a container with a network"

_ATTACHED = re.compile(r"container\.attached.*\bms=(\d+)")
_KINDS = ("none", "bridge", "managed")


async def run(options: Options) -> list[Result]:
    missing = [name for name in ("dockerd", "iptables", "ipset", "musl-gcc") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        return [Result(bench=NAME, title=TITLE, skipped=f"needs root and {', '.join(missing) or 'nothing else'}")]
    rounds = 5 if options.quick else 50
    with lonely_host() as host, ManagerProcess(host) as manager:
        manager.show(frame(*stock()))
        times = await _measure(host, rounds)
        attached = [float(match[1]) for line in manager.lines if (match := _ATTACHED.search(line))]
    ratios = [mine / bridge for mine, bridge in zip(times["managed"], times["bridge"], strict=True)]
    extra = [mine - none for mine, none in zip(times["managed"], times["none"], strict=True)]
    measures = [
        median_of("no network", times["none"], "ms"),
        median_of("Docker's bridge", times["bridge"], "ms"),
        median_of("managed network", times["managed"], "ms"),
        median_of("managed network, Docker's bridge = 1", ratios, "x", goal=at_most(1.0)),
        median_of("managed network, more than none", extra, "ms"),
        median_of("from the engine's event to attached", attached, "ms", goal=at_most(60.0)),
        Measure("slowest of them", significant(max(attached)), "ms"),
    ]
    return [Result(bench=NAME, title=TITLE, measures=tuple(measures), settings={"rounds": rounds})]


async def _measure(host: LonelyHost, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    async with DockerApi.open(host.folder / "docker.sock") as docker:
        for number in range(-1, rounds):
            order = _KINDS[number % 3 :] + _KINDS[: number % 3]
            for kind in order:
                took = await _run_once(docker, _body(host, kind, number + 2))
                if number >= 0:
                    # The first round fills caches.
                    times[kind].append(took)
    return times


async def _run_once(docker: DockerApi, body: dict[str, Any]) -> float:
    created = await docker.call("POST", "containers/create", body)
    container = created["Id"]
    begun = time.monotonic()
    await docker.call("POST", f"containers/{container}/start")
    ended = await docker.call("POST", f"containers/{container}/wait")
    took = (time.monotonic() - begun) * 1000
    await docker.call("DELETE", f"containers/{container}", force="1")
    assert ended["StatusCode"] == 0, ended
    await asyncio.sleep(0)
    return took


def _body(host: LonelyHost, kind: str, number: int) -> dict[str, Any]:
    body: dict[str, Any] = {"Image": IMAGE, "Cmd": ["true"]}
    if kind != "managed":
        return body | {"HostConfig": {"NetworkMode": kind}}
    folder: Path = wait_folder(host)
    labels = {
        "io.rancher.cni.network": "ipsec",
        "io.rancher.container.ip": f"10.42.9.{number}/16",
        "io.rancher.container.mac_address": f"02:00:01:00:09:{number:02x}",
    }
    return body | {
        "Entrypoint": ["/.r/r"],
        "Labels": labels,
        "HostConfig": {"NetworkMode": "none", "Binds": [f"{folder}:/.r:ro"]},
    }
