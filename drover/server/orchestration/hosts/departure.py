"""What a host that leaves is told to take back.

A program that changes the machine itself (packet filter rules, routes, interfaces) cannot be relied upon to undo
that when it is stopped: it is stopped for many reasons, and must leave everything as it is for most of them. So it
declares the undoing, by labels of its service:

    io.drover.host.cleanup           the command, in place of the container's own: words, without quoting
    io.drover.host.cleanup.volumes   names of Docker volumes that only exist for it, separated by commas

When all containers of a removed host are gone, the host's agent gets one request (`host.cleanup`): it runs each
command once, in a container like the declaring one, and removes the volumes. The declarations count for containers
of system stacks alone, as they delete without asking.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from drover.client.events import HOST_CLEANUP
from drover.server.bus import NoAnswer, Refused
from drover.server.lifecycle import Again, Run
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.context import Context
from drover.server.orchestration.images.credentials import RegistryCredentials
from drover.server.orchestration.instances import labels as names
from drover.server.orchestration.instances.payload import instance_map
from drover.server.orchestration.retry import later
from drover.server.store import Record

log = structlog.get_logger(__name__)

_TRIES = 3
_TIMEOUT = 60.0  # seconds without a sign of life; an agent at work gives one every 15 s
_TRIED = "cleanupTries"


class Departure:
    """The last step of ``host.remove`` before the host's rows go."""

    def __init__(self, context: Context, channel: AgentChannel, credentials: RegistryCredentials) -> None:
        self._context = context
        self._channel = channel
        self._credentials = credentials

    async def clean_up(self, run: Run) -> Again | None:
        """Have the agent take everything back. None when that is done, or when nobody can do it; the log says which.

        No container may run on the host any more. May be repeated from the start.
        """
        host = run.record
        programs = await self._declaring(host)
        agent_id = host["agentId"]
        if agent_id is None or not await self._channel.is_reachable(agent_id):
            _not_cleaned(host, programs, "its agent is not connected")
            return None
        if self._channel.lacks(agent_id, HOST_CLEANUP):
            _not_cleaned(host, programs, "its agent does not know this request")
            return None
        try:
            await self._channel.call(
                agent_id,
                HOST_CLEANUP,
                resource_type="host",
                resource_id=host.id,
                data={"hostCleanup": await self._request(host, programs)},
                timeout=_TIMEOUT,
                context={"processId": run.process_record.id},
            )
        except AgentGone as error:
            _not_cleaned(host, programs, str(error))
        except (NoAnswer, Refused) as error:
            run.data[_TRIED] = int(run.data.get(_TRIED) or 0) + 1
            if run.data[_TRIED] < _TRIES:
                return later(run, self._context.settings, f"Cleaning up: {error}")
            _not_cleaned(host, programs, str(error))
        else:
            log.info("host.cleaned_up", host_id=host.id, programs=[each.name for each in programs])
        return None

    async def _declaring(self, host: Record) -> list[Record]:
        """The containers of the host that declared something, one of each program, although they are removed by now.

        Their rows stay for two days, so those count as well that went before their host: an exchanged container, a
        stack that was removed first.
        """
        latest: dict[tuple[Any, ...], Record] = {}
        known = await self._context.store.find_by("instance", hostId=host.id, system=True)
        for each in sorted(known, key=lambda instance: instance.id):
            if each["firstRunning"] is not None and (_command(each) or _volumes(each)):
                latest[_labels(each).get(names.STACK_SERVICE) or each.uuid, *_command(each)] = each
        return list(latest.values())

    async def _request(self, host: Record, programs: Iterable[Record]) -> dict[str, Any]:
        request: dict[str, Any] = {"programs": [], "volumes": []}
        for each in programs:
            request["volumes"] += _volumes(each)
            if not _command(each):
                continue
            placed = instance_map(
                definition(each),
                host=host,
                # No other network of the container's is there any more.
                network_kind="dockerHost" if each["networkMode"] == "host" else "dockerNone",
                network=None,
                subnet=None,
                credential=await self._credentials.payload(each["registryCredentialId"])
                if each["registryCredentialId"]
                else None,
            )
            request["programs"].append(placed["instanceHostMap"])
        return request


def definition(instance: Record) -> Record:
    """The container that takes back what another one did: the same but for its command, and without a life of its own.

    It keeps its uuid, so that one which a crash left behind is found, and gets no keys of an agent.
    """
    gone = ("externalId", "agentId", "ports", "publishedPorts", "healthCheck", "restartPolicy", "instanceLinks")
    values: dict[str, Any] = dict.fromkeys(gone)
    return instance.merged({**values, "name": f"{instance.name}-cleanup", "command": _command(instance)})


def by_hand(instance: Record) -> str:
    """What somebody types on a host that cannot be asked. Without variables: they may hold secrets."""
    words = ["docker", "run", "--rm", f"--network={'host' if instance['networkMode'] == 'host' else 'none'}"]
    if instance["pidMode"]:
        words.append(f"--pid={instance['pidMode']}")
    words += [f"--cap-add={each}" for each in instance["capAdd"] or ()]
    for volume in instance["dataVolumes"] or ():
        words += ["-v", str(volume)]
    words += [str(instance["imageUuid"]).removeprefix("docker:"), *_command(instance)]
    return shlex.join(words)


def _not_cleaned(host: Record, programs: list[Record], reason: str) -> None:
    """A host is removed all the same: whoever removes a dead machine must not wait for it."""
    if not programs:
        log.info("host.not_cleaned_up", host_id=host.id, reason=reason)
        return
    commands = [by_hand(each) for each in programs if _command(each)]
    volumes = [name for each in programs for name in _volumes(each)]
    if volumes:
        commands.append(shlex.join(["docker", "volume", "rm", *volumes]))
    log.warning(
        "host.not_cleaned_up",
        host_id=host.id,
        host=host.name or host["hostname"],
        reason=reason,
        run_on_the_host="; ".join(commands),
    )


def _command(instance: Record) -> list[str]:
    return _labels(instance).get(names.HOST_CLEANUP, "").split()


def _volumes(instance: Record) -> list[str]:
    listed = _labels(instance).get(names.HOST_CLEANUP_VOLUMES, "").split(",")
    return [name.strip() for name in listed if name.strip()]


def _labels(instance: Record) -> Mapping[str, str]:
    return names.labels_of(instance.values)
