"""Why a container does not start. The texts are shown at the container."""

from __future__ import annotations


class StartFailed(Exception):
    """The start cannot succeed as things are: the container ends in *error* (first start) or *stopped*."""


class NotReady(Exception):
    """Another container must run first; worth another try a little later."""
