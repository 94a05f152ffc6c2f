"""Where clients begin: the list of versions, and the links of one version."""

from __future__ import annotations

from typing import Any

from drover.server.api.call import Call
from drover.server.api.request import VERSIONS
from drover.server.api.urls import Urls


def version_list(urls: Urls) -> dict[str, Any]:
    """``GET /``"""
    return {
        "type": "collection",
        "resourceType": "apiVersion",
        "links": {"self": f"{urls.base}/", "latest": f"{urls.base}/{VERSIONS[-1]}"},
        "createTypes": {},
        "actions": {},
        "data": [
            {"id": name, "type": "apiVersion", "links": {"self": f"{urls.base}/{name}"}, "actions": {}}
            for name in VERSIONS
        ],
        "sortLinks": {},
        "pagination": None,
        "sort": None,
        "filters": {},
        "createDefaults": {},
    }


def version_root(call: Call) -> dict[str, Any]:
    """``GET /v2-beta``: where clients begin. Every type that the caller may list has a link."""
    links = {"self": call.urls.prefix}
    links.update(
        (each.plural, call.urls.collection(each.plural)) for each in call.schemas if "GET" in each.collection_methods
    )
    return {"id": call.version, "type": "apiVersion", "links": links, "actions": {}}
