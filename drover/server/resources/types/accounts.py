"""Accounts: people, environments, their members and preferences."""

from __future__ import annotations

from drover.server.resources.access import (
    ADMINS_READ,
    admins,
    allow,
    by_admins,
    by_everyone,
    by_workers,
    hide,
)
from drover.server.resources.declare import (
    COMPARABLE,
    MEDIUM_TEXT,
    ONLY_EQUAL,
    SEARCHABLE,
    SMALL_DATA,
    choice,
    flag,
    kind,
    number,
    ref,
    resource,
    standard,
    text,
    typed,
    words,
)
from drover.server.resources.model import Action

ACCOUNT = resource(
    "account",
    columns=standard(
        "accountId",
        kind=text("r", also=admins("rcu"), default="user"),
        name=text("rcu", schedule_update=True),
        uuid=text("r", also=admins("rc"), max_length=128),
    )
    | {
        "defaultNetworkId": ref("network", filters=COMPARABLE),
        "externalId": text(also=admins("rcu")),
        "externalIdType": text(also=admins("rcu"), max_length=128),
        "healthState": text(max_length=128),
        "projectTemplateId": ref("projectTemplate"),
        "revision": number(nullable=False),
        "version": text("r", max_length=128),
    },
    fields={
        "createdStackIds": typed("array[reference[stack]]"),
        "identity": ref("identity", also=ADMINS_READ),
        "scheduledUpgradeDelayMinutes": number(nullable=True),
        "startedStackIds": typed("array[reference[stack]]"),
    },
    access=by_workers("LR") | allow("admin", "service", methods="LCRUD"),
)

PROJECT = kind(
    "project",
    ACCOUNT,
    columns={
        "description": text("rcu", also={"service": "rc"}, max_length=1024),
        "externalId": text(),
        "externalIdType": text(max_length=128),
        "kind": text("r", default="user"),
        "name": text("rcu", also={"service": "rc"}, schedule_update=True),
    },
    fields={
        "allowSystemRole": flag(also=admins("rcu"), default=False),
        "hostRemoveDelaySeconds": number("rcu", nullable=True),
        "identity": ref("identity"),
        "members": typed("array[projectMember]", "rc", nullable=True),
        "orchestration": text("r", default="cattle"),
        "projectLinks": typed("array[reference[project]]", also=admins("rcu"), nullable=True, schedule_update=True),
        "servicesPortRange": typed("servicesPortRange", "rcu", nullable=True, schedule_update=True),
        "virtualMachine": flag("rcu", default=False, schedule_update=True),
    },
    letters={"r": words("defaultNetworkId healthState"), "rc": words("projectTemplateId")},
    capabilities={
        "owner": words("activate deactivate delete purge remove update upgrade"),
        "setMembers": words("setmembers"),
    },
    actions={
        "defaultNetworkId": Action(),
        "delete": Action(),
        "setmembers": Action(input="setProjectMembersInput", output="setProjectMembersInput"),
    },
    access=by_workers("LR") | allow("user", "admin", methods="LCRUD") | allow("service", methods="LCR"),
)

MEMBER = resource(
    "member",
    fields={
        "externalId": text(),
        "externalIdType": text(),
        "login": text(),
        "name": text(),
        "profilePicture": text(),
        "profileUrl": text(),
        "projectId": text(),
        "role": text(),
    },
)

PROJECT_MEMBER = resource(
    "projectMember",
    columns=standard(accountId=ref("account"), name=text("r"))
    | {
        "externalId": text("rc"),
        "externalIdType": choice(
            "rancher_id openldap_user openldap_group azuread_user azuread_group github_user "
            "github_org github_team shibboleth_user shibboleth_group ldap_user ldap_group",
            "rc",
            nullable=True,
            default="rancher_id",
            filters=SEARCHABLE,
        ),
        "projectId": ref("project", "r", nullable=False),
        "role": choice("member owner readonly restricted", "rc", nullable=True, default="member", filters=SEARCHABLE),
    },
    access=by_workers("LR") | allow("user", "admin", methods="LCR"),
)

SET_PROJECT_MEMBERS_INPUT = resource(
    "setProjectMembersInput",
    fields={
        "members": typed("array[projectMember]", "rc", required=True, min_length=1),
    },
    access=by_workers("CR", "R"),
)

PROJECT_TEMPLATE = resource(
    "projectTemplate",
    columns=standard(name=text("rcu", unique=True))
    | {
        "externalId": text("rcu"),
        "isPublic": flag(also=admins("rcu")),
    },
    fields={
        "stacks": typed("array[catalogTemplate]", "rcu"),
    },
    access=by_workers("LR") | allow("user", "admin", methods="LCRUD"),
)

CATALOG_TEMPLATE = resource(
    "catalogTemplate",
    fields={
        "answers": typed("map[json]", "rc"),
        "binding": typed("binding", "rc"),
        "description": text("rc"),
        "dockerCompose": text("rc"),
        "name": text("rc"),
        "rancherCompose": text("rc"),
        "templateId": text("rc"),
        "templateVersionId": text("rc"),
    },
    access=by_workers("R", "R"),
)

SERVICES_PORT_RANGE = resource(
    "servicesPortRange",
    fields={
        "endPort": number("rcu", required=True, min=1, max=65535),
        "startPort": number("rcu", required=True, min=1, max=65535),
    },
    nullable=True,
    access=by_everyone("CRU", "R"),
)

ACCOUNT_LINK = resource(
    "accountLink",
    columns=standard(accountId=ref("account", "r", also={"service": "rc"}), data=SMALL_DATA)
    | {
        "external": flag("r", also={"service": "rc"}, nullable=True),
        "linkedAccount": text("r", also={"service": "rc"}),
        "linkedAccountId": ref("account"),
        "linkedRegion": text("r", also={"service": "rc"}),
        "linkedRegionId": ref("region", also={"service": "rc"}),
    },
    fields={
        "linkedAccountUuid": text("r", also={"service": "rc"}, default=False),
    },
    access=by_admins("LR") | allow("service", methods="LCRD"),
)

REGION = resource(
    "region",
    columns=standard(
        name=text("r", also=admins("rc"), nullable=False, required=True, unique=True, schedule_update=True),
        data=SMALL_DATA,
    )
    | {
        "local": flag("r", also=admins("rcu"), nullable=True, default=False, schedule_update=True),
        "publicValue": text(also=admins("rcu"), nullable=False, required=True, schedule_update=True),
        "secretValue": text(also=admins("rcuo"), nullable=False, required=True, schedule_update=True),
        "url": text("r", also=admins("rcu")),
    },
    access=by_workers("LR") | allow("admin", "service", methods="LCRUD"),
)

USER_PREFERENCE = resource(
    "userPreference",
    columns=standard()
    | {
        "all": flag("r", max_length=None, filters=ONLY_EQUAL),
        "value": text("rcu", max_length=MEDIUM_TEXT),
    },
    access=hide(by_admins("LCRUD"), "service") | allow("user", methods="LCRUD"),
)

TYPES = (
    ACCOUNT,
    PROJECT,
    MEMBER,
    PROJECT_MEMBER,
    SET_PROJECT_MEMBERS_INPUT,
    PROJECT_TEMPLATE,
    CATALOG_TEMPLATE,
    SERVICES_PORT_RANGE,
    ACCOUNT_LINK,
    REGION,
    USER_PREFERENCE,
)
