"""The figures of the checker, as Prometheus sees them."""

from __future__ import annotations

from prometheus_client import Counter

PROBES = Counter("drover_health_probes", "Checks made", ["result"])
PROBES_GOOD, PROBES_BAD = PROBES.labels("success"), PROBES.labels("failure")
REPORTS = Counter("drover_health_reports", "Verdicts sent to the server", ["result"])
