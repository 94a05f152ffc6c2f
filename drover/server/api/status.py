"""Whether the server works: for load balancers, supervisors and Prometheus. Needs no login."""

from __future__ import annotations

import asyncio

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from drover.server.orchestration.context import Context

_DATABASE_SECONDS = 5.0


def status_routes(context: Context) -> list[BaseRoute]:
    async def ping(_request: Request) -> Response:
        return PlainTextResponse("pong")

    async def healthy(_request: Request) -> Response:
        try:
            async with asyncio.timeout(_DATABASE_SECONDS):
                await context.store.first("setting")
        except (TimeoutError, SQLAlchemyError, OSError) as error:
            return PlainTextResponse(f"the database does not answer: {type(error).__name__}\n", 503)
        return PlainTextResponse("ok")

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/ping", ping),
        Route("/healthcheck", healthy),
        Route("/healthz", healthy),
        Route("/metrics", metrics),
    ]
