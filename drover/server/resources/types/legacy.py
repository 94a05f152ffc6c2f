"""Types that only v1 has, as far as clients of it still meet them."""

from __future__ import annotations

from drover.server.resources.access import by_admins, by_everyone, by_workers
from drover.server.resources.declare import choice, flag, kind, number, ref, resource, text, typed, words
from drover.server.resources.types.services import SERVICE_LINK

ADD_REMOVE_LOAD_BALANCER_SERVICE_LINK_INPUT = resource(
    "addRemoveLoadBalancerServiceLinkInput",
    fields={
        "serviceLink": typed("loadBalancerServiceLink", "rc", required=True),
    },
    access=by_workers("R", "R"),
)

ENVIRONMENT_UPGRADE = resource(
    "environmentUpgrade",
    fields={
        "dockerCompose": text("rc"),
        "environment": typed("map[string]", "rc"),
        "externalId": text("rc"),
        "rancherCompose": text("rc"),
    },
    access=by_workers("CR", "R"),
)

GITHUBCONFIG = resource(
    "githubconfig",
    fields={
        "accessMode": choice(
            "restricted unrestricted required", "rc", nullable=False, required=True, default="unrestricted"
        ),
        "allowedIdentities": typed("array[identity]", "rc"),
        "clientId": text("rc"),
        "clientSecret": text("rco"),
        "enabled": flag("rc"),
        "hostname": text("rc"),
        "name": text("rcu", nullable=False),
        "scheme": text("rc"),
    },
    nullable=True,
    access=by_admins("LCRU"),
)

IP_ADDRESS_ASSOCIATE_INPUT = resource(
    "ipAddressAssociateInput",
    fields={
        "ipAddressId": ref("ipAddress", "rc"),
    },
    access=by_workers("CR", "R"),
)

LDAPCONFIG = resource(
    "ldapconfig",
    fields={
        "accessMode": choice("unrestricted restricted required", "rc", required=True, default="unrestricted"),
        "allowedIdentities": typed("array[identity]", "rc", nullable=True),
        "configured": flag(),
        "connectionTimeout": number("rc", required=True, default=1000),
        "domain": text("rc", required=True, min_length=1),
        "enabled": flag("rc", nullable=True),
        "groupMemberMappingAttribute": text("rc", nullable=True, default="memberOf"),
        "groupNameField": text("rc", required=True, default="name"),
        "groupObjectClass": text("rc", required=True, default="group"),
        "groupSearchField": text("rc", required=True, default="sAMAccountName"),
        "loginDomain": text("rc", nullable=True),
        "name": text("r"),
        "port": number("rc", nullable=True, required=True, default=389),
        "server": text("rc", required=True, min_length=1),
        "serviceAccountPassword": text("rco", nullable=True, required=True, min_length=1),
        "serviceAccountUsername": text("rc", required=True, min_length=1),
        "tls": flag("rc", nullable=True, required=True),
        "userDisabledBitMask": number("rc", nullable=True, default=2),
        "userEnabledAttribute": text("rc", default="userAccountControl"),
        "userLoginField": text("rc", required=True, default="sAMAccountName"),
        "userMemberAttribute": text("rc", nullable=True, default="memberOf"),
        "userNameField": text("rc", required=True, default="name"),
        "userObjectClass": text("rc", required=True, default="person"),
        "userSearchField": text("rc", required=True, default="sAMAccountName"),
    },
    access=by_admins("LCRU"),
)

LOAD_BALANCER_APP_COOKIE_STICKINESS_POLICY = resource(
    "loadBalancerAppCookieStickinessPolicy",
    fields={
        "cookie": text("rcu", nullable=False, required=True),
        "maxLength": number("rcu", required=True),
        "mode": choice("path_parameters query_string", "rcu", nullable=False),
        "name": text("rcu", nullable=False),
        "prefix": flag("rcu"),
        "requestLearn": flag("rcu"),
        "timeout": number("rcu", required=True),
    },
    nullable=True,
    access=by_workers("CRU", "R"),
)

LOAD_BALANCER_SERVICE_LINK = kind(
    "loadBalancerServiceLink",
    SERVICE_LINK,
    fields={
        "ports": typed("array[string]", "rc"),
    },
    nullable=True,
    letters={"": words("name")},
)

SET_LABELS_INPUT = resource(
    "setLabelsInput",
    fields={
        "labels": typed("json", "rc"),
    },
    access=by_everyone("CR", "R"),
)

SET_LOAD_BALANCER_SERVICE_LINKS_INPUT = resource(
    "setLoadBalancerServiceLinksInput",
    fields={
        "serviceLinks": typed("array[loadBalancerServiceLink]", "rc"),
    },
    nullable=True,
    access=by_workers("R", "R"),
)

TYPES = (
    ADD_REMOVE_LOAD_BALANCER_SERVICE_LINK_INPUT,
    ENVIRONMENT_UPGRADE,
    GITHUBCONFIG,
    IP_ADDRESS_ASSOCIATE_INPUT,
    LDAPCONFIG,
    LOAD_BALANCER_APP_COOKIE_STICKINESS_POLICY,
    LOAD_BALANCER_SERVICE_LINK,
    SET_LABELS_INPUT,
    SET_LOAD_BALANCER_SERVICE_LINKS_INPUT,
)
