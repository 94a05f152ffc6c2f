"""Settings, free-form objects, and the types by which the API describes itself."""

from __future__ import annotations

from drover.server.resources.access import ADMINS_READ, admins, allow, by_admins, by_nobody, by_workers
from drover.server.resources.declare import (
    MEDIUM_TEXT,
    ONLY_EQUAL,
    SHORT_TEXT,
    choice,
    date,
    flag,
    kind,
    number,
    resource,
    standard,
    text,
    typed,
    words,
)
from drover.server.resources.model import Action

SETTING = resource(
    "setting",
    columns={
        "id": number("r", max_length=None),
        "name": text("r", also=admins("rc")),
        "value": text("r", also=admins("rcu"), max_length=MEDIUM_TEXT),
    },
    fields={
        "activeValue": text("r"),
        "inDb": flag(also=ADMINS_READ),
        "source": text(also=ADMINS_READ),
    },
    access=by_workers("LR") | allow("admin", "service", methods="LCRUD"),
)

ACTIVE_SETTING = resource(
    "activeSetting",
    fields={
        "activeValue": typed("json", "r"),
        "id": text("r"),
        "inDb": flag(also=ADMINS_READ),
        "name": text("r"),
        "source": text(also=ADMINS_READ),
        "value": text("r", also=admins("ru")),
    },
    access=by_workers("R", "R") | allow("admin", "service", methods="RUD"),
)

GENERIC_OBJECT = resource(
    "genericObject",
    columns=standard(kind=text("rc"), name=text("rc"))
    | {
        "key": text("rc"),
    },
    fields={
        "resourceData": typed("map[json]", "rcu"),
    },
    access=by_workers("LCRUD") | allow("admin", methods="LCRUD"),
)

PULL_TASK = kind(
    "pullTask",
    GENERIC_OBJECT,
    fields={
        "image": text("rc", required=True),
        "labels": typed("map[string]", "rc"),
        "mode": choice("all cached", "rc", required=True, default="all"),
        "status": typed("map[string]", "r"),
    },
    letters={"": words("key resourceData"), "r": words("kind")},
    access=by_workers("LCR"),
)

REGISTER = kind(
    "register",
    GENERIC_OBJECT,
    columns={
        "key": text("rc", required=True),
    },
    fields={
        "accessKey": text("r"),
        "agentUriFormat": text(),
        "authToken": text(secret=True),
        "secretKey": text("r"),
    },
    filters={"token": ONLY_EQUAL},
    actions={
        "stop": Action(input="instanceStop", output="instance"),
    },
    access=by_workers("LCR")
    | allow(
        "register",
        methods="LCRD",
        grants={
            "r": words(
                "accessKey created id kind removed secretKey state transitioning transitioningMessage "
                "transitioningProgress uuid"
            ),
            "rcu": words("description name"),
            "rc": words("key"),
        },
    ),
)

DATA = resource(
    "data",
    columns={
        "id": number(max_length=None),
        "name": text(),
        "value": text(max_length=SHORT_TEXT),
        "visible": flag(default=True),
    },
)

DATABASECHANGELOG = resource(
    "databasechangelog",
    columns={
        "author": text("r"),
        "comments": text("r"),
        "dateexecuted": date("r", nullable=False),
        "description": text("r"),
        "exectype": text("r", max_length=10),
        "filename": text("r"),
        "id": text("r", nullable=False, max_length=None),
        "liquibase": text("r", max_length=20),
        "md5sum": text("r", max_length=35),
        "orderexecuted": number("r", nullable=False),
        "tag": text("r"),
    },
    access=by_admins("LRD"),
    stored=False,
)

DATABASECHANGELOGLOCK = resource(
    "databasechangeloglock",
    columns={
        "id": number("r", max_length=None),
        "locked": flag("r"),
        "lockedby": text("r"),
        "lockgranted": date("r"),
    },
    access=by_admins("LRD"),
    stored=False,
)

API_VERSION = resource(
    "apiVersion",
    access=by_nobody("R"),
)

SCHEMA = resource(
    "schema",
    fields={
        "collectionActions": typed("map[json]", "rc"),
        "collectionFields": typed("map[json]", "rc"),
        "collectionFilters": typed("map[json]", "rc"),
        "collectionMethods": typed("array[string]", "rc"),
        "includeableLinks": typed("array[string]", "rc"),
        "pluralName": text("rc"),
        "resourceActions": typed("map[json]", "rc"),
        "resourceFields": typed("map[json]", "rc"),
        "resourceMethods": typed("array[string]", "rc"),
    },
    access=by_workers("LR")
    | allow(
        "agent",
        "agentRegister",
        "token",
        grants={
            "r": words(
                "collectionActions collectionFields collectionFilters collectionMethods "
                "includeableLinks pluralName resourceActions resourceFields resourceMethods"
            )
        },
    )
    | allow("register", grants={}),
)

COLLECTION = resource(
    "collection",
    fields={
        "actions": typed("map[json]"),
        "createDefaults": typed("map[json]"),
        "createTypes": typed("map[json]"),
        "data": typed("array[resource]"),
        "filters": typed("map[array[json]]"),
        "links": typed("map[json]"),
        "pagination": typed("json"),
        "resourceType": text(),
        "sort": typed("json"),
        "sortLinks": typed("map[json]"),
        "type": text(),
    },
    access=by_nobody("R"),
)

RESOURCE = resource(
    "resource",
    fields={
        "actions": typed("map[json]"),
        "baseType": text(),
        "id": text(),
        "links": typed("map[json]"),
        "type": text(),
    },
    access=by_nobody("R"),
)

ERROR = resource(
    "error",
    fields={
        "code": text(),
        "detail": text(),
        "message": text(),
        "status": number(),
    },
    access=by_nobody("R")
    | allow("agent", "agentRegister", methods="R", grants={"r": words("code detail message status")}),
)

TYPE_DOCUMENTATION = resource(
    "typeDocumentation",
    fields={
        "description": text("rcu"),
        "id": text("r"),
        "resourceFields": typed("map[fieldDocumentation]", "r"),
    },
    access=by_workers("LR"),
)

FIELD_DOCUMENTATION = resource(
    "fieldDocumentation",
    fields={
        "description": text("rcu"),
        "placeholder": text(),
    },
    access=by_workers("R", "R"),
)

TYPES = (
    SETTING,
    ACTIVE_SETTING,
    GENERIC_OBJECT,
    PULL_TASK,
    REGISTER,
    DATA,
    DATABASECHANGELOG,
    DATABASECHANGELOGLOCK,
    API_VERSION,
    SCHEMA,
    COLLECTION,
    RESOURCE,
    ERROR,
    TYPE_DOCUMENTATION,
    FIELD_DOCUMENTATION,
)
