"""What Prometheus is told: numbers of requests, items and tokens, without users, namespaces or contents."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from comem_memory.server.limits import Queue


class Metrics:
    """Counters of one server.

    Args:
        answers: The answers that are generated or wait.
        writes: The requests that write or wait.
    """

    def __init__(self, answers: Queue, writes: Queue) -> None:
        registry = self._registry = CollectorRegistry()
        of_route = ("method", "route")
        self._requests = Counter(
            "comem_requests", "Requests, by route and status.", (*of_route, "status"), registry=registry
        )
        self._seconds = Histogram(
            "comem_request_seconds",
            "Seconds from a request to the end of its answer.",
            of_route,
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
        )
        self.items_added = Counter("comem_items_added", "Items given to POST /v1/items.", registry=registry)
        self.searches = Counter("comem_searches", "Searches by POST /v1/search.", registry=registry)
        self.generated_tokens = Counter("comem_generated_tokens", "Tokens that the model wrote.", registry=registry)
        for name, queue in (("answers", answers), ("writes", writes)):
            for state in ("running", "waiting"):
                gauge = Gauge(f"comem_{name}_{state}", f"{name.capitalize()} that are {state} now.", registry=registry)
                gauge.set_function(partial(getattr, queue, state))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request that was answered.

        Args:
            method: Its HTTP method.
            route: Its route, without what it was asked for.
            status: The status of its answer.
            seconds: How long it took.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def exposed(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)
