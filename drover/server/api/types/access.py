"""Everything that the API knows about people, environments, keys and secrets, put into the registries at once."""

from __future__ import annotations

from drover.server.api.auth.access import AccessControl
from drover.server.api.extensions import Extensions
from drover.server.api.types import accounts, credentials, projects, registration, registries, secrets, tokens


def install_access(extensions: Extensions, access: AccessControl) -> None:
    for family in (accounts, projects, tokens, credentials, registries, secrets, registration):
        family.install(extensions, access)
