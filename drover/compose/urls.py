"""Which build contexts are fetched by Docker itself."""

import re

_REMOTE = re.compile(r"(?:https?://|git://|github\.com/|git@)", re.IGNORECASE)
_GIT_SUFFIX = re.compile(r"\.git(?:#.*)?$")


def is_remote_context(context: str) -> bool:
    """Whether Docker takes the build context for a git or http URL."""
    if _REMOTE.match(context):
        return True
    return context.startswith("ssh://") and bool(_GIT_SUFFIX.search(context))
