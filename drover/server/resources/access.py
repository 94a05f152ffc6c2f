"""Who may do what: roles, and the patterns of access that most types share.

Methods are written as letters: ``L`` list and ``C`` create act on the collection, ``R`` read, ``U`` update and ``D``
delete on one resource. What a role may do with a single field is said at the field (``declare``); here is only what
it may do with the type as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from drover.server.resources.model import EMPTY, Access

WORKERS = ("owner", "member", "project", "projectadmin", "environment", "restricted")
ADMINS = ("admin", "readAdmin", "service")
READERS = ("readonly", "readAdmin")  # never write, whatever a field says

# Roles that are offered no action on any type, unless it names them.
SILENT = frozenset({"readonly", "agent", "agentRegister", "register", "token"})

# What administrators see beyond the members of an environment.
ADMINS_READ = MappingProxyType(dict.fromkeys(ADMINS, "r"))
OWNER_WRITES = MappingProxyType({"owner": "rcu"})

# Who an action is for, when it is not for everybody who may act.
ACTORS = (*WORKERS, "user", *ADMINS, "superadmin")
PROJECT_ADMIN = ("projectadmin", "superadmin")
NOBODY = ("superadmin",)

_METHODS = {"L": "GET", "C": "POST", "R": "GET", "U": "PUT", "D": "DELETE"}

RoleAccess = dict[str, Access]


def admins(letters: str) -> Mapping[str, str]:
    """What administrators may do with a field when it is more than others may."""
    return dict.fromkeys(ADMINS, letters)


def allow(
    *roles: str,
    methods: str = "LR",
    actions: tuple[str, ...] | Literal["*"] = "*",
    grants: Mapping[str, tuple[str, ...]] | None = None,
    overrides: Mapping[str, Mapping[str, object]] = EMPTY,
) -> RoleAccess:
    """The same access for some roles. ``grants`` replaces what the fields say: the role sees these fields only."""
    access = Access(
        collection_methods=tuple(_METHODS[letter] for letter in methods if letter in "LC"),
        resource_methods=tuple(_METHODS[letter] for letter in methods if letter in "RUD"),
        actions=actions,
        grants=grants,
        overrides=overrides,
    )
    return dict.fromkeys(roles, access)


def by_workers(methods: str, others: str = "LR") -> RoleAccess:
    """Things of an environment: its members and services change them; people outside of it look at them."""
    return (
        by_nobody(others)
        | allow("readonly", "user", *ADMINS, methods=others)
        | allow(*WORKERS, "service", methods=methods)
    )


def by_everyone(methods: str, readers: str = "LR") -> RoleAccess:
    """Things that any person uses, in an environment or out of it."""
    return (
        by_nobody(readers)
        | allow(*READERS, methods=readers)
        | allow(*WORKERS, "user", "admin", "service", methods=methods)
    )


def by_admins(methods: str, readers: str = "LR") -> RoleAccess:
    """Things of the installation."""
    return by_nobody(readers) | allow("readAdmin", methods=readers) | allow("admin", "service", methods=methods)


def by_nobody(readers: str = "LR") -> RoleAccess:
    """Things that the server keeps to itself."""
    return allow("superadmin", methods="LCRUD" if "L" in readers else "CRUD")


def hide(access: RoleAccess, *roles: str) -> RoleAccess:
    """The same access, but these roles do not know that the type exists."""
    return {role: given for role, given in access.items() if role not in roles}
