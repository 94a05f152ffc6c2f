"""Rules that look at more than one key or service, checked when all files are merged.

What the API would refuse later (names, references between launch configs) is refused here, with file and line.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drover.compose import lb_labels
from drover.compose.errors import Problems
from drover.compose.merge import Draft
from drover.compose.names import api_name

EXTERNAL_IMAGE = "rancher/external-service"
DNS_IMAGE = "rancher/dns-service"
LEGACY_LB_IMAGE = "rancher/load-balancer-service"
SIDEKICKS_LABEL = "io.rancher.sidekicks"
SELECTOR_CONTAINER_LABEL = "io.rancher.service.selector.container"

_SERVICE_NAME = re.compile(r"[a-zA-Z0-9._-]+", re.ASCII)
_API_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?", re.ASCII)
_PSEUDO_IMAGES = (EXTERNAL_IMAGE, DNS_IMAGE, LEGACY_LB_IMAGE)
_SIDEKICK_ADVICE = "declare '{target}' in the label io.rancher.sidekicks of '{service}'"


@dataclass(slots=True)
class Checker:
    """Checks the merged services of a project."""

    services: Mapping[str, Draft]
    problems: Problems
    primary_of: dict[str, str] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """Report everything that is wrong; fills `primary_of`."""
        self._group_sidekicks()
        for draft in self.services.values():
            self._name(draft)
            self._image(draft)
            self._memory(draft)
            self._links(draft)
            self._network(draft)
            self._volumes_from(draft)
            self._depends_on(draft)
            self._legacy_balancer(draft)
            self._port_rules(draft)
            self._health_check(draft)

    def _group_sidekicks(self) -> None:
        claims: dict[str, list[str]] = {}
        for draft in self.services.values():
            for name in sidekick_names(draft):
                claims.setdefault(name, []).append(draft.name)
        for name, primaries in claims.items():
            first = self.services[primaries[0]]
            mark = first.mark_of("labels")
            if name not in self.services:
                self.problems.error(mark, f"Failed to find sidekick: {name}", "add the service or correct the label")
            elif len(primaries) > 1:
                listed = ", ".join(primaries)
                self.problems.error(
                    mark,
                    f"can't have more than one primary service [{listed}] referencing the same sidekick [{name}]",
                    "give each primary a sidekick of its own",
                )
            elif name == primaries[0] or sidekick_names(self.services[name]):
                self.problems.error(
                    mark, f"the sidekick '{name}' of '{primaries[0]}' has sidekicks itself", "list all in one primary"
                )
            else:
                self.primary_of[name] = primaries[0]

    def _name(self, draft: Draft) -> None:
        if not _SERVICE_NAME.fullmatch(draft.name):
            self.problems.error(
                draft.mark,
                f"Invalid service name '{draft.name}' - only [a-zA-Z0-9\\._\\-] characters are allowed",
            )
        elif draft.name not in self.primary_of and not _API_NAME.fullmatch(draft.name):
            self.problems.error(
                draft.mark,
                f"Invalid service name '{draft.name}' - the API takes 1 to 63 letters, digits and inner hyphens",
                f"rename it, for example to '{api_name(draft.name)}'",
            )

    def _image(self, draft: Draft) -> None:
        image = draft.value("image")
        build = draft.value("build")
        refused = any(key in draft.settings and draft.value(key) is None for key in ("image", "build"))
        written = image or (build is not None and build.context) or refused
        if not written and not self._kind_implies_image(draft):
            self.problems.error(
                draft.mark, f"Service '{draft.name}' has neither an image nor a build", "add 'image: <name>'"
            )
        for pseudo in _PSEUDO_IMAGES:
            if image and image != pseudo and re.split("[:@]", image)[0] == pseudo:
                self.problems.error(
                    draft.mark_of("image"),
                    f"Service '{draft.name}': '{pseudo}' takes no tag",
                    f"write 'image: {pseudo}'",
                )
        if draft.name in self.primary_of and image in _PSEUDO_IMAGES:
            self.problems.error(
                draft.mark_of("image"), f"Service '{draft.name}' is a sidekick and cannot be a '{image}'"
            )

    @staticmethod
    def _kind_implies_image(draft: Draft) -> bool:
        config = draft.value("lb_config")
        if config is not None and any(rule.source_port for rule in config.port_rules or ()):
            return True
        if draft.value("external_ips") or SELECTOR_CONTAINER_LABEL in (draft.value("labels") or {}):
            return True
        return draft.value("storage_driver") is not None or draft.value("network_driver") is not None

    def _memory(self, draft: Draft) -> None:
        if draft.value("memswap_limit") is not None and draft.value("mem_limit") is None:
            self.problems.error(
                draft.mark_of("memswap_limit"),
                f"Service '{draft.name}' configuration key 'memswap_limit' needs 'mem_limit' in the same service",
                "add mem_limit",
            )

    def _links(self, draft: Draft) -> None:
        for link in draft.value("links") or ():
            target = link.split(":")[0]
            if target not in self.services:
                self.problems.error(
                    draft.mark_of("links"),
                    f"Service '{draft.name}' has a link to service '{target}' which is undefined",
                    "use external_links for services of other stacks",
                )
            elif target in self.primary_of:
                self.problems.warn(
                    draft.mark_of("links"),
                    f"Service '{draft.name}' links the sidekick '{target}', which is no service; the link is skipped",
                    f"link '{self.primary_of[target]}'",
                )

    def _network(self, draft: Draft) -> None:
        mode = draft.value("network_mode") or ""
        kind, colon, target = mode.partition(":")
        if not colon or kind not in ("container", "service"):
            return
        if not target or not self._siblings(draft.name, target):
            self.problems.error(
                draft.mark_of("network_mode"),
                f"Service '{draft.name}' shares the network of '{target}', which is not part of the same service",
                _SIDEKICK_ADVICE.format(target=draft.name, service=target or "the other service"),
            )

    def _volumes_from(self, draft: Draft) -> None:
        for entry in draft.value("volumes_from") or ():
            target = launch_config_name(entry)
            if not self._siblings(draft.name, target):
                self.problems.error(
                    draft.mark_of("volumes_from"),
                    f"Service '{draft.name}' takes volumes from '{target}', which is not part of the same service",
                    _SIDEKICK_ADVICE.format(target=target, service=draft.name),
                )

    def _depends_on(self, draft: Draft) -> None:
        for target in draft.value("depends_on") or ():
            if target not in self.services:
                self.problems.warn(
                    draft.mark_of("depends_on"),
                    f"Service '{draft.name}' depends on '{target}' which is undefined; that is ignored",
                )

    def _port_rules(self, draft: Draft) -> None:
        config = draft.value("lb_config")
        rules = config.port_rules or () if config is not None else ()
        balances = any(rule.source_port for rule in rules)
        for number, rule in enumerate(rules, start=1):
            missing = "source_port" if balances and not rule.source_port else ""
            missing = "target_port" if not balances and not rule.target_port else missing
            if missing:
                self.problems.error(
                    draft.mark_of("lb_config"),
                    f"Service '{draft.name}': rule {number} of lb_config has no {missing}",
                    "rules of a balancer need source_port, rules of a target target_port",
                )

    def _health_check(self, draft: Draft) -> None:
        check = draft.value("health_check")
        if check is not None and not check.port:
            self.problems.error(
                draft.mark_of("health_check"),
                f"Service '{draft.name}': health_check has no port",
                "add 'port: <number>'",
            )

    def _legacy_balancer(self, draft: Draft) -> None:
        if draft.value("image") != LEGACY_LB_IMAGE:
            return
        for key in ("ports", "expose"):
            for entry in draft.value(key) or ():
                self._try(lb_labels.parse_listener, entry, draft, key, f"Service '{draft.name}': ")
        for label, text in (draft.value("labels") or {}).items():
            what = f"Service '{draft.name}' label '{label}': "
            if label.startswith(lb_labels.TARGET_LABEL):
                self._try(lb_labels.parse_targets, text, draft, "labels", what)
            elif label in (lb_labels.SSL_PORTS_LABEL, lb_labels.PROXY_PROTOCOL_LABEL):
                self._try(lb_labels.parse_ports, text, draft, "labels", what)

    def _try(self, parse: Callable[[str], object], text: str, draft: Draft, key: str, what: str) -> None:
        try:
            parse(text)
        except ValueError as error:
            self.problems.error(draft.mark_of(key), f"{what}{error}")

    def _siblings(self, one: str, other: str) -> bool:
        if one == other or other not in self.services:
            return False
        return self.primary_of.get(one, one) == self.primary_of.get(other, other)


def sidekick_names(draft: Draft) -> tuple[str, ...]:
    """Names in the sidekick label, without repetitions."""
    text = (draft.value("labels") or {}).get(SIDEKICKS_LABEL, "")
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def launch_config_name(volumes_from: str) -> str:
    """The service named by an entry of `volumes_from`: `name[:mode]`, or `container:name[:mode]`."""
    parts = volumes_from.split(":")
    return parts[1] if parts[0] == "container" and len(parts) > 1 else parts[0]
