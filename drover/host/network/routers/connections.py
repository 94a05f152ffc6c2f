"""What charon is told about each peer: pure functions that make vici messages.

A host that lives on a kernel without ESP encrypts in user space (strongSwan's kernel-libipsec). There a security
association is chosen by its selectors alone, so they must differ from peer to peer: they are the two routers' own
addresses, and what the containers send is VXLAN between these. A host whose kernel has ESP offers that too, and
besides the form of Rancher 1.6: selectors for everything, policies made by the router (see `policies`).

Which form a pair of hosts uses is settled by IKE itself, so it is authenticated and needs no third party. The end with
kernel ESP asks for everything. An end of the same kind, or an original router, agrees. An end in user space knows only
the narrow selectors and narrows the offer to them, and the first end takes that as the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from drover.host.network.routers.overlay import Peer
from drover.host.network.routers.vici_client import Section

IKE_PROPOSALS = ("aes128gcm16-sha256-modp2048", "aes-sha1-modp2048")
ESP_PROPOSALS = ("aes128gcm16-modp2048", "aes-modp2048")
NEVER = "8760h"
REQID = 1234
EVERYTHING = "0.0.0.0/0"


class Datapath(Enum):
    """What encrypts on this host."""

    KERNEL = "kernel"
    USERLAND = "userland"


class Form(Enum):
    """What a pair of hosts has agreed on."""

    COMPAT = "compat"
    """Rancher 1.6's: one association for everything, policies per address."""
    TUNNEL = "tunnel"
    """VXLAN between the two routers' addresses, encrypted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long keys are used and how much reordering is tolerated, in charon's notation."""

    ike_rekey: str = "4h"
    child_rekey: str = "1h"
    replay_window: str = "1024"


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of a connection."""

    own_host: str
    own_router: str
    peer_host: str
    peer_router: str

    @property
    def name(self) -> str:
        return connection_name(self.peer_host)

    @property
    def active(self) -> bool:
        """Whether this end renews keys and comes first: exactly one does, so renewals never collide.

        Compared as text, as Rancher 1.6 does.
        """
        return self.own_host < self.peer_host


def connection_name(host: str) -> str:
    return f"conn-{host}"


def compat_child(host: str) -> str:
    return f"child-{host}"


def tunnel_child(host: str) -> str:
    return f"tunnel-{host}"


def host_of(connection: str) -> str | None:
    """The peer's address in the name of a connection of ours; None for others."""
    return connection.removeprefix("conn-") if connection.startswith("conn-") else None


def ends_of(own_host: str, own_router: str, peer: Peer) -> Ends:
    return Ends(own_host, own_router, peer.host_address, peer.router_ip)


def first_child(ends: Ends, datapath: Datapath, form: Form | None) -> str:
    """The child to ask for: the form that was agreed on, at first the one that every router knows."""
    if datapath is Datapath.USERLAND or form is Form.TUNNEL:
        return tunnel_child(ends.peer_host)
    return compat_child(ends.peer_host)


def connection(
    ends: Ends, datapath: Datapath, timing: Timing, *, gcm: bool = True, overrides: Mapping[str, Any] | None = None
) -> Section:
    """The `load-conn` message for one peer.

    ``gcm`` says whether AES-GCM can be used; ``overrides`` are an operator's changes to the connection, whose
    ``children`` apply to each child.
    """
    ike_rekey, child_rekey = (timing.ike_rekey, timing.child_rekey) if ends.active else (NEVER, NEVER)
    changes = dict(overrides or {})
    child_changes = dict(changes.pop("children", {}))
    common: Section = {
        "mode": "tunnel",
        "rekey_time": child_rekey,
        "replay_window": timing.replay_window,
        # The active end comes back by itself, also while no controller runs; two that do would meet half-way.
        "close_action": "start" if ends.active else "none",
        "dpd_action": "restart" if ends.active else "clear",
        "start_action": "none",
    }
    children: dict[str, Section] = {
        tunnel_child(ends.peer_host): common
        | {
            "local_ts": [f"{ends.own_router}/32"],
            "remote_ts": [f"{ends.peer_router}/32"],
            "esp_proposals": _proposals(ESP_PROPOSALS, gcm),
        }
        | child_changes
    }
    if datapath is Datapath.KERNEL:
        children[compat_child(ends.peer_host)] = (
            common
            | {
                "local_ts": [EVERYTHING],
                "remote_ts": [EVERYTHING],
                "esp_proposals": _proposals(ESP_PROPOSALS, gcm),
                "policies": "no",
                "reqid": str(REQID),
            }
            | child_changes
        )
    body: Section = {
        "version": "2",
        "remote_addrs": [ends.peer_host],
        "encap": "yes",
        "mobike": "no",
        "dpd_delay": "10s",
        "keyingtries": "0",
        "rekey_time": ike_rekey,
        "proposals": _proposals(IKE_PROPOSALS, gcm),
        "local": {"auth": "psk"},
        "remote": {"auth": "psk"},
    }
    return {ends.name: body | changes | {"children": children}}


def secrets(own_router: str, keys: Sequence[str]) -> list[Section]:
    """The `load-shared` messages for the keys that are valid; the first one is used, the others are accepted.

    charon prefers the secret whose owners fit best: that of the first key names this router. When it checks a peer's
    proof it tries all.
    """
    return [
        {
            "id": f"psk-{number}",
            "type": "IKE",
            "data": key,
            "owners": [own_router, "%any"] if number == 0 else ["%any"],
        }
        for number, key in enumerate(keys)
    ]


def agreed_form(child: Mapping[str, Any]) -> Form:
    """The form of an installed child, as charon lists it."""
    if str(child.get("name", "")).startswith("tunnel-"):
        return Form.TUNNEL
    return Form.COMPAT if EVERYTHING in child.get("remote-ts", ()) else Form.TUNNEL


def _proposals(proposals: Sequence[str], gcm: bool) -> list[str]:
    return [each for each in proposals if gcm or "gcm" not in each]
