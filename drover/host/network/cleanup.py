"""Taking back everything that the network manager made on a host.

Only for a host that is no longer part of an environment, and when no manager runs on it: the command
`drover network-manager --cleanup`, which the service declares for hosts that are removed. Containers that still run
lose their network.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from drover.host.network.attach.bridge import remove_from_bridges
from drover.host.network.attach.configs import NetworkConfigs
from drover.host.network.attach.ledger import BridgeLedger
from drover.host.network.attach.plan import AttachError
from drover.host.network.attach.plugins import ForeignPlugins
from drover.host.network.attach.wanted import Wish
from drover.host.network.commands import CommandError
from drover.host.network.namespaces import in_thread
from drover.host.network.policy.ipsets import Ipsets
from drover.host.network.rules.iptables import Firewall
from drover.host.network.settings import NetworkManagerSettings
from drover.host.network.sync.metadata_route import remove_metadata_route
from drover.host.network.sync.sysctls import Sysctls

log = structlog.get_logger(__name__)


async def clean_up(settings: NetworkManagerSettings, *, engine: Callable[[], int]) -> list[str]:
    """Every step is tried, whatever another one says. Returns what could not be removed, for people."""
    problems: list[str] = []
    ledger = BridgeLedger(settings.ledger_file)
    configs = NetworkConfigs(
        driver_dir=settings.cni_config_dir, user_dir=settings.cni_user_dir, memory=settings.networks_file
    )
    steps: dict[str, Callable[[], Awaitable[None]]] = {
        "rules": Firewall().remove_all,
        "sets": Ipsets().remove_all,
        "plug-ins": partial(_undo_foreign, settings, configs),
        "bridges": partial(in_thread, partial(remove_from_bridges, ledger)),
        "metadata route": partial(
            in_thread, partial(remove_metadata_route, settings.metadata_address, settings.docker_bridge)
        ),
    }
    for name, step in steps.items():
        try:
            await step()
        except (CommandError, NetlinkError, OSError, AttachError) as error:
            problems.append(f"{name}: {error}")
            log.error("cleanup.failed", step=name, error=str(error))
    Sysctls(engine).close_loopback(bridge for bridge, entry in ledger.entries.items() if not entry.created)
    if not problems:
        # What is remembered is needed for another try.
        shutil.rmtree(settings.cni_state_dir, ignore_errors=True)
        shutil.rmtree(settings.memory_dir, ignore_errors=True)
    log.info("cleanup.done", problems=len(problems))
    return problems


async def _undo_foreign(settings: NetworkManagerSettings, configs: NetworkConfigs) -> None:
    foreign = ForeignPlugins(search_path=settings.cni_path, memory=settings.plugins_dir)
    for container in foreign.remembered():
        await foreign.delete(configs.all_foreign(), Wish(container), "")
