"""Prometheus metrics: latencies per RPC and tier, queues, sizes, caches. No label ever holds what a client wrote.

Counting is plain integers on the event loop, since it happens in every call: ``prometheus_client``'s own metrics take a
lock and some microseconds each. It formats and serves what is counted, and only with ``--metrics-listen``.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeAlias

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from memd.domain.jobs import JobReport
from memd.ports import TierAnswer

BUCKETS_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.5, 10.0, 60.0)
Gauges = Callable[[], Mapping[str, float]]
"""Names (after ``memd_``) and values of the gauges at this moment; called on the HTTP thread."""
Jobs = Callable[[], Sequence[JobReport]]
"""The background jobs at this moment; called on the HTTP thread."""


class Latencies:
    """A histogram of seconds: how many fell into each bucket, and their sum."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, observations up to it), as Prometheus wants it."""
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        return [(bound, float(total)) for bound, total in zip(bounds, accumulate(self.counts), strict=True)]


class Metrics(Collector):
    """Where calls and tiers are counted, on the event loop; implements ``rpc.calls.CallMetrics``."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], int] = defaultdict(int)
        """(method, status code) to how many."""
        self.call_seconds: dict[str, Latencies] = defaultdict(Latencies)
        self.tier_answers: dict[tuple[str, str], int] = defaultdict(int)
        """(tier, state) to how many."""
        self.tier_seconds: dict[str, Latencies] = defaultdict(Latencies)

    def finished(self, method: str, code: str, seconds: float) -> None:
        """Count one call."""
        self.calls[method, code] += 1
        self.call_seconds[method].observe(seconds)

    def recalled(self, answers: Iterable[TierAnswer]) -> None:
        """Count the tiers of one Recall."""
        for answer in answers:
            tier: str = answer.tier.value
            self.tier_answers[tier, answer.state] += 1
            self.tier_seconds[tier].observe(answer.latency_us / 1e6)

    def collect(self) -> Iterable[Metric]:
        """On the HTTP thread; the copies keep a new key of the event loop from disturbing it."""
        yield _counter("memd_calls", "Calls by status code", ("method", "code"), self.calls)
        yield _histogram("memd_call_seconds", "Latency of a call", "method", self.call_seconds)
        yield _counter("memd_tier_answers", "Answers of a tier in Recall", ("tier", "state"), self.tier_answers)
        yield _histogram("memd_tier_seconds", "Latency of a tier in Recall", "tier", self.tier_seconds)

    def serve(self, host: str, port: int, gauges: Gauges, jobs: Jobs) -> Callable[[], None]:
        """Start the HTTP end point on its own thread; returns what stops it. OSError when the port is taken."""
        registry = CollectorRegistry()
        registry.register(self)
        registry.register(_Gauges(gauges))
        registry.register(_Jobs(jobs))
        server, thread = start_http_server(port, host, registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop


def _counter(name: str, text: str, labels: tuple[str, str], counted: Mapping[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in dict(counted).items():
        family.add_metric(values, count)
    return family


def _histogram(name: str, text: str, label: str, seen: Mapping[str, Latencies]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=[label])
    for value, latencies in dict(seen).items():
        family.add_metric([value], latencies.cumulative(), latencies.sum_s)
    return family


class _Gauges(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"memd_{name}", name.replace("_", " "), value=value)


class _Jobs(Collector):
    """Background jobs, by name."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterable[Metric]:
        reports = self._jobs()
        for name, text, value in _JOB_COUNTERS:
            counter = CounterMetricFamily(name, text, labels=["job"])
            yield _of_jobs(counter, reports, value)
        for name, text, value in _JOB_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["job"])
            yield _of_jobs(gauge, reports, value)


_OfJob: TypeAlias = Callable[[JobReport], float]
_JOB_COUNTERS: Sequence[tuple[str, str, _OfJob]] = (
    ("memd_job_runs", "Runs of a background job", lambda job: job.runs),
    ("memd_job_failures", "Runs that failed", lambda job: job.failures),
    ("memd_job_done", "Sessions gone on in, rows deleted or bytes given back", lambda job: job.done),
    ("memd_job_seconds", "Time in runs", lambda job: job.spent_us / 1e6),
)
_JOB_GAUGES: Sequence[tuple[str, str, _OfJob]] = (
    ("memd_job_waiting", "What is to be done, counted up to a bound", lambda job: job.waiting),
    ("memd_job_failing", "1 when the last run failed", lambda job: bool(job.last_error)),
    ("memd_job_last_seconds", "Duration of the last run", lambda job: job.last_duration_us / 1e6),
    (
        "memd_job_last_time_seconds",
        "When the last run began, Unix time; 0 before the first",
        lambda job: (job.last_us or 0) / 1e6,
    ),
)


def _of_jobs(family: CounterMetricFamily | GaugeMetricFamily, reports: Sequence[JobReport], value: _OfJob) -> Metric:
    for report in reports:
        family.add_metric([report.job], value(report))
    return family


def rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
