"""Prometheus metrics: latencies per RPC and tier, queues, sizes, caches. No label ever holds what a client wrote.

Counting is cheap and always on; the HTTP end point exists only with ``--metrics-listen``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from memd.domain.model import TierName
from memd.ports import TierAnswer

_BUCKETS_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.5, 10.0, 60.0)
Gauges = Callable[[], Mapping[str, float]]
"""Names (after ``memd_``) and values of the gauges at this moment; called on the HTTP thread."""


class Metrics:
    """Where calls and tiers are counted; implements ``rpc.calls.CallMetrics``. Used on the event loop."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        seconds = Histogram(
            "memd_call_seconds", "Latency of a call", ["method"], buckets=_BUCKETS_S, registry=self._registry
        )
        calls = Counter("memd_calls", "Calls by status code", ["method", "code"], registry=self._registry)
        tiers = Histogram(
            "memd_tier_seconds", "Latency of a tier in Recall", ["tier"], buckets=_BUCKETS_S, registry=self._registry
        )
        states = Counter("memd_tier_answers", "Answers of a tier by state", ["tier", "state"], registry=self._registry)
        self._calls, self._tiers = calls, states
        self._call_seconds = _Children(seconds)
        self._counted: dict[tuple[str, str], Counter] = {}
        self._tier_counted: dict[tuple[TierName, str], Counter] = {}
        self._tier_seconds = {name: tiers.labels(name.value) for name in TierName}

    def finished(self, method: str, code: str, seconds: float) -> None:
        """Count one call."""
        counter = self._counted.get((method, code))
        if counter is None:
            counter = self._counted[method, code] = self._calls.labels(method, code)
        counter.inc()
        self._call_seconds[method].observe(seconds)

    def recalled(self, answers: Iterable[TierAnswer]) -> None:
        """Count the tiers of one Recall."""
        for answer in answers:
            key = (answer.tier, answer.state)
            counter = self._tier_counted.get(key)
            if counter is None:
                counter = self._tier_counted[key] = self._tiers.labels(answer.tier.value, answer.state)
            counter.inc()
            self._tier_seconds[answer.tier].observe(answer.latency_us / 1e6)

    def counted(self) -> list[tuple[str, str]]:
        """(method, code) of every counter there is."""
        return list(self._counted)

    def serve(self, host: str, port: int, gauges: Gauges) -> Callable[[], None]:
        """Start the HTTP end point on its own thread; returns what stops it. OSError when the port is taken."""
        self._registry.register(_Gauges(gauges))
        server, thread = start_http_server(port, host, self._registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop


class _Children(dict[str, Histogram]):
    """Children of a histogram by their one label, made once: ``labels`` costs more than ``observe``."""

    def __init__(self, parent: Histogram) -> None:
        super().__init__()
        self._parent = parent

    def __missing__(self, label: str) -> Histogram:
        child = self[label] = self._parent.labels(label)
        return child


class _Gauges(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"memd_{name}", name.replace("_", " "), value=value)


def rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
