"""Pulls from a real registry, with and without an account."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host.agent.conftest import IMAGE, TestEngine

BCRYPT_OF_PW = "$2b$04$abcdefghijklmnopqrstuuyvPXIbu7xe6/CED2DzX8z6Si09MlzlW"

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@pytest.fixture(scope="module")
def registry(docker_engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a registry that wants the account me:pw, with the image `app:1` in it."""
    if shutil.which("docker-registry") is None:
        pytest.fail("these tests need docker-registry (Debian: docker-registry); leave them out with -m 'not docker'")
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "htpasswd").write_text(f"me:{BCRYPT_OF_PW}\n")
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: '{address}'}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", str(folder / "config.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(address)
        config = folder / "docker"
        docker_engine.docker("tag", IMAGE, f"{address}/app:1")
        _docker(docker_engine, config, "login", "-u", "me", "-p", "pw", address)
        _docker(docker_engine, config, "push", f"{address}/app:1")
        docker_engine.docker("rmi", f"{address}/app:1")
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _docker(engine: TestEngine, config: Path, *arguments: str) -> None:
    subprocess.run(
        ["docker", "--config", str(config), "-H", engine.url, *arguments], check=True, capture_output=True, timeout=60
    )


def _wait_for(address: str) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.05)
    pytest.fail("the registry did not start")


@pytest.fixture
def image(registry: str, docker_engine: TestEngine) -> Iterator[str]:
    """The image's reference; it is not on the engine when the test begins."""
    reference = f"{registry}/app:1"
    yield reference
    for row in docker_engine.docker("images", "-q", reference).split():
        assert row
        docker_engine.docker("rmi", "-f", reference)


ACCOUNT = {"publicValue": "me", "secretValue": "pw", "data": {"fields": {}}}


def image_request(reference: str, account: dict[str, Any] | None = ACCOUNT) -> dict[str, Any]:
    row = {"id": 4, "name": reference, "registryCredential": account, "data": {"dockerImage": {}}}
    return {"imageStoragePoolMap": {"id": 2, "image": row, "storagePool": {}}}


async def test_storage_image_activate_pulls_with_progress(agent, engine, image):
    request = await agent.send("storage.image.activate", "imageStoragePoolMap", "1ispm1", image_request(image))
    replies = [await agent.reply(request)]
    while replies[-1].get("transitioning") == "yes":
        replies.append(await agent.reply(request))
    assert replies[-1]["data"] == {"imageStoragePoolMap": {}}
    texts = [reply["transitioningMessage"] for reply in replies[:-1]]
    assert any("Pulling from app" in text for text in texts)
    assert len(texts) == len(set(zip(texts, [r.get("transitioningProgress") for r in replies], strict=False)))
    assert (await engine.inspect_image(image))["Id"]
    again = await agent.call("storage.image.activate", "imageStoragePoolMap", "1ispm2", image_request(image, None))
    assert again["data"] == {"imageStoragePoolMap": {}}, "an image that is there needs no registry"


async def test_a_start_pulls_what_is_missing(agent, image, new_instance):
    rows = [
        new_instance(
            f"app-{number}",
            fields={"imageUuid": f"docker:{image}"},
            image={"id": 1, "name": image, "registryCredential": ACCOUNT},
        )
        for number in range(5)
    ]
    replies = await asyncio.gather(
        *(
            agent.call("compute.instance.activate", "instanceHostMap", f"1ihm{number}", row)
            for number, row in enumerate(rows)
        )
    )
    assert [reply.get("transitioning") for reply in replies] == [None] * 5


async def test_a_wrong_password_is_named_by_its_account(agent, image):
    wrong = ACCOUNT | {"secretValue": "guess-me-not"}
    reply = await agent.call("storage.image.activate", "imageStoragePoolMap", "1ispm3", image_request(image, wrong))
    assert reply["transitioning"] == "error"
    assert reply["transitioningMessage"].startswith(f"Image [{image}] failed to pull: ")
    assert reply["transitioningMessage"].endswith("(as me)")
    assert "guess-me-not" not in str(reply)


async def test_the_image_disappears_between_check_and_create(agent, engine, image, docker_engine, new_instance):
    """The cache still says yes; the engine says no at create, and the image is pulled then."""
    await agent.call("storage.image.activate", "imageStoragePoolMap", "1ispm4", image_request(image))
    data = new_instance(
        "late", fields={"imageUuid": f"docker:{image}"}, image={"id": 1, "name": image, "registryCredential": ACCOUNT}
    )
    removing = asyncio.create_task(asyncio.to_thread(docker_engine.docker, "rmi", image))
    reply = await agent.call("compute.instance.activate", "instanceHostMap", "1ihm1", data)
    await asyncio.gather(removing, return_exceptions=True)
    assert reply.get("transitioning") is None, reply.get("transitioningMessage")


async def test_pull_always_asks_the_registry(agent, image, new_instance):
    await agent.call("storage.image.activate", "imageStoragePoolMap", "1ispm5", image_request(image))
    data = new_instance(
        "always", fields={"imageUuid": f"docker:{image}", "labels": {"io.rancher.container.pull_image": "always"}}
    )
    reply = await agent.call("compute.instance.activate", "instanceHostMap", "1ihm1", data)
    assert reply["transitioning"] == "error", "without the account the registry refuses, although the image is there"


async def test_pull_task_marks_and_unmarks(agent, registry, engine, image):
    docker_image = {"fullName": "app:1", "server": registry}
    row = {"data": {"dockerImage": docker_image}, "registryCredential": ACCOUNT}
    pull = {"instancePull": {"kind": "docker", "image": row, "mode": "all", "complete": False, "tag": "pull-ab"}}
    reply = await agent.call("compute.instance.pull", "resourcePull", None, pull)
    assert f"{image}pull-ab" in (await engine.inspect_image(image))["RepoTags"]
    assert reply["data"]["fields"]["dockerImage"]["Id"] == (await engine.inspect_image(image))["Id"]
    pull["instancePull"]["complete"] = True
    await agent.call("compute.instance.pull", "resourcePull", None, pull)
    assert f"{image}pull-ab" not in (await engine.inspect_image(image))["RepoTags"]
