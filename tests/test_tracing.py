"""OpenTelemetry: what spans tell, that they hold no contents, and that they arrive."""

import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from helpers.processes import run
from helpers.programs import comem_serve
from helpers.saved import save_tiny
from helpers.servers import serving
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from comem_memory.server.app import create_app
from comem_memory.server.tracing import trace
from comem_memory.testing import tiny_memory

SECRET = "brass"
ITEM = {"id": f"id-{SECRET}", "text": f"The blue door opens with the {SECRET} key."}
QUESTION = {"role": "user", "content": f"What does the {SECRET} key open?"}


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[tuple[httpx.Client, InMemorySpanExporter]]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with tiny_memory(tmp_path / "memory") as memory:
        app = create_app(memory)
        trace(app, memory, provider)
        with serving(app) as url, httpx.Client(base_url=url, params={"namespace": f"ns-{SECRET}"}) as client:
            yield client, exporter


def ask(client: httpx.Client, **more: Any) -> None:
    model = client.get("/v1/models").json()["data"][0]["id"]
    asked = {"model": model, "messages": [QUESTION], "max_tokens": 2} | more
    client.post("/v1/chat/completions", json=asked).raise_for_status()


def test_a_request_has_spans_of_its_work(traced: tuple[httpx.Client, InMemorySpanExporter]):
    client, exporter = traced
    client.post("/v1/items", json={"items": [ITEM]}).raise_for_status()
    ask(client)
    ask(client, stream=True)
    client.get("/health")
    spans = exporter.get_finished_spans()
    roots = {span.context.trace_id: span for span in spans if span.parent is None}

    def work_of(path: str) -> list[set[str]]:
        found = [trace for trace, root in roots.items() if path in root.name]
        return [{span.name for span in spans if span.context.trace_id == one and span.parent} for one in found]

    assert work_of("/v1/items") == [{"comem.encode"}]
    assert work_of("/v1/chat/completions") == [{"comem.search", "comem.generate"}] * 2
    assert work_of("/health") == []
    [encoded] = [span for span in spans if span.name == "comem.encode"]
    assert encoded.attributes["comem.items"] == 1
    assert [span.attributes["comem.found"] for span in spans if span.name == "comem.search"][-1] == 1


def test_spans_hold_no_contents(traced: tuple[httpx.Client, InMemorySpanExporter]):
    client, exporter = traced
    client.post("/v1/items", json={"items": [ITEM]}).raise_for_status()
    ask(client)
    assert client.get("/v1/pictures", params={"id": ITEM["id"]}).status_code == 404
    wrong = {"items": [{"text": f"{SECRET} " * 2000}]}
    assert client.post("/v1/items", json=wrong).status_code == 422
    spans = exporter.get_finished_spans()
    assert len(spans) >= 6
    for span in spans:
        assert SECRET not in span.to_json(), span.name


def test_what_fails_is_told_by_its_class(traced: tuple[httpx.Client, InMemorySpanExporter]):
    client, exporter = traced
    client.post("/v1/items", json={"items": [ITEM]}).raise_for_status()
    answer = client.post("/v1/search", json={"text": "door", "where": {SECRET: {"$near": 1}}})
    assert answer.status_code == 422
    [failed] = [span for span in exporter.get_finished_spans() if span.status.status_code == StatusCode.ERROR]
    assert (failed.name, failed.attributes["error.type"]) == ("comem.search", "QueryError")
    assert not failed.events and not failed.status.description


class Receiver(TraceServiceServicer):
    def __init__(self) -> None:
        self.names: list[str] = []

    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
        for resource in request.resource_spans:
            service = {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"]
            self.names += [f"{service} {span.name}" for scope in resource.scope_spans for span in scope.spans]
        return ExportTraceServiceResponse()


def test_spans_of_comem_serve_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server, receiver = grpc.server(futures.ThreadPoolExecutor(1)), Receiver()
    add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "memory-of-tests")
    with comem_serve(save_tiny(tmp_path), tmp_path / "memory", "--tracing") as url:
        httpx.post(f"{url}/v1/items", json={"items": [ITEM]}).raise_for_status()
    server.stop(None)
    assert {"memory-of-tests POST /v1/items", "memory-of-tests comem.encode"} <= set(receiver.names)


def test_without_tracing_it_is_not_imported(tmp_path: Path):
    told = run(
        """
        import json
        from comem_memory.server import running  # noqa: F401
        from comem_memory.server.app import create_app
        from comem_memory.testing import tiny_memory

        create_app(tiny_memory())
        print(json.dumps([name for name in sys.modules if "tracing" in name or "instrumentation.fastapi" in name]))
        """
    )
    assert [name for name in json.loads(told) if name.startswith(("comem_memory", "opentelemetry.instr"))] == []
