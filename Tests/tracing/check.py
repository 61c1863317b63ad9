"""What Tests/tracing/run says, with a collector in this process and real servers."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import needletail
import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reliability" / "faults"))
import harness
import wire
from figures import Figures
from harness import Server, Workspace, main, until

INVALID = "00-00000000000000000000000000000000-0000000000000000-01"
Answer = tuple[int, dict[str, str], bytes]


class Collector(http.server.ThreadingHTTPServer):
    """Takes exports at ``/prefix/v1/traces``, and answers as ``answers`` tells, else with success."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.spans: list[Span] = []
        self.resources: set[tuple[str, str]] = set()
        self.faults: list[str] = []
        self.answers: list[Answer] = []
        self.requests = 0
        self.connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/prefix"

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        self.connections.append(connection)
        return connection, peer

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        # Those that are kept alive would be answered on.
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def take(self) -> list[Span]:
        found, self.spans = self.spans, []
        return found

    def named(self, prefix: str) -> list[Span]:
        return [span for span in self.spans if span.name.startswith(prefix)]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Collector
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests += 1
        if self.path != "/prefix/v1/traces" or self.headers["content-type"] != "application/x-protobuf":
            self.server.faults.append(f"{self.path} {self.headers['content-type']}")
        if self.headers["x-key"] != "secret":
            self.server.faults.append("no key")
        status, headers, answer = self.server.answers.pop(0) if self.server.answers else (200, {}, b"")
        if status == 200:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.server.resources |= {(a.key, a.value.string_value) for a in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self.server.spans += scope.spans
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


def attributes(span: Span) -> dict[str, Any]:
    return {
        a.key: a.value.int_value if a.value.HasField("int_value") else a.value.string_value for a in span.attributes
    }


def over_http(server: Server, port: int, rows: list[list[float]], traceparent: str, model: str = "digits") -> int:
    body = {
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [len(rows), len(rows[0])], "data": sum(rows, [])}]
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/{model}/infer", json.dumps(body).encode(),
        {"content-type": "application/json", "traceparent": traceparent},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


class Tracing:
    """A server whose spans go to a collector."""

    def __init__(self, work: Workspace, collector: Collector | str, **tracing: Any) -> None:
        headers = work.directory / "headers"
        headers.write_text("# for the collector\nX-Key: secret\n")
        endpoint = collector if isinstance(collector, str) else collector.address
        options = {"endpoint": endpoint, "headers_file": str(headers), "service_name": "wines"} | tracing
        self.server = work.server(
            "--http", "127.0.0.1:0", settings={"tracing": options, "serving": {"inline_microseconds": 0}}
        )
        start = self.server.log().index('"http":"127.0.0.1:') + len('"http":"127.0.0.1:')
        self.http = int(self.server.log()[start : start + 6].split('"')[0])
        self.client = needletail.Client(f"127.0.0.1:{self.server.port}", timeout=10)

    def lost(self, reason: str) -> float:
        return self.server.metric("needletail_trace_calls_lost_total", reason=reason)

    def exported(self) -> float:
        return self.server.metric("needletail_trace_calls_total")

    def ask(self, traceparent: str, rows: int = 1, model: str = "digits", **options: Any) -> Any:
        return self.client.predict(model, np.zeros((rows, 64), np.float32), traceparent=traceparent, **options)


def started(is_recorded: bool = True) -> tuple[str, Any, Any]:
    """A span of OpenTelemetry's library, and the traceparent by which it is handed on."""
    span = TracerProvider(sampler=ALWAYS_ON if is_recorded else ALWAYS_OFF).get_tracer("test").start_span("client")
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(span))
    return carrier["traceparent"], span, span.get_span_context()


def one_call(tracing: Tracing, collector: Collector, protocol: str, rows: int, figures: Figures) -> None:
    traceparent, client_span, context = started()
    began = time.time_ns()
    if protocol == "needletail":
        tracing.ask(traceparent, rows)
    else:
        over_http(tracing.server, tracing.http, [[0.0] * 64] * rows, traceparent)
    ended = time.time_ns()
    until("three spans", lambda: len(collector.spans) >= 3)
    spans = {span.name: span for span in collector.take()}
    call, queue, compute = spans["predict digits"], spans["queue"], spans["compute"]
    wrong: list[str] = []

    def check(what: str, holds: bool) -> None:
        if not holds:
            wrong.append(what)

    trace = context.trace_id.to_bytes(16, "big")
    check("trace", all(span.trace_id == trace for span in spans.values()))
    check("parent", call.parent_span_id == context.span_id.to_bytes(8, "big"))
    check("children", queue.parent_span_id == call.span_id == compute.parent_span_id)
    check("numbers", len({span.span_id for span in spans.values()} | {call.parent_span_id}) == 4)
    check("kinds", call.kind == Span.SPAN_KIND_SERVER and queue.kind == compute.kind == Span.SPAN_KIND_INTERNAL)
    check("flags", call.flags == 0x301 and queue.flags == compute.flags == 0x101)
    # Clocks are read at slightly different times.
    slack = 2_000_000
    check("caller", began - slack <= call.start_time_unix_nano <= call.end_time_unix_nano <= ended + slack)
    check("queue first", call.start_time_unix_nano <= queue.start_time_unix_nano <= queue.end_time_unix_nano)
    check("computation", queue.end_time_unix_nano == compute.start_time_unix_nano <= compute.end_time_unix_nano)
    check("within the call", compute.end_time_unix_nano <= call.end_time_unix_nano)
    found = attributes(call)
    expected = {
        "network.protocol.name": protocol, "needletail.model": "digits", "needletail.version": 1,
        "needletail.rows": rows, "needletail.batch_rows": rows, "needletail.status": "OK",
    }  # fmt: skip
    check(f"attributes {found}", found == expected)
    check("status", call.status.code == Status.STATUS_CODE_UNSET)
    check("resource", ("service.name", "wines") in collector.resources)
    check(f"requests {collector.faults}", not collector.faults)
    client_span.end()
    for fault in wrong:
        print(f"  {protocol}, {rows} rows: {fault}", file=sys.stderr)
    figures.none_of(f"faults of the spans of a call by {protocol}, {rows} rows", len(wrong))


def choice(tracing: Tracing, collector: Collector, figures: Figures) -> None:
    """Callers who do not record, say nothing, or nonsense are not traced; the fence at the end is."""
    tracing.ask(started(is_recorded=False)[0])
    tracing.ask("")
    tracing.ask(INVALID)
    over_http(tracing.server, tracing.http, [[0.0] * 64], INVALID)
    over_http(tracing.server, tracing.http, [[0.0] * 64], started(is_recorded=False)[0])
    tracing.ask(started()[0])
    until("the spans of the last call", lambda: len(collector.spans) >= 3)
    figures.none_of("calls traced that their callers do not record", len(collector.take()) - 3)
    unread = tracing.server.metric("needletail_trace_contexts_invalid_total")
    figures.none_of("traces that cannot be read and are not counted", int(abs(unread - 2)))


def late(server: Server, traceparent: str) -> None:
    """A call whose microsecond is over before its batch begins."""
    body = wire.predict_body("digits", [[0.0] * 64] * 1000) + wire.field(13, traceparent.encode())
    with harness.connect(server.address) as peer:
        peer.sendall(wire.request(1, body, timeout_us=1))
        peer.recv(4096)


def errors(tracing: Tracing, collector: Collector, figures: Figures) -> None:
    server, http = tracing.server, tracing.http
    wanted: list[tuple[str, str, Callable[[str], Any], bool]] = [
        ("NOT_FOUND", "predict", lambda trace: over_http(server, http, [[0.0] * 64], trace, "nobody"), False),
        ("INVALID_ARGUMENT", "predict", lambda trace: over_http(server, http, [[1.0]], trace), False),
        ("NOT_FOUND", "predict", lambda trace: tracing.ask(trace, outputs=["nothing"]), False),
        ("DEADLINE_EXCEEDED", "predict", lambda trace: late(server, trace), True),
    ]
    wrong = 0
    for status, name, ask, is_fault in wanted:
        with contextlib.suppress(needletail.NeedletailError):
            ask(started()[0])
        try:
            until(f"the span of {status}", lambda: collector.named("predict"), seconds=5)
        except TimeoutError:
            print(f"  {status}: no span", file=sys.stderr)
            wrong += 1
            continue
        [span] = [span for span in collector.take() if span.kind == Span.SPAN_KIND_SERVER]
        found = attributes(span)
        holds = (
            span.name == name
            and found["needletail.status"] == status
            and (span.status.code == Status.STATUS_CODE_ERROR) == is_fault
            and ("error.type" in found) == is_fault
        )
        if not holds:
            print(f"  {status}: {span.name} {found} {span.status}", file=sys.stderr)
        wrong += not holds
    figures.none_of("errors that are not told, or told wrongly", wrong)


def many(work: Workspace, figures: Figures) -> None:
    """Every call of a load is traced: what is not exported is counted."""
    collector = Collector()
    tracing = Tracing(work, collector, rate=1)
    work.bench(tracing.server, "digits", "--closed", "--connections", "4", "--duration", "1s")
    calls = tracing.server.metric("needletail_requests_total", model="digits")
    lost = "needletail_trace_calls_lost_total"
    until("every call to be exported or lost", lambda: tracing.exported() + tracing.server.metric(lost) == calls)
    missing = int(calls - tracing.server.metric(lost)) - len(collector.named("predict"))
    figures.none_of("exit status of a server that is told to stop", tracing.server.stop())
    figures.none_of("calls that are said to be exported and are not", missing)
    spans = collector.named("predict digits")
    figures.told("calls traced and exported", f"{len(spans):,} of {calls:,.0f}")
    ids = Counter(bytes(span.trace_id) for span in spans)
    figures.none_of("traces that are in the collector twice", sum(count - 1 for count in ids.values()))
    figures.none_of("calls that have a caller's span, and no caller", sum(bool(span.parent_span_id) for span in spans))
    figures.at_least("calls exported", len(spans), 500, required=True)
    collector.stop()


def trouble(work: Workspace, figures: Figures) -> None:
    """Collectors that are slow to recover, refuse, take a part, or are gone."""
    collector = Collector()
    tracing = Tracing(work, collector)
    collector.answers = [(503, {"retry-after": "1"}, b""), (429, {}, b"")]
    tracing.ask(started()[0])
    until("a collector that was busy twice to have the spans", lambda: len(collector.spans) >= 3)
    figures.none_of("spans too many or too few of a busy collector", abs(len(collector.take()) - 3))
    until("its calls to be counted", lambda: tracing.exported() == 1)
    collector.answers = [(400, {}, b"no")]
    tracing.ask(started()[0])
    until("refused calls to be counted", lambda: tracing.lost("refused") == 1)
    partial = ExportTraceServiceResponse()
    partial.partial_success.rejected_spans = 3
    partial.partial_success.error_message = "too old"
    collector.answers = [(200, {}, partial.SerializeToString())]
    tracing.ask(started()[0])
    until("spans that were not taken to be counted", lambda: tracing.lost("refused") == 2)
    log = tracing.server.log()
    # It was busy, recovered, and refused.
    figures.none_of("troubles of a collector that are not said once", abs(log.count("and their spans lost") - 2))
    collector.take()
    tracing.ask(started()[0])
    until("the collector to be said to work again", lambda: tracing.server.log().count("takes spans again") == 2)
    port = collector.server_port
    collector.stop()
    answers = [tracing.ask(started()[0]) for _ in range(50)]
    figures.none_of("calls that failed while the collector was gone", 50 - len(answers))
    time.sleep(1.2)
    collector = Collector(port)
    until("a collector that came back to have the spans", lambda: len(collector.spans) >= 150)
    figures.none_of("spans too many or too few of a collector that came back", abs(len(collector.take()) - 150))
    collector.answers = [(503, {}, b"")] * 10
    tracing.ask(started()[0])
    until("an export to fail", lambda: len(collector.answers) < 10)
    stopping = time.monotonic()
    figures.none_of("exit status of a server whose collector fails", tracing.server.stop())
    figures.at_most("seconds that it took to stop", time.monotonic() - stopping, 5, places=1)
    collector.stop()


def script() -> Figures:
    figures = Figures("tracing", "--json" in sys.argv)
    with Workspace("tracing") as work:
        work.digits()
        collector = Collector()
        tracing = Tracing(work, collector)
        for protocol in ("needletail", "http"):
            for rows in (1, 300):
                one_call(tracing, collector, protocol, rows, figures)
        choice(tracing, collector, figures)
        errors(tracing, collector, figures)
        tracing.server.stop()
        collector.stop()
        many(work, figures)
        trouble(work, figures)
    return figures


if __name__ == "__main__":
    main(script)
