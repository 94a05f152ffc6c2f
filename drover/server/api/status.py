"""Whether the server works: for load balancers, supervisors and Prometheus. Needs no login."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from drover.server.orchestration.context import Context
from drover.server.store import Database

_DATABASE_SECONDS = 5.0


class _StoreMetrics(Collector):
    """What a store counts anyway, read when somebody asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "drover_store_statements", "SQL statements sent to the database.", value=self._database.statements
        )
        yield CounterMetricFamily(
            "drover_store_rows_written", "Rows in bulk writes to the database.", value=self._database.rows_written
        )


def status_routes(context: Context) -> list[BaseRoute]:
    # Of this server alone: the library's own registry is one for the process, which may hold several servers.
    registry = CollectorRegistry()
    registry.register(_StoreMetrics(context.store.database))

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
        return Response(generate_latest() + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/ping", ping),
        Route("/healthcheck", healthy),
        Route("/healthz", healthy),
        Route("/metrics", metrics),
    ]
