"""OpenTelemetry, for whoever asks for it: a span for each request, and in it one for encoding, searching, generating.

Spans say what was done, how much of it and how long it took: no contents, no ids, no namespaces, no tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from fastapi import FastAPI
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, StatusCode, Tracer

import comem_memory
from comem_memory.memory import ContinuousMemory

UNTRACED = "/health,/ready,/metrics"
"""Paths that are asked all the time, and tell nothing."""
WITH_QUERY = ("http.url", "http.target", "url.full", "url.query")
"""Attributes of a request's span that hold its query, and in it namespaces and ids."""


@contextmanager
def exported() -> Iterator[TracerProvider]:
    """Sends spans by OTLP over gRPC, as the standard variables say (OTEL_EXPORTER_OTLP_ENDPOINT, ...).

    Those that wait are sent when it is left.
    """
    service = Resource({"service.name": "comem", "service.version": comem_memory.__version__})
    provider = TracerProvider(resource=service.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield provider
    finally:
        provider.shutdown()


def trace(app: FastAPI, memory: ContinuousMemory, provider: TracerProvider) -> None:
    """Has an app and the memory that it serves make spans.

    Args:
        app: The app, before it answers anything.
        memory: Its memory, whose parts make spans from now on.
        provider: Where spans go.
    """
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        server_request_hook=_without_query,
        excluded_urls=UNTRACED,
        exclude_spans=["receive", "send"],
    )
    tracer = provider.get_tracer("comem_memory", comem_memory.__version__)
    for part, method, counted, made in (
        (memory.encoder, "encode", "comem.items", None),
        (memory.store, "search", None, "comem.found"),
        (memory.backbone, "generate", "comem.prompts", None),
    ):
        setattr(part, method, _spanned(tracer, getattr(part, method), counted, made))


def _spanned(tracer: Tracer, work: Callable[..., Any], counted: str | None, made: str | None) -> Callable[..., Any]:
    """A method that makes a span of its name.

    Args:
        tracer: Makes the spans.
        work: The method.
        counted: The attribute for how many its first argument are.
        made: The attribute for how many it returns.
    """

    @wraps(work)
    def spanned(*args: Any, **kwargs: Any) -> Any:
        # What an error says may hold contents.
        with tracer.start_as_current_span(
            f"comem.{work.__name__}", record_exception=False, set_status_on_exception=False
        ) as span:
            if counted is not None:
                span.set_attribute(counted, len(args[0]))
            try:
                result = work(*args, **kwargs)
            except Exception as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise
            if made is not None:
                span.set_attribute(made, len(result))
            return result

    return spanned


def _without_query(span: Span, scope: dict[str, Any]) -> None:
    known = getattr(span, "attributes", None) or {}  # one that is not sampled has none
    for name in set(WITH_QUERY) & set(known):
        span.set_attribute(name, "" if name == "url.query" else str(known[name]).partition("?")[0])
