"""Stacks: groups of services made from Compose files."""

from __future__ import annotations

from drover.server.resources.access import NOBODY, OWNER_WRITES, by_everyone, by_workers
from drover.server.resources.declare import flag, kind, resource, standard, text, typed, words
from drover.server.resources.model import Action

STACK = resource(
    "stack",
    columns=standard(
        name=text("rcu", required=True, min_length=1, max_length=63, valid_chars="a-zA-Z0-9-", schedule_update=True)
    )
    | {
        "externalId": text("rcu", max_length=128),
        "group": text("rcu"),
        "healthState": text("r", max_length=128),
        "system": flag("r", also=OWNER_WRITES, default=False),
    },
    fields={
        "allowSystemRole": flag(nullable=False, default=False),
        "answers": typed("map[json]", "rc", nullable=False),
        "binding": typed("binding", "rcu"),
        "dockerCompose": text("rc", nullable=False),
        "environment": typed("map[string]", "rc", nullable=False),
        "outputs": typed("map[string]", "rcu"),
        "previousEnvironment": typed("map[string]", "rcu"),
        "previousExternalId": text("rcu"),
        "rancherCompose": text("rc", nullable=False),
        "serviceIds": typed("array[reference[service]]", "r"),
        "startOnCreate": flag("rc"),
        "templates": typed("map[string]", "rc"),
        "upgrade": typed("kubernetesStackUpgrade", nullable=False),
    },
    nullable=True,
    actions={
        "activateservices": Action(output="stack"),
        "addoutputs": Action(input="addOutputsInput", output="stack"),
        "deactivateservices": Action(output="stack"),
        "exportconfig": Action(input="composeConfigInput", output="composeConfig"),
        "upgrade": Action(input="stackUpgrade"),
    },
    access=by_workers("LCRUD"),
)

COMPOSE_PROJECT = kind(
    "composeProject",
    STACK,
    fields={
        "templates": typed("map[string]", "rc", required=True),
    },
    nullable=True,
    letters={"": words("dockerCompose outputs rancherCompose startOnCreate"), "rc": words("name")},
    actions={
        "activateservices": Action(roles=NOBODY),
        "addoutputs": Action(input="addOutputsInput", roles=NOBODY),
        "deactivateservices": Action(roles=NOBODY),
        "exportconfig": Action(input="composeConfigInput", roles=NOBODY),
        "update": Action(roles=NOBODY),
        "upgrade": Action(input="stackUpgrade", roles=NOBODY),
    },
)

KUBERNETES_STACK = kind(
    "kubernetesStack",
    STACK,
    fields={
        "namespace": text("rc", required=True),
    },
    letters={"": words("dockerCompose outputs rancherCompose startOnCreate"), "rc": words("name")},
    actions={
        "activateservices": Action(roles=NOBODY),
        "addoutputs": Action(input="addOutputsInput", roles=NOBODY),
        "deactivateservices": Action(roles=NOBODY),
        "exportconfig": Action(input="composeConfigInput", roles=NOBODY),
        "update": Action(roles=NOBODY),
        "upgrade": Action(input="kubernetesStackUpgrade", output="kubernetesStack"),
    },
)

STACK_UPGRADE = resource(
    "stackUpgrade",
    fields={
        "answers": typed("map[json]", "rc"),
        "binding": typed("binding"),
        "dockerCompose": text("rc"),
        "environment": typed("map[string]", "rc"),
        "externalId": text("rc"),
        "rancherCompose": text("rc"),
        "templates": typed("map[string]", "rc"),
    },
    access=by_workers("CR", "R"),
)

KUBERNETES_STACK_UPGRADE = resource(
    "kubernetesStackUpgrade",
    fields={
        "answers": typed("map[json]", "rc"),
        "environment": typed("map[string]", "rc"),
        "externalId": text("rc"),
        "templates": typed("map[string]", "rc"),
    },
    access=by_workers("CR", "R"),
)

ADD_OUTPUTS_INPUT = resource(
    "addOutputsInput",
    fields={
        "outputs": typed("map[string]", "rc", required=True),
    },
    access=by_workers("R", "R"),
)

COMPOSE_CONFIG = resource(
    "composeConfig",
    fields={
        "dockerComposeConfig": text("r"),
        "rancherComposeConfig": text("r"),
    },
    access=by_workers("R", "R"),
)

COMPOSE_CONFIG_INPUT = resource(
    "composeConfigInput",
    fields={
        "serviceIds": typed("array[reference[service]]", "rc"),
    },
    nullable=True,
    access=by_everyone("CR", "R"),
)

TYPES = (
    STACK,
    COMPOSE_PROJECT,
    KUBERNETES_STACK,
    STACK_UPGRADE,
    KUBERNETES_STACK_UPGRADE,
    ADD_OUTPUTS_INPUT,
    COMPOSE_CONFIG,
    COMPOSE_CONFIG_INPUT,
)
