"""What a stack made from a built-in template is deployed with: its texts, and the variables of this installation."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.orchestration.images.own import own_image
from drover.server.orchestration.infrastructure.library import StackTemplate
from drover.server.store import Changes, Record

IMAGE = "DROVER_IMAGE"
HOLDER_IMAGE = "DROVER_HOLDER_IMAGE"
CHARON_IMAGE = "DROVER_CHARON_IMAGE"
VERSION = "DROVER_VERSION"


def variables(context: Context, before: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that are not questions. ``before`` are those of a stack that is upgraded.

    The holder's image stays what it was when the stack was installed: a holder that is replaced would take the
    addresses of its routers with it. So does charon's, which may carry the traffic itself.
    """
    current = own_image(context.settings)
    kept = {name: (before or {}).get(name) or current for name in (HOLDER_IMAGE, CHARON_IMAGE)}
    return {IMAGE: current, VERSION: version("drover"), **kept}


def plan_stack(
    context: Context,
    changes: Changes,
    template: StackTemplate,
    *,
    account_id: int,
    name: str,
    answers: Mapping[str, Any],
) -> Record:
    """Plan a system stack from a template: its services are made, and are not started yet."""
    texts = {
        "externalId": template.external_id,
        "dockerCompose": template.docker_compose,
        "rancherCompose": template.rancher_compose,
    }
    return _plan(context, changes, texts, account_id=account_id, name=name, answers=answers)


def plan_custom_stack(
    context: Context,
    changes: Changes,
    entry: Mapping[str, Any],
    *,
    account_id: int,
    name: str,
    answers: Mapping[str, Any],
) -> Record:
    """Plan a system stack from the Compose texts that a user put into an environment template."""
    docker, rancher = (str(entry.get(text) or "") for text in ("dockerCompose", "rancherCompose"))
    digest = hashlib.sha256(f"{docker}\0{rancher}".encode()).hexdigest()
    texts = {"externalId": f"compose://{digest[:32]}", "dockerCompose": docker, "rancherCompose": rancher}
    return _plan(context, changes, texts, account_id=account_id, name=name, answers=answers)


def _plan(
    context: Context,
    changes: Changes,
    texts: Mapping[str, str],
    *,
    account_id: int,
    name: str,
    answers: Mapping[str, Any],
) -> Record:
    stack = changes.insert(
        "stack",
        {
            "uuid": str(uuid.uuid4()),
            "kind": "stack",
            "accountId": account_id,
            "name": name,
            "system": True,
            "startOnCreate": False,
            **texts,
            "environment": {**variables(context), **{key: _text(value) for key, value in answers.items()}},
            "state": "requested",
            "created": now_ms(),
        },
    )
    changes.claim(f"stack:{account_id}:{name.lower()}", stack)
    return context.engine.schedule(changes, "stack.create", stack)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
