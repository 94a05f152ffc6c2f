"""Logging in: tokens, identities and the identity providers."""

from __future__ import annotations

from drover.server.resources.access import allow, by_admins, by_nobody, by_workers
from drover.server.resources.declare import ONLY_EQUAL, flag, number, password, ref, resource, text, typed, words

TOKEN = resource(
    "token",
    fields={
        "accountId": text(),
        "authProvider": text(),
        "authenticatedAsAccountId": number(),
        "code": text(required=True),
        "enabled": flag(),
        "identities": typed("array[identity]"),
        "jwt": text(),
        "originalLogin": text(nullable=False),
        "redirectUrl": text(),
        "security": flag(),
        "user": text(),
        "userIdentity": typed("identity"),
        "userType": text(),
    },
    nullable=True,
    access=by_nobody()
    | allow(
        "token",
        methods="LCRD",
        grants={
            "r": words(
                "accountId authProvider enabled jwt originalLogin redirectUrl security user userIdentity userType"
            ),
            "rc": words("code"),
        },
    ),
)

IDENTITY = resource(
    "identity",
    columns={
        "all": text("rc", max_length=None, filters=ONLY_EQUAL),
        "name": text("rc", max_length=None, filters=ONLY_EQUAL),
    },
    fields={
        "externalId": text("rc", nullable=False, required=True),
        "externalIdType": text("rc", nullable=False, required=True),
        "id": text("r"),
        "login": text("rc"),
        "profilePicture": text("rc"),
        "profileUrl": text("rc"),
        "projectId": ref("project", "rc"),
        "role": text("rc"),
        "user": flag("r"),
    },
    nullable=True,
    access=by_workers("LR"),
    stored=False,
)

LOCAL_AUTH_CONFIG = resource(
    "localAuthConfig",
    fields={
        "accessMode": text("rc", default="unrestricted"),
        "enabled": flag("rc"),
        "name": text("rc", default="admin"),
        "password": password("rco", nullable=False, required=True),
        "username": text("rc", nullable=False, required=True),
    },
    nullable=True,
    access=by_admins("LCR"),
)

AZUREADCONFIG = resource(
    "azureadconfig",
    fields={
        "accessMode": text("rc", nullable=False, required=True, default="unrestricted"),
        "adminAccountPassword": text("rco", min_length=1),
        "adminAccountUsername": text("rc", min_length=1),
        "clientId": text("rc"),
        "domain": text("rc"),
        "enabled": flag("rc"),
        "name": text("rcu", nullable=False),
        "tenantId": text("rc"),
    },
    nullable=True,
    access=by_admins("LCRU"),
)

OPENLDAPCONFIG = resource(
    "openldapconfig",
    fields={
        "accessMode": text("rc", required=True, default="unrestricted"),
        "allowedIdentities": typed("array[identity]", "rc"),
        "configured": flag(),
        "connectionTimeout": number("rc", required=True, default=1000),
        "domain": text("rc", required=True, min_length=1),
        "enabled": flag("rc", nullable=True),
        "groupDNField": text("rc", default="entryDN"),
        "groupMemberMappingAttribute": text("rc", required=True, default="memberUid"),
        "groupMemberUserAttribute": text("rc", default="entryDN"),
        "groupNameField": text("rc", required=True, default="cn"),
        "groupObjectClass": text("rc", required=True, default="posixGroup"),
        "groupSearchDomain": text("rc", nullable=True),
        "groupSearchField": text("rc", required=True, default="cn"),
        "loginDomain": text("rc", nullable=True),
        "name": text("r"),
        "port": number("rc", nullable=True, required=True, default=389),
        "server": text("rc", required=True, min_length=1),
        "serviceAccountPassword": text("rco", nullable=True, required=True, min_length=1),
        "serviceAccountUsername": text("rc", nullable=True, required=True, min_length=1),
        "tls": flag("rc", nullable=True, required=True),
        "userDisabledBitMask": number("rc", nullable=True),
        "userEnabledAttribute": text("rc", nullable=True),
        "userLoginField": text("rc", required=True, default="uid"),
        "userMemberAttribute": text("rc", required=True, default="memberOf"),
        "userNameField": text("rc", required=True, default="givenName"),
        "userObjectClass": text("rc", required=True, default="inetOrgPerson"),
        "userSearchField": text("rc", required=True, default="uid"),
    },
    access=by_admins("LCRU"),
)

TYPES = (
    TOKEN,
    IDENTITY,
    LOCAL_AUTH_CONFIG,
    AZUREADCONFIG,
    OPENLDAPCONFIG,
)
