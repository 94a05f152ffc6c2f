"""What the metadata server says about itself, and its figures for Prometheus.

The figures are read when they are asked for: counting in the library's own counters would cost more than most
answers do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from drover.common.status import StatusServer

Report = Callable[[], Mapping[str, object]]

_FIGURES = (
    ("connected", "Whether the server is connected."),
    ("stale_seconds", "Seconds that the server has been out of reach."),
    ("containers", "Containers known."),
    ("services", "Services known."),
    ("connections", "Open connections."),
    ("long_polls", "Long polls that wait."),
    ("streams", "Open world streams."),
    ("rendered", "Responses that were rendered rather than remembered."),
)


class _Figures(Collector):
    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report()
        for name, text in _FIGURES:
            value = report.get(name) or 0
            metric = Metric(f"drover_metadata_{name}", text, "counter" if name == "rendered" else "gauge")
            sample = f"{metric.name}_total" if name == "rendered" else metric.name
            metric.add_sample(sample, {}, float(value) if isinstance(value, int | float) else 0.0)
            yield metric


@asynccontextmanager
async def status_server(listen: str, report: Report) -> AsyncIterator[StatusServer]:
    figures = _Figures(report)
    REGISTRY.register(figures)
    try:
        async with StatusServer(listen, report) as server:
            yield server
    finally:
        REGISTRY.unregister(figures)
