"""Images of this engine: which are present, and how a missing one arrives.

Presence is answered from memory (kept by image events), because every container start asks it. A pull of an
image runs once, however many containers wait for it; all of them hear its progress.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from aiodocker.exceptions import DockerError

from drover.common.backoff import Backoff
from drover.host.agent.engine import Engine
from drover.host.agent.errors import AgentError
from drover.host.agent.parameters.facts import ImageDefaults
from drover.host.agent.payload import Build, RegistryCredential

log = structlog.get_logger(__name__)

Progress = Callable[[str, int | None], Awaitable[None]]
"""Called with a text and a percentage (or None)."""

PULL_TRIES = 3
PULL_TIMEOUT = 3600.0
MAX_KNOWN_REFERENCES = 20_000

_FINAL_PULL_ERRORS = ("not found", "manifest unknown", "unauthorized", "denied", "no basic auth", "invalid")
_ANONYMOUS_MAY_HELP = ("unauthorized", "denied", "not found", "no basic auth", "401", "404")


async def no_progress(_: str, __: int | None) -> None:
    """For callers that nobody waits for."""


def with_tag(reference: str) -> str:
    """Adds `latest` to a reference without tag or digest; the engine would pull every tag otherwise."""
    if "@" in reference or ":" in reference.rsplit("/", 1)[-1]:
        return reference
    return f"{reference}:latest"


def local_name(reference: str) -> str:
    """The name the engine lists an image under: Docker Hub's host and `library/` are left out."""
    name = with_tag(reference)
    for prefix in ("docker.io/", "index.docker.io/", "registry-1.docker.io/"):
        name = name.removeprefix(prefix)
    return name.removeprefix("library/")


@dataclass(slots=True)
class _Pull:
    """One pull under way. Those who wait come and go; the last one to go ends it."""

    task: asyncio.Task[None]
    listeners: list[Progress]
    waiters: int = 0


class Images:
    """The engine's images. One instance an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._present: set[str] = set()
        self._defaults: dict[str, ImageDefaults] = {}
        self._pulls: dict[tuple[str, str], _Pull] = {}

    async def refresh(self) -> None:
        """Reads the full list."""
        present: set[str] = set()
        for image in await self._engine.list_images():
            present.add(str(image["Id"]))
            present.update(image.get("RepoTags") or ())
            present.update(image.get("RepoDigests") or ())
        self._present = present
        self._defaults.clear()

    def apply(self, event: Mapping[str, Any]) -> bool:
        """Follows one image event. True when only a `refresh` tells what is left: removals are ambiguous."""
        actor = event.get("Actor") or {}
        match event.get("Action"):
            case "pull":
                # The attribute `name` lacks the tag here: taken literally it would mean `latest`.
                self._remember(str(actor.get("ID") or ""))
            case "tag" | "import" | "load":
                self._remember(str(actor.get("ID") or ""), (actor.get("Attributes") or {}).get("name"))
            case "untag" | "delete" | "prune":
                return True
            case _:
                pass
        return False

    def known(self, reference: str) -> bool:
        """From memory alone. A wrong "yes" shows at create (404), a wrong "no" costs one inspect."""
        return local_name(reference) in self._present or reference in self._present

    def forget(self, reference: str) -> None:
        """The engine said that the image is gone."""
        self._present.discard(local_name(reference))
        self._present.discard(reference)

    async def present(self, reference: str) -> bool:
        """From memory, else from the engine."""
        if self.known(reference):
            return True
        try:
            await self._engine.inspect_image(with_tag(reference))
        except DockerError as error:
            if error.status == 404:
                return False
            raise
        self._remember(local_name(reference))
        return True

    async def defaults(self, reference: str) -> ImageDefaults:
        """The image's entrypoint and command. The image must be present."""
        name = local_name(reference)
        if name not in self._defaults:
            config = (await self._engine.inspect_image(with_tag(reference))).get("Config") or {}
            self._defaults[name] = ImageDefaults(
                entrypoint=tuple(config.get("Entrypoint") or ()), command=tuple(config.get("Cmd") or ())
            )
        return self._defaults[name]

    async def ensure(self, reference: str, *, credential: RegistryCredential | None, progress: Progress) -> None:
        """Pulls the image unless it is present."""
        if not await self.present(reference):
            await self.pull(reference, credential=credential, progress=progress)

    async def pull(
        self, reference: str, *, credential: RegistryCredential | None, progress: Progress = no_progress
    ) -> None:
        """Pulls, or joins the pull of the same image with the same account. Raises AgentError."""
        key = (with_tag(reference), (credential and credential.public_value) or "")
        pull = self._pulls.get(key)
        if pull is None:
            listeners: list[Progress] = []
            task = asyncio.create_task(self._pull(with_tag(reference), credential, listeners), name=f"pull {reference}")
            pull = self._pulls[key] = _Pull(task, listeners)
            task.add_done_callback(lambda _: self._pulls.pop(key, None))
        pull.listeners.append(progress)
        pull.waiters += 1
        try:
            await asyncio.shield(pull.task)
        finally:
            pull.listeners.remove(progress)
            pull.waiters -= 1
            if pull.waiters == 0 and not pull.task.done():
                pull.task.cancel()

    async def build(self, build: Build, *, progress: Progress) -> None:
        """Builds from a remote context (a tar's URL or a git repository). Raises AgentError."""
        remote = build.context or (build.remote or "").replace("git@github.com:", "git://github.com/", 1)
        if not remote or not build.tag:
            raise AgentError("a build needs a tag and either a context or a remote repository")
        params = {
            "remote": remote,
            "t": build.tag,
            "dockerfile": build.dockerfile or "Dockerfile",
            "nocache": "1" if build.nocache else "0",
            "rm": "0" if build.rm is False else "1",
            "forcerm": "1" if build.forcerm else "0",
        }
        async for line in self._engine.build_image(params):
            if error := line.get("error"):
                raise AgentError(f"Image [{build.tag}] failed to build: {error}")
            if text := str(line.get("stream") or line.get("status") or "").strip():
                await progress(text, None)
        self._remember(local_name(build.tag))

    async def _pull(self, reference: str, credential: RegistryCredential | None, listeners: list[Progress]) -> None:
        """With the account first; anonymously only when the registry refused it. The first error counts."""
        account = registry_auth(credential)
        try:
            async with asyncio.timeout(PULL_TIMEOUT):
                try:
                    await self._pull_with_retries(reference, account, listeners)
                except DockerError as error:
                    if account is None or not _mentions(error, _ANONYMOUS_MAY_HELP):
                        raise
                    try:
                        await self._pull_with_retries(reference, None, listeners)
                    except DockerError:
                        raise error from None
        except TimeoutError as error:
            raise AgentError(f"Image [{reference}] failed to pull: not complete after {PULL_TIMEOUT:.0f} s") from error
        except DockerError as error:
            used = f" (as {credential.public_value})" if credential and account else ""
            raise AgentError(f"Image [{reference}] failed to pull: {error.message}{used}") from error
        self._remember(local_name(reference))

    async def _pull_with_retries(self, reference: str, auth: str | None, listeners: list[Progress]) -> None:
        backoff = Backoff(initial=1.0, maximum=5.0, floor=0.5)
        while True:
            try:
                await self._pull_once(reference, auth, listeners)
                return
            except DockerError as error:
                final = error.status in (400, 404) or _mentions(error, _FINAL_PULL_ERRORS)
                delay = backoff.next_delay()
                if final or backoff.failures >= PULL_TRIES:
                    raise
                log.info("image.pull.retry", image=reference, error=error.message, delay=round(delay, 1))
                await asyncio.sleep(delay)

    async def _pull_once(self, reference: str, auth: str | None, listeners: list[Progress]) -> None:
        meter = PullMeter()
        async for line in self._engine.pull_image({"fromImage": reference}, auth=auth):
            if error := line.get("error"):
                raise DockerError(500, str(error))
            if (step := meter.feed(line)) is not None:
                for listener in list(listeners):
                    await listener(*step)

    def _remember(self, *names: str | None) -> None:
        if len(self._present) > MAX_KNOWN_REFERENCES:
            self._present.clear()
        for name in names:
            if name:
                self._present.add(name)
                self._present.add(local_name(name))
                self._defaults.pop(local_name(name), None)


class PullMeter:
    """Turns the engine's line-by-line report into few progress steps: a new text, or five percent more."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}
        self._last: tuple[str, int] = ("", -1)

    def feed(self, line: Mapping[str, Any]) -> tuple[str, int | None] | None:
        """A (text, percent) worth telling, or None."""
        status = str(line.get("status") or "").strip()
        if not status:
            return None
        detail: Mapping[str, Any] = line.get("progressDetail") or {}
        layer = str(line.get("id") or "")
        if status == "Downloading" and detail.get("total"):
            self._layers[layer] = (int(detail.get("current") or 0), int(detail["total"]))
        elif status in ("Download complete", "Pull complete") and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)
        percent = self._percent()
        last_text, last_percent = self._last
        if status == last_text and (percent is None or percent < last_percent + 5):
            return None
        self._last = (status, percent if percent is not None else -1)
        return status, percent

    def _percent(self) -> int | None:
        total = sum(size for _, size in self._layers.values())
        if not total:
            return None
        return min(100, 100 * sum(done for done, _ in self._layers.values()) // total)


def registry_auth(credential: RegistryCredential | None) -> str | None:
    """The `X-Registry-Auth` header, or None without a complete account."""
    if credential is None or not credential.public_value or not credential.secret_value:
        return None
    fields = credential.data.fields if credential.data else None
    registry_data = credential.registry.data if credential.registry else None
    registry_fields = registry_data.fields if registry_data else None
    address = (fields and fields.server_address) or (registry_fields and registry_fields.server_address) or ""
    account = {
        "username": credential.public_value,
        "password": credential.secret_value,
        "email": (fields and fields.email) or "",
        "serveraddress": "https://index.docker.io" if address == "https://docker.io" else address,
    }
    return base64.urlsafe_b64encode(msgspec.json.encode(account)).decode()


def _mentions(error: DockerError, words: tuple[str, ...]) -> bool:
    text = error.message.lower()
    return any(word in text for word in words)
