"""``POST scripts/transform``: a container as ``docker inspect`` shows it becomes the fields of a launch config.

The original's command line sends every service through here before it creates it, and hashes the answer; so the answer
depends on nothing but the question.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from drover.compose import TransformError, transform
from drover.server.api.caller import Authenticator
from drover.server.api.errors import ApiError, forbidden, invalid
from drover.server.api.request import ApiConfig, read_body
from drover.server.api.responses import error_response, json_response
from drover.server.resources import schemas

_PATHS = ("/v1", "/v2-beta", "/v1/projects/{project}", "/v2-beta/projects/{project}")


def transform_routes(authenticate: Authenticator, config: ApiConfig) -> Sequence[BaseRoute]:
    """The route in every version and below a project. Whoever may create services may use it."""

    async def serve(request: Request) -> Response:
        try:
            return await _answer(request)
        except ApiError as error:
            return error_response(error)

    async def _answer(request: Request) -> Response:
        caller = await authenticate(request, project=request.path_params.get("project"), type_name="scripts")
        if caller is None:
            raise ApiError(401, None, "Log in, or send a valid API key, to use this resource")
        service = schemas("v2-beta", caller.role).get("service")
        if service is None or not ({"POST"} & set(service.collection_methods) or caller.project_id is None):
            raise forbidden("Only those who may create services may transform containers")
        try:
            fields = transform(await read_body(request, config))
        except TransformError as error:
            raise invalid("InvalidOption", "networkMode", str(error)) from error
        resource = {"id": None, "type": "container", "links": {}, "actions": {}, "baseType": "container", **fields}
        return json_response(resource)

    return [Route(f"{path}/scripts/transform", serve, methods=["POST"]) for path in _PATHS]
