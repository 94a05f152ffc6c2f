"""Keys, passwords, registration and everything else that proves an identity."""

from __future__ import annotations

from drover.server.resources.access import admins, allow, by_admins, by_everyone, by_nobody, by_workers, hide
from drover.server.resources.declare import (
    MEDIUM_TEXT,
    SHORT_TEXT,
    choice,
    date,
    kind,
    number,
    password,
    ref,
    resource,
    standard,
    text,
    typed,
    words,
)
from drover.server.resources.model import Action

CREDENTIAL = resource(
    "credential",
    columns=standard()
    | {
        "publicValue": text("r", also=admins("rc"), max_length=4096),
        "registryId": ref("storagePool"),
        "secretValue": password("r", also=admins("rc"), max_length=4096),
    },
    access=by_workers("LR") | allow("admin", "service", methods="LCR"),
)

API_KEY = kind(
    "apiKey",
    CREDENTIAL,
    columns={
        "accountId": ref("account", "r", also=admins("rc")),
        "secretValue": password("ro", also=admins("rco"), max_length=4096),
    },
    access=by_everyone("LCRUD"),
)

PASSWORD = kind(
    "password",
    CREDENTIAL,
    columns={
        "accountId": ref("account", "r", also=admins("rc")),
        "secretValue": password("rco", max_length=4096),
    },
    letters={"rc": words("publicValue")},
    actions={
        "changesecret": Action(input="changeSecretInput", output="changeSecretInput"),
    },
    access=by_everyone("LCRUD"),
)

REGISTRATION_TOKEN = kind(
    "registrationToken",
    CREDENTIAL,
    columns={
        "accountId": ref("account", "r", also={"service": "rc"}),
        "publicValue": text(max_length=4096),
        "secretValue": password(max_length=4096),
    },
    fields={
        "command": text("r"),
        "image": text("r"),
        "registrationUrl": text("r"),
        "token": text("r"),
    },
    access=hide(by_workers("LCR"), "restricted", "readonly"),
)

REGISTRY_CREDENTIAL = kind(
    "registryCredential",
    CREDENTIAL,
    columns={
        "publicValue": text("rcu", max_length=4096),
        "registryId": ref("registry", "rc", nullable=False, required=True),
        "secretValue": password("rcuo", also={"projectadmin": "rcu"}, max_length=4096),
    },
    access=by_workers("LCRUD"),
)

SSH_KEY = kind(
    "sshKey",
    CREDENTIAL,
    access=by_nobody(),
)

CHANGE_SECRET_INPUT = resource(
    "changeSecretInput",
    fields={
        "newSecret": text("rc", required=True, secret=True),
        "oldSecret": text("rc", required=True, secret=True),
    },
    access=by_everyone("CR", "R"),
)

AUTH_TOKEN = resource(
    "authToken",
    columns={
        "accountId": ref("account", nullable=False),
        "authenticatedAsAccountId": ref("account"),
        "created": date(nullable=False),
        "expires": date(nullable=False),
        "id": number(max_length=None),
        "key": text(max_length=40, secret=True),
        "provider": text(),
        "value": text(max_length=MEDIUM_TEXT, secret=True),
        "version": text(),
    },
)

CERTIFICATE = resource(
    "certificate",
    columns=standard(
        accountId=ref("account", "r", also={"service": "rc"}), name=text("rcu", required=True, unique=True)
    )
    | {
        "cert": text("rcu", nullable=False, required=True, max_length=SHORT_TEXT, schedule_update=True),
        "certChain": text("rcu", max_length=SHORT_TEXT),
        "key": text(
            "rcuo",
            also={"projectadmin": "rcu"},
            nullable=False,
            required=True,
            max_length=SHORT_TEXT,
            schedule_update=True,
        ),
    },
    fields={
        "CN": text("r"),
        "algorithm": text("r"),
        "certFingerprint": text("r"),
        "expiresAt": text("r"),
        "issuedAt": text("r"),
        "issuer": text("r"),
        "keySize": number("r"),
        "serialNumber": text("r"),
        "subjectAlternativeNames": typed("array[string]", "r"),
        "version": text("r"),
    },
    access=by_workers("LCRUD"),
)

SECRET = resource(
    "secret",
    columns=standard(name=text("rc", required=True, unique=True))
    | {
        "stackId": ref("stack"),
        "value": text("rco", max_length=MEDIUM_TEXT),
    },
    fields={
        "generate": choice("PASSWORD"),
    },
    nullable=True,
    access=hide(by_workers("LCRUD"), "projectadmin", "environment"),
)

SECRET_REFERENCE = resource(
    "secretReference",
    fields={
        "gid": text("rc"),
        "mode": text("rc"),
        "name": text("rc"),
        "secretId": ref("secret", "rc"),
        "uid": text("rc"),
    },
    access=hide(by_everyone("CR", "R"), "projectadmin", "environment"),
)

EXTERNAL_CREDENTIAL = resource(
    "externalCredential",
    access=by_admins("LR"),
)

HOST_API_PROXY_TOKEN = resource(
    "hostApiProxyToken",
    fields={
        "reportedUuid": text("r"),
        "token": text("r"),
        "url": text("r"),
    },
    access=by_admins("LR")
    | allow("agent", methods="LCR", grants={"rc": words("reportedUuid"), "r": words("token url")}),
)

TYPES = (
    CREDENTIAL,
    API_KEY,
    PASSWORD,
    REGISTRATION_TOKEN,
    REGISTRY_CREDENTIAL,
    SSH_KEY,
    CHANGE_SECRET_INPUT,
    AUTH_TOKEN,
    CERTIFICATE,
    SECRET,
    SECRET_REFERENCE,
    EXTERNAL_CREDENTIAL,
    HOST_API_PROXY_TOKEN,
)
