"""Wishes about where a container runs, as its labels and environment say them.

Source: the scheduling labels of Rancher 1.6, ``io.rancher.scheduler.affinity:<subject><operator>`` with a comma
separated list as value, and the older forms in the names of environment variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from drover.placement.host import Host

PREFIX = "io.rancher.scheduler.affinity:"
STACK_LABEL = "io.rancher.stack.name"
SERVICE_LABEL = "io.rancher.stack_service.name"

_OPERATORS = {"": (True, True), "_ne": (False, True), "_soft": (True, False), "_soft_ne": (False, False)}
_LABEL = re.compile(r"(host_label|container_label|container)(_soft_ne|_soft|_ne|)\Z")
_ENV_OPERATORS = {"==~": (True, False), "!=~": (False, False), "==": (True, True), "!=": (False, True)}
_ENV = re.compile(r"(affinity|constraint):(.+?)(==~|!=~|==|!=)(.*)\Z")


class Subject(StrEnum):
    """What a wish is about."""

    HOST_LABEL = "host_label"
    CONTAINER_LABEL = "container_label"
    CONTAINER = "container"
    HOST = "host"  # no label says this: it is our own wish, by the host's id


@dataclass(frozen=True, slots=True)
class Affinity:
    """One wish. ``wanted`` false: keep away; ``hard`` false: only if it can be had. Texts are lower case."""

    subject: Subject
    key: str
    value: str
    wanted: bool
    hard: bool

    def objection(self, host: Host) -> str | None:
        """Why the host does not satisfy the wish, in a few words for the user; None when it does."""
        if self._matches(host) is self.wanted:
            return None
        if self.subject is Subject.HOST_LABEL:
            return self._label_objection(host)
        if self.subject is Subject.HOST:
            return f"is not host {self.value}" if self.wanted else "a container failed here a short while ago"
        what = f"container {self.value}" if self.subject is Subject.CONTAINER else f"container labelled {self._pair}"
        return f"no {what}" if self.wanted else f"has a {what}"

    def _matches(self, host: Host) -> bool:
        match self.subject:
            case Subject.HOST_LABEL:
                return host.labels.get(self.key) == self.value
            case Subject.CONTAINER_LABEL:
                return host.has_label(self.key, self.value)
            case Subject.CONTAINER:
                return host.has_container(self.value)
            case Subject.HOST:
                return str(host.id) == self.value

    def _label_objection(self, host: Host) -> str:
        found = host.labels.get(self.key)
        if not self.wanted:
            return f"label {self._pair}"
        if found is None:
            return f"no label {self.key}, needs {self.value}"
        return f"label {self.key}={found}, needs {self.value}"

    @property
    def _pair(self) -> str:
        return f"{self.key}={self.value}"


def affinities_of(labels: Mapping[str, Any] | None, environment: Mapping[str, Any] | None = None) -> list[Affinity]:
    """The wishes of one container, macros filled in from its own labels."""
    labels = labels or {}
    found: list[Affinity] = []
    for name, value in labels.items():
        if name.lower().startswith(PREFIX):
            found.extend(_from_label(name[len(PREFIX) :].lower(), fill_macros(str(value), labels)))
    for name in environment or ():
        if name.startswith(("affinity:", "constraint:")):
            found.extend(_from_variable(fill_macros(name, labels)))
    return found


def fill_macros(text: str, labels: Mapping[str, Any]) -> str:
    """Replace ``${stack_name}`` and ``${service_name}``; a macro without a value stays as it is."""
    if "${" not in text:
        return text
    stack = str(labels.get(STACK_LABEL) or "")
    service = str(labels.get(SERVICE_LABEL) or "").partition("/")[2]
    for name, value in (("stack_name", stack), ("project_name", stack), ("service_name", service)):
        if value:
            text = text.replace(f"${{{name}}}", value)
    return text


def _from_label(name: str, value: str) -> Iterator[Affinity]:
    parsed = _LABEL.match(name)
    if parsed is None:
        return
    subject = Subject(parsed[1])
    wanted, hard = _OPERATORS[parsed[2]]
    for item in value.lower().split(","):
        item = item.strip()
        if not item:
            continue
        if subject is Subject.CONTAINER:
            yield Affinity(subject, "", item, wanted, hard)
        else:
            key, _, expected = item.partition("=")
            yield Affinity(subject, key.strip(), expected.strip(), wanted, hard)


def _from_variable(name: str) -> Iterator[Affinity]:
    parsed = _ENV.match(name)
    if parsed is None:
        return
    kind, key, operator, value = parsed.groups()
    wanted, hard = _ENV_OPERATORS[operator]
    subject = Subject.HOST_LABEL if kind == "constraint" else Subject.CONTAINER_LABEL
    if kind == "affinity" and key == "container":
        subject, key = Subject.CONTAINER, ""
    yield Affinity(subject, key.lower(), value.lower(), wanted, hard)
