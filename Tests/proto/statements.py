"""Tests of the numbered statements of proto/README.md against real servers.

A test quotes the words that it proves. A number without a test fails the run, and so does a quotation that the
statement no longer holds.
"""

from __future__ import annotations

import contextlib
import csv
import pathlib
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = ROOT / "proto" / "README.md"
FIXTURES = ROOT / "Tests/hugging-face/fixtures"
sys.path.insert(0, str(ROOT / "Tests/reliability/faults"))
GENERATED = tempfile.TemporaryDirectory()
subprocess.run(
    ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={GENERATED.name}", "needletail/v1/inference.proto"], check=True
)
sys.path.insert(0, GENERATED.name)
from harness import Server, Workspace, until  # noqa: E402
from needletail.v1 import inference_pb2 as pb  # noqa: E402

Test = Callable[["Bench"], None]
TESTS: list[tuple[int, tuple[str, ...], Test]] = []
HARD_CAP = 64 << 20
SHORT = {
    "limits": {"frame_seconds": 0.6, "idle_seconds": 1, "stall_seconds": 0.6, "handshake_seconds": 0.6},
    "threads": 1,
}


def statement(number: int, *quotes: str) -> Callable[[Test], Test]:
    def add(test: Test) -> Test:
        TESTS.append((number, quotes, test))
        return test

    return add


def statements() -> dict[int, str]:
    """Returns the text of every statement, with single spaces."""
    found: dict[int, str] = {}
    for item in re.split(r"\n(?=- \[S\d+\]|\n|```|\| )", README.read_text(encoding="utf-8")):
        if match := re.match(r"- \[S(\d+)\] (.*)", item, re.S):
            number = int(match[1])
            if number in found:
                sys.exit(f"statements: [S{number}] stands twice in proto/README.md")
            found[number] = " ".join(match[2].split())
    return found


def check() -> int:
    """Compares numbers and quotations. Returns how many do not agree."""
    texts, faults = statements(), []
    tested = {number for number, _, _ in TESTS}
    faults += [f"[S{number}] has no test: {texts[number][:60]}…" for number in sorted(texts.keys() - tested)]
    for number, quotes, test in TESTS:
        if number not in texts:
            faults.append(f"{test.__name__}: proto/README.md has no [S{number}]")
            continue
        faults += [f"{test.__name__}: [S{number}] does not say “{q}”" for q in quotes if q not in texts[number]]
    for number in re.findall(r"\[S(\d+)\]", README.read_text(encoding="utf-8")):
        if int(number) not in texts:
            faults.append(f"[S{number}] is mentioned and is no statement")
    for fault in faults:
        print(f"statements: {fault}", file=sys.stderr)
    return len(faults)


# ---------------------------------------------------------------- clients


class Closed(Exception):
    """The server has ended the connection."""


class Peer:
    """One connection."""

    def __init__(
        self, address: Any, receive_bytes: int = 0, tls: ssl.SSLContext | None = None, source: str | None = None
    ) -> None:
        self.socket: socket.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(20)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect(address)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="any.example")
        self.id = 0

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send(self, request: pb.Request) -> int:
        if not request.id:
            self.id += 1
            request.id = self.id
        self.raw(frame(request))
        return request.id

    def exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                piece = self.socket.recv(min(count - len(data), 1 << 20))
            except ConnectionError:
                raise Closed from None
            if not piece:
                raise Closed
            data += piece
        return bytes(data)

    def receive(self) -> pb.Response:
        (length,) = struct.unpack(">I", self.exactly(4))
        return pb.Response.FromString(self.exactly(length))

    def call(self, request: pb.Request) -> pb.Response:
        id = self.send(request)
        response = self.receive()
        assert response.id == id, f"expected id {id}, found {response}"
        return response

    def end(self) -> float:
        """Waits for the end of the connection, which must come without a word. Returns the seconds until then."""
        began = time.monotonic()
        try:
            found = self.receive()
        except Closed:
            return time.monotonic() - began
        raise AssertionError(f"expected the end of the connection, found {found}")


def frame(message: pb.Request | bytes) -> bytes:
    payload = message if isinstance(message, bytes) else message.SerializeToString()
    return struct.pack(">I", len(payload)) + payload


def health(id: int = 0, timeout_us: int = 0) -> pb.Request:
    return pb.Request(id=id, timeout_us=timeout_us, health=pb.HealthRequest())


def floats(rows: list[list[float]]) -> pb.Tensor:
    data = b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)
    return pb.Tensor(name="features", type=pb.FLOAT32, shape=[len(rows), len(rows[0])], data=data)


def texts(rows: list[list[str]], name: str = "features") -> pb.Tensor:
    cells = [cell.encode() for row in rows for cell in row]
    shape = [len(rows), len(rows[0])] if name == "features" else [len(cells)]
    return pb.Tensor(name=name, type=pb.STRING, shape=shape, strings=cells)


def numbers(name: str, values: list[float], type: int = pb.FLOAT32, code: str = "f") -> pb.Tensor:
    return pb.Tensor(name=name, type=type, shape=[len(values)], data=struct.pack(f"<{len(values)}{code}", *values))


def predict(model: str, *inputs: pb.Tensor, outputs: tuple[str, ...] = (), **fields: Any) -> pb.Request:
    request = pb.Request(timeout_us=fields.pop("timeout_us", 0), id=fields.pop("id", 0))
    request.predict.CopyFrom(pb.PredictRequest(model=model, inputs=inputs, outputs=outputs, **fields))
    return request


def line(*values: float, **fields: Any) -> pb.Request:
    return predict("line", floats([[value, 1] for value in values or (1,)]), **fields)


def wide(rows: int, **fields: Any) -> pb.Request:
    """A call whose answer has 8,000 bytes a row in its probabilities."""
    return predict("wide", floats([[i / rows] for i in range(rows)]), **fields)


def code(response: pb.Response) -> str:
    return pb.StatusCode.Name(response.status.code)


def output(response: pb.Response, name: str) -> pb.Tensor:
    assert code(response) == "OK", response
    return next(output for output in response.predict.outputs if output.name == name)


def prediction(response: pb.Response) -> list[float]:
    found = output(response, "prediction")
    return list(struct.unpack(f"<{len(found.data) // 4}f", found.data))


def expect(found: Any, wanted: Any) -> None:
    assert found == wanted, f"expected {wanted!r}, found {found!r}"


def refused(peer: Peer, request: pb.Request, wanted: str, *words: str) -> None:
    response = peer.call(request)
    expect(code(response), wanted)
    for word in words:
        assert word in response.status.message, f"expected {word!r} in {response.status.message!r}"


class Bench:
    """Servers and models that tests share; each server starts when it is first wanted."""

    def __init__(self, work: Workspace) -> None:
        self.work = work
        self.servers: dict[str, Server] = {}
        self.lock = threading.Lock()
        directory = work.directory
        rows = "\n".join(f"{i % 7},{i % 5},{2 * (i % 7) - 3 * (i % 5) + 1}" for i in range(70))
        (directory / "line.csv").write_text(f"a,b,y\n{rows}\n")
        rows = "\n".join(
            f"{20 + i % 50},{'' if i % 9 == 0 else 1000 + i},{colour},{'no' if colour == 'red' else 'yes'}"
            for i, colour in enumerate(["red", "green", "blue"] * 100)
        )
        (directory / "people.csv").write_text(f"age,income,colour,bought\n{rows}\n")
        work.wide(classes=2000)
        self.train("line", "y", "regression", "linear_regression")
        self.train("people", "bought", "classification", "logistic_regression", "features: { missing: mean }")
        for folder, name in (("entities", "names"), ("answer", "reading")):
            subprocess.run(
                [work.programs / "needletail-trainer", "import", FIXTURES / folder, "--model", name,
                 "--precision", "fp32", "--output", work.directory / f"{name}.ntb", "--publish", work.store()],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def train(self, name: str, target: str, task: str, family: str, more: str = "") -> None:
        self.work.train(
            f"""
data: {{ files: ["{self.work.directory}/{name}.csv"], duplicates: keep }}
target: {{ column: {target}, task: {task} }}
{more}
model: {{ family: {family} }}
publish: {{ model: {name} }}
"""
        )

    def server(self, name: str = "plain", *flags: str, **settings: Any) -> Server:
        with self.lock:
            if name not in self.servers:
                self.servers[name] = self.work.server(*flags, settings=settings or {"threads": 1})
            return self.servers[name]

    def short(self) -> Server:
        return self.server("short", **SHORT)

    def peer(self, server: Server | None = None, **options: Any) -> Peer:
        return Peer((server or self.server()).address, **options)

    def keyed(self) -> tuple[Server, dict[str, str]]:
        """A server with keys: `all` may do everything, `line` only predict with one model and once a second."""
        path = self.work.directory / "keys.yaml"
        with self.lock:
            if not path.exists():
                made = {}
                entries = "keys:\n"
                for key, flags in (("all", ["--calls", "predict,describe,list,health,metrics,rollout"]),
                                   ("line", ["--models", "line", "--calls", "predict"]), ("revoked", [])):  # fmt: skip
                    done = subprocess.run(
                        [self.work.programs / "needletail", "key", "generate", key, *flags],
                        capture_output=True, text=True, check=True,
                    )  # fmt: skip
                    made[key], entry = done.stdout.strip(), done.stderr.rstrip("\n")
                    if key == "line":
                        entry += "\n    limits: {requests_per_second: 1}"
                    entries += entry + "\n"
                path.write_text(entries)
                self.keys = made
        server = self.server(
            "keyed", "--api-keys", str(path), reload_milliseconds=20, threads=1, limits={"handshake_seconds": 0.6}
        )
        return server, self.keys


def authenticate(key: str) -> pb.Request:
    return pb.Request(authenticate=pb.AuthenticateRequest(api_key=key))


# ---------------------------------------------------------------- connections and frames


@statement(1, "default `127.0.0.1:6470`", "Unix stream socket", "no greeting")
def listens(bench: Bench) -> None:
    path = str(bench.work.directory / "socket")
    bench.server("unix", "--unix", path)
    with Peer(path) as peer:
        peer.socket.settimeout(0.1)
        try:
            raise AssertionError(f"the server speaks first: {peer.socket.recv(1)!r}")
        except TimeoutError:
            peer.socket.settimeout(10)
        expect(code(peer.call(health())), "OK")
    expect(setting(bench, "listen"), "127.0.0.1:6470")


def setting(bench: Bench, key: str) -> str:
    """Returns the default of a setting as the server prints it."""
    shown = subprocess.run(
        [bench.work.programs / "needletail-server", "--store", bench.work.store(), "--allow-unsigned",
         "--print-config"], capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = re.search(rf'^\s*{key}: "?([^"\n#]*?)"?\s*(#.*)?$', shown, re.M)
    assert found, f"no {key} in {shown}"
    return found[1]


def sample_in_c(bench: Bench) -> None:
    """The sample in C answers as the README says."""
    directory = pathlib.Path(GENERATED.name)
    subprocess.run(
        ["protoc-c", f"-I{ROOT / 'proto'}", f"--c_out={directory}", "needletail/v1/inference.proto"], check=True
    )
    subprocess.run(
        ["cc", "-Wall", "-Wextra", "-Werror", f"-I{directory}", "-o", directory / "call", ROOT / "proto/samples/call.c",
         directory / "needletail/v1/inference.pb-c.c", "-lprotobuf-c"], check=True,
    )  # fmt: skip
    host, port = bench.server().address
    done = subprocess.run([directory / "call", host, str(port), "line", "3", "1"], capture_output=True, text=True)
    name, value = done.stdout.split()
    assert name == "prediction" and abs(float(value) - 4) < 1e-3, done
    done = subprocess.run([directory / "call", host, str(port), "none", "3"], capture_output=True, text=True)
    assert done.returncode == 1 and "not found" in done.stderr, done


@statement(2, "length of 4 bytes, unsigned and **big-endian**")
def frames_have_lengths(bench: Bench) -> None:
    sample_in_c(bench)
    with bench.peer() as peer:
        peer.raw(bytes.fromhex("00000004 0807 2200"))
        (length,) = struct.unpack(">I", peer.exactly(4))
        expect(pb.Response.FromString(peer.exactly(length)).id, 7)


@statement(3, "1 byte to 16 MiB", "`limits.frame_bytes_max`")
def requests_have_bounds(bench: Bench) -> None:
    expect(setting(bench, "frame_bytes_max"), str(16 << 20))
    head = health(3).SerializeToString()
    with bench.peer() as peer:
        # An unknown field fills the frame up to its last byte.
        filling = (16 << 20) - len(head) - 6
        peer.raw(frame(head + b"\xfa\x01" + varint(filling) + bytes(filling)))
        expect(peer.receive().id, 3)
    with bench.peer() as peer:
        peer.raw(struct.pack(">I", (16 << 20) + 1))
        expect(code(peer.receive()), "INVALID_ARGUMENT")


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


@statement(4, "at most 64 MiB, whatever that setting says")
def responses_may_be_larger_than_requests(bench: Bench) -> None:
    server = bench.server("narrow", threads=1, limits={"frame_bytes_max": 65536})
    with bench.peer(server) as peer:
        answer = peer.call(wide(4000))
        expect(len(output(answer, "probabilities").data), 4000 * 8000)


@statement(5, "`INVALID_ARGUMENT` with id 0 and ends the connection", "HTTP and TLS")
def bad_lengths_end_the_connection(bench: Bench) -> None:
    for data in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"GET ", b"\x16\x03\x01\x02"):
        with bench.peer() as peer:
            peer.raw(data)
            response = peer.receive()
            expect((response.id, code(response)), (0, "INVALID_ARGUMENT"))
            peer.end()


@statement(6, "must end within 9 s (`limits.frame_seconds`)", "second more for each 64 KiB", "answered with id 0")
def frames_must_end(bench: Bench) -> None:
    expect(setting(bench, "frame_seconds"), "9")
    with bench.peer() as peer:
        for byte in frame(health(5)):
            peer.raw(bytes([byte]))
        expect(peer.receive().id, 5)
    server = bench.server("frames", threads=1, limits={"frame_seconds": 0.6})
    with bench.peer(server) as peer, bench.peer(server) as longer:
        began = time.monotonic()
        peer.raw(b"\0\0\3\xe8\x08\x01")
        longer.raw(struct.pack(">I", 1 << 20) + bytes(128 << 10))
        expect(peer.receive().id, 0)
        seconds = time.monotonic() - began
        assert 0.6 <= seconds < 1.6, seconds
        expect(longer.receive().id, 0)
        assert time.monotonic() - began >= 2.6, "two seconds more for 128 KiB"


@statement(7, "300 s (`limits.idle_seconds`) is closed without a word")
def idle_connections_are_closed(bench: Bench) -> None:
    expect(setting(bench, "idle_seconds"), "300")
    with bench.peer(bench.short()) as peer:
        assert 1 <= peer.end() < 2.5


@statement(8, "16,384 connections", "answered `OVERLOADED` with id 0", "`retry_after_us`, and closed")
def connections_are_limited(bench: Bench) -> None:
    expect(setting(bench, "connections_max"), "16384")
    server = bench.server("few", threads=1, limits={"connections_max": 1})
    with bench.peer(server) as peer, bench.peer(server) as other:
        expect(code(peer.call(health())), "OK")
        response = other.receive()
        expect((response.id, code(response)), (0, "OVERLOADED"))
        assert response.status.retry_after_us > 0
        other.end()


@statement(9, "gets the answers to all its calls, and then the end")
def a_client_may_end_its_side_first(bench: Bench) -> None:
    with bench.peer() as peer:
        for _ in range(50):
            peer.send(line(1))
        peer.socket.shutdown(socket.SHUT_WR)
        expect(sorted(peer.receive().id for _ in range(50)), list(range(1, 51)))
        peer.end()


def certificate(bench: Bench) -> tuple[str, str]:
    pair = str(bench.work.directory / "tls.pem"), str(bench.work.directory / "tls.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
         "/CN=test", "-addext", "subjectAltName=DNS:client.example", "-days", "2", "-out", pair[0], "-keyout", pair[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return pair


@statement(10, "never upgraded", "Versions are 1.2 and 1.3", "whatever name is asked for (SNI)", "no protocol (ALPN)")
def tls(bench: Bench) -> None:
    pem, key = certificate(bench)
    server = bench.server("tls", "--tls-certificate", pem, "--tls-key", key)
    for version, works in (("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        context.set_alpn_protocols(["h2", "needletail"])
        try:
            with bench.peer(server, tls=context) as peer:
                expect(code(peer.call(health())), "OK")
                assert isinstance(peer.socket, ssl.SSLSocket)
                expect(peer.socket.selected_alpn_protocol(), None)
            assert works, version
        except (ssl.SSLError, ConnectionError):
            assert not works, version
    with bench.peer(server) as peer:
        peer.raw(frame(health()))
        with contextlib.suppress(ConnectionError):
            # An alert of TLS, which is no frame, or nothing.
            assert peer.socket.recv(5)[:1] in (b"", b"\x15")


# ---------------------------------------------------------------- calls


@statement(11, "choose a version by `version` or `label`", "with neither the rollout chooses")
def versions_are_chosen(bench: Bench) -> None:
    with bench.peer() as peer:
        expect(peer.call(line(1)).predict.version, 1)
        expect(peer.call(line(1, version=1)).predict.version, 1)
        refused(peer, line(1, version=2), "NOT_FOUND", "2")
        refused(peer, line(1, label="none"), "NOT_FOUND", "none")
        describe = pb.DescribeModelRequest(model="line", version=2)
        refused(peer, pb.Request(describe_model=describe), "NOT_FOUND")


@statement(12, "always says which version answered")
def answers_name_their_version(bench: Bench) -> None:
    with bench.peer() as peer:
        for request in (line(1), predict("people", *people())):
            assert peer.call(request).predict.version > 0


def people(colours: tuple[str, ...] = ("red",), **changed: pb.Tensor) -> list[pb.Tensor]:
    columns = {
        "age": numbers("age", [30.0] * len(colours)), "income": numbers("income", [1100.0] * len(colours)),
        "colour": texts([list(colours)], "colour"),
    }  # fmt: skip
    return list((columns | changed).values())


@statement(13, "in the model's order, not in that of the request")
def outputs_are_chosen(bench: Bench) -> None:
    with bench.peer() as peer:
        answer = peer.call(predict("people", *people(), outputs=("label", "probabilities")))
        expect([output.name for output in answer.predict.outputs], ["probabilities", "label"])


@statement(14, "gets `UNIMPLEMENTED`, before any key is asked for")
def unknown_calls(bench: Bench) -> None:
    server, _ = bench.keyed()
    for each in (bench.server(), server):
        with bench.peer(each) as peer:
            refused(peer, pb.Request(), "UNIMPLEMENTED")
            peer.raw(frame(pb.Request(id=9).SerializeToString() + b"\xa2\x06\x00"))
            expect(code(peer.receive()), "UNIMPLEMENTED")


@statement(15, "empty model name is `INVALID_ARGUMENT` in every call")
def empty_names(bench: Bench) -> None:
    with bench.peer() as peer:
        refused(peer, predict("", floats([[1, 1]])), "INVALID_ARGUMENT", "model")
        refused(peer, pb.Request(describe_model=pb.DescribeModelRequest()), "INVALID_ARGUMENT", "model")
        for action in (pb.ROLLOUT_SHOW, pb.ROLLOUT_UNDO):
            refused(peer, pb.Request(rollout=pb.RolloutRequest(action=action)), "INVALID_ARGUMENT", "model")


@statement(16, "Answers come **in any order**, matched by `id`", "exactly one answer")
def pipelining(bench: Bench) -> None:
    with bench.peer() as peer:
        for id in range(1, 1001):
            peer.send(line(id, id=id) if id % 50 else health(id))
            if id % 50 == 0:
                continue
        found = {}
        for _ in range(1000):
            response = peer.receive()
            assert response.id not in found
            found[response.id] = response
        for id, response in found.items():
            if id % 50 and code(response) == "OK":
                assert abs(prediction(response)[0] - (2 * id - 2)) < 1e-3 * id
        expect(sorted(found), list(range(1, 1001)))


@statement(17, "4,096 calls are in flight at most", "waits unread, and is not refused")
def calls_in_flight_are_limited(bench: Bench) -> None:
    expect(setting(bench, "calls_in_flight_max"), "4096")
    server = bench.server("flight", threads=1, limits={"calls_in_flight_max": 2})
    with bench.peer(server) as peer:
        for _ in range(64):
            peer.send(line(*range(100)))
        expect({code(peer.receive()) for _ in range(64)}, {"OK"})


@statement(18, "limited to 16 in flight on a connection", "one more gets `OVERLOADED`")
def control_calls_are_limited(bench: Bench) -> None:
    for _ in range(20):
        with bench.peer() as peer:
            peer.raw(b"".join(frame(pb.Request(id=id, metrics=pb.MetricsRequest())) for id in range(1, 41)))
            responses = [peer.receive() for _ in range(40)]
            codes = [code(response) for response in responses]
            expect(set(codes) - {"OK", "OVERLOADED"}, set())
            assert codes.count("OK") >= 16
            if "OVERLOADED" in codes:
                assert all(r.status.retry_after_us > 0 for r in responses if code(r) == "OVERLOADED")
                return
    raise AssertionError("40 calls in one write were never too many")


@statement(19, "any number but 0, which gets `INVALID_ARGUMENT`", "two calls with one id get two answers")
def ids(bench: Bench) -> None:
    with bench.peer() as peer:
        peer.raw(frame(health(0)) + frame(health((1 << 64) - 1)))
        responses = {peer.receive().id: 0 for _ in range(2)}
        expect(set(responses), {0, (1 << 64) - 1})
        peer.raw(frame(line(1, id=7)) + frame(line(2, id=7)))
        answers = sorted(round(prediction(response)[0]) for response in (peer.receive(), peer.receive()))
        expect(answers, [0, 2])
        peer.raw(frame(health(0)))
        expect(code(peer.receive()), "INVALID_ARGUMENT")


# ---------------------------------------------------------------- deadlines


@statement(20, "from the moment the server has read the frame's last byte", "0 is no limit")
def budgets_begin_with_the_last_byte(bench: Bench) -> None:
    with bench.peer() as peer:
        data = frame(line(1, timeout_us=100_000, id=1))
        peer.raw(data[:-1])
        time.sleep(0.3)
        peer.raw(data[-1:])
        expect(code(peer.receive()), "OK")
        expect(code(peer.call(line(1))), "OK")


@statement(21, "never begun after its budget is spent; it gets `DEADLINE_EXCEEDED`")
def spent_budgets(bench: Bench) -> None:
    server = bench.server("deadline", threads=1, serving={"workers": 1})
    with bench.peer(server) as peer:
        # Calls of 4,096 rows keep loop and worker busy; a budget of 1 µs is spent before any of the others runs.
        late = 0
        for _ in range(20):
            peer.raw(b"".join(frame(wide(1000, id=1000 + i, outputs=("label",))) for i in range(2)))
            peer.raw(frame(line(1, id=1, timeout_us=1)) + frame(health(2, timeout_us=1)))
            for _ in range(4):
                response = peer.receive()
                if response.id <= 2:
                    assert code(response) in ("OK", "DEADLINE_EXCEEDED"), response
                    late += code(response) == "DEADLINE_EXCEEDED"
        assert late > 0, "no call of 40 was late"


@statement(22, "begun in time is answered `OK` although it ends after its budget", "a call of more than 256 rows")
def begun_in_time(bench: Bench) -> None:
    with bench.peer() as peer:
        over = 0
        for budget in range(20, 3000, 15):
            response = peer.call(wide(200, outputs=("label",), timeout_us=budget))
            assert code(response) in ("OK", "DEADLINE_EXCEEDED", "OVERLOADED"), response
            timing = response.predict.timing
            # A whole batch is one run.
            over += code(response) == "OK" and timing.queue_us + timing.compute_us > budget
            assert code(response) != "OK" or timing.queue_us <= budget, timing
        assert over > 0, "no call ended after its budget"
    expect(setting(bench, "plan_rows_max"), "256")


# ---------------------------------------------------------------- answers


@statement(23, "What is admitted is sent, however large, as fast as the client takes it")
def large_answers_are_whole(bench: Bench) -> None:
    with bench.peer() as peer:
        answer = peer.call(wide(4096))
        expect(len(output(answer, "probabilities").data), 4096 * 8000)
        expect(len(output(answer, "label").strings), 4096)
    with bench.peer(bench.short(), receive_bytes=65536) as peer:
        peer.send(wide(2000))
        data, began = bytearray(), time.monotonic()
        while len(data) < 4 or len(data) < 4 + struct.unpack_from(">I", data)[0]:
            time.sleep(0.004)
            data += peer.socket.recv(32768)
        assert time.monotonic() - began > 1.5, "longer than the stall time"
        expect(len(output(pb.Response.FromString(bytes(data[4:])), "probabilities").data), 2000 * 8000)


@statement(24, "One above 64 MiB is `INVALID_ARGUMENT` and not computed", "labels counted as the longest one")
def answers_without_a_frame(bench: Bench) -> None:
    server = bench.server("rows", threads=1, limits={"batch_rows_max": 20_000})
    with bench.peer(server) as peer:
        before = server.metric("needletail_rows_total")
        refused(peer, wide(8400), "INVALID_ARGUMENT", str(HARD_CAP), "8400 rows")
        expect(server.metric("needletail_rows_total"), before)
        expect(len(output(peer.call(wide(8400, outputs=("label",))), "label").strings), 8400)


@statement(25, "at most 64 MiB together (`limits.output_bytes_max`)", "waits unread behind them", "always runs")
def answers_of_a_connection(bench: Bench) -> None:
    expect(setting(bench, "output_bytes_max"), str(64 << 20))
    server = bench.server("room", threads=1, limits={"output_bytes_max": 10 << 20})
    with bench.peer(server, receive_bytes=65536) as peer:
        for _ in range(4):
            peer.send(wide(1000))
        until("the first answer", lambda: server.metric("needletail_rows_total", model="wide") >= 1000)
        with bench.peer(server) as other:
            for _ in range(50):
                expect(code(other.call(line(1))), "OK")
        expect(server.metric("needletail_rows_total", model="wide"), 1000)
        expect({code(peer.receive()) for _ in range(4)}, {"OK"})
        expect(code(peer.call(wide(2000))), "OK")


@statement(26, "Answers above 256 KiB", "256 MiB together", "gets `OVERLOADED` and is not computed")
def answers_of_all_connections(bench: Bench) -> None:
    expect(setting(bench, "output_bytes_total_max"), str(256 << 20))
    server = bench.server("total", threads=1, limits={"output_bytes_total_max": 10 << 20})
    with bench.peer(server, receive_bytes=65536) as holder, bench.peer(server) as peer:
        holder.send(wide(1000))
        until("the first answer", lambda: server.metric("needletail_rows_total", model="wide") >= 1000)
        response = peer.call(wide(1000))
        expect(code(response), "OVERLOADED")
        assert response.status.retry_after_us > 0 and "answers: expected room" in response.status.message
        expect(code(peer.call(wide(10))), "OK")
        expect(server.metric("needletail_rows_total", model="wide"), 1010)
        expect(code(holder.receive()), "OK")
        until("room", lambda: server.metric("needletail_output_waiting_bytes") == 0)
        expect(code(peer.call(wide(1000))), "OK")


@statement(27, "more than 1 MiB of smaller answers unread has no further call taken")
def unread_answers_stop_the_reading(bench: Bench) -> None:
    server = bench.server()
    before = server.metric("needletail_rows_total", model="wide")
    with bench.peer(server, receive_bytes=65536) as peer:
        calls, sent = 2000, 0
        data = b"".join(frame(wide(25, id=i + 1)) for i in range(calls))

        def push() -> None:
            peer.raw(data)

        writer = threading.Thread(target=push)
        writer.start()
        time.sleep(0.5)
        rows = -1.0
        while rows != (now := server.metric("needletail_rows_total", model="wide")):
            rows = now
            time.sleep(0.2)
        # 200 kB an answer: what the kernel takes for the peer, and a few MiB more.
        assert (rows - before) / 25 < calls / 4, f"{rows} rows"
        for _ in range(calls):
            sent += code(peer.receive()) in ("OK", "OVERLOADED")
        writer.join()
        expect(sent, calls)


@statement(28, "for 9 s (`limits.stall_seconds`), or less than 64 KiB/s", "never disconnected, however long")
def slow_readers(bench: Bench) -> None:
    expect(setting(bench, "stall_seconds"), "9")
    server = bench.short()
    reason = 'needletail_connections_evicted_total{reason="slow_reader"}'
    before = server.metrics()[reason]
    with bench.peer(server, receive_bytes=4096) as silent, bench.peer(server, receive_bytes=4096) as trickling:
        silent.send(wide(1000))
        trickling.send(wide(1000))
        began = time.monotonic()
        while server.metrics()[reason] < before + 2 and time.monotonic() < began + 10:
            with contextlib.suppress(ConnectionError):
                trickling.socket.recv(1024)
            time.sleep(0.05)
        expect(server.metrics()[reason], before + 2)
    # That a faster reader is not disconnected is part of [S23].


# ---------------------------------------------------------------- the end


@statement(29, "`Response` with id 0 and `go_away.last_id`", "gets `UNAVAILABLE`", "All others get their answers")
def go_away(bench: Bench) -> None:
    server = bench.work.server("--grace", "0", settings={"threads": 1})
    with bench.peer(server, receive_bytes=65536) as peer:
        peer.send(wide(2000, id=41))
        until("the call", lambda: server.metric("needletail_rows_total", model="wide") >= 2000)
        server.terminate()
        responses = [peer.receive(), peer.receive()]
        by_id = {response.id: response for response in responses}
        expect(by_id[0].go_away.last_id, 41)
        expect(code(by_id[41]), "OK")
        try:
            peer.send(health(42))
            expect(code(peer.receive()), "UNAVAILABLE")
        except (Closed, OSError):
            pass  # Sent too late: the server has closed by then.
    expect(server.stop(), 0)


@statement(30, "A second after GoAway the server closes connections that have theirs")
def the_server_closes_at_last(bench: Bench) -> None:
    server = bench.work.server("--grace", "0", settings={"threads": 1})
    with bench.peer(server) as peer:
        expect(code(peer.call(line(1))), "OK")
        server.terminate()
        assert peer.receive().HasField("go_away")
        refused(peer, line(1), "UNAVAILABLE")
        assert 0.5 < peer.end() < 3
    expect(server.stop(), 0)


# ---------------------------------------------------------------- authentication


@statement(31, "answers every call but `authenticate` and those of [S14] with `UNAUTHENTICATED`", "names the key")
def keys_are_required(bench: Bench) -> None:
    server, keys = bench.keyed()
    with bench.peer(server) as peer:
        for request in (
            line(1), health(), pb.Request(metrics=pb.MetricsRequest()), pb.Request(list_models=pb.ListModelsRequest()),
            pb.Request(describe_model=pb.DescribeModelRequest(model="line")), pb.Request(events=pb.EventsRequest()),
            pb.Request(rollout=pb.RolloutRequest(model="line")), pb.Request(server_info=pb.ServerInfoRequest()),
        ):  # fmt: skip
            refused(peer, request, "UNAUTHENTICATED")
        peer.send(authenticate(keys["all"]))
        peer.send(line(1))
        expect(peer.receive().authenticate.principal, "all")
        expect(code(peer.receive()), "OK")


@statement(32, "counts from the next call on", "A wrong key after a right one drops the right one")
def keys_may_change(bench: Bench) -> None:
    server, keys = bench.keyed()
    with bench.peer(server) as peer:
        expect(peer.call(authenticate(keys["line"])).authenticate.principal, "line")
        refused(peer, health(), "PERMISSION_DENIED")
        expect(peer.call(authenticate(keys["all"])).authenticate.principal, "all")
        expect(code(peer.call(health())), "OK")
        refused(peer, authenticate("wrong"), "UNAUTHENTICATED")
        refused(peer, health(), "UNAUTHENTICATED")


@statement(33, "after five wrong keys in a row", "sixth wrong key of one address on", "ends the connection")
def wrong_keys(bench: Bench) -> None:
    server, keys = bench.keyed()
    # Every address on the loopback interface is another host, which no other test has used.
    with bench.peer(server, source="127.0.0.33") as peer:
        for _ in range(4):
            refused(peer, authenticate("wrong"), "UNAUTHENTICATED")
        expect(code(peer.call(authenticate(keys["all"]))), "OK")
        refused(peer, authenticate("wrong"), "UNAUTHENTICATED")
        expect(code(peer.call(authenticate(keys["all"]))), "OK")
    with bench.peer(server, source="127.0.0.34") as peer:
        for _ in range(5):
            refused(peer, authenticate("wrong"), "UNAUTHENTICATED")
        peer.end()
    with bench.peer(server, source="127.0.0.34") as peer:
        began = time.monotonic()
        refused(peer, authenticate("wrong"), "UNAUTHENTICATED")
        assert 0.1 <= time.monotonic() - began < 2
        peer.end()
    with bench.peer(server, source="127.0.0.34") as peer:
        expect(code(peer.call(authenticate(keys["all"]))), "OK")


@statement(34, "frame above 16 KiB is answered `UNAUTHENTICATED` with id 0", "9 s (`limits.handshake_seconds`)")
def strangers_have_little(bench: Bench) -> None:
    expect(setting(bench, "handshake_seconds"), "9")
    server, _ = bench.keyed()
    with bench.peer(server) as peer:
        peer.raw(struct.pack(">I", (16 << 10) + 1))
        response = peer.receive()
        expect((response.id, code(response)), (0, "UNAUTHENTICATED"))
        peer.end()
    with bench.peer(server) as peer:
        assert 0.5 < peer.end() < 2


@statement(35, "gets `PERMISSION_DENIED`", "limits of the key gets `OVERLOADED`", "from the next call on")
def permissions(bench: Bench) -> None:
    server, keys = bench.keyed()
    calls = {
        "describe": pb.Request(describe_model=pb.DescribeModelRequest(model="line")), "health": health(),
        "metrics": pb.Request(metrics=pb.MetricsRequest()), "list": pb.Request(list_models=pb.ListModelsRequest()),
        "list ": pb.Request(events=pb.EventsRequest()), "list  ": pb.Request(rollout=pb.RolloutRequest(model="line")),
        "rollout": pb.Request(rollout=pb.RolloutRequest(model="line", action=pb.ROLLOUT_UNDO)),
    }  # fmt: skip
    with bench.peer(server) as peer, bench.peer(server) as revoked:
        peer.call(authenticate(keys["line"]))
        for permission, request in calls.items():
            # The message names the permission that the call needs, as the table of calls does.
            refused(peer, request, "PERMISSION_DENIED", f"may not {permission.strip()}:")
        refused(peer, predict("people", *people()), "PERMISSION_DENIED", "people")
        codes = [peer.call(line(1)) for _ in range(5)]
        assert any(code(response) == "OVERLOADED" and response.status.retry_after_us for response in codes)
        expect(revoked.call(authenticate(keys["revoked"])).authenticate.principal, "revoked")
        path = bench.work.directory / "keys.yaml"
        text = path.read_text()
        found = re.search(r'name: "?revoked', text)
        assert found, text
        start = found.start()
        entry = text[start:].rstrip("\n")
        entry = (
            entry.replace("state: active", "state: revoked") if "state:" in entry else entry + "\n    state: revoked"
        )
        path.write_text(text[:start] + entry + "\n")
        until("the revocation", lambda: code(revoked.call(health())) == "UNAUTHENTICATED", seconds=5)


@statement(36, "answers `authenticate` with `UNIMPLEMENTED`")
def no_keys_required(bench: Bench) -> None:
    with bench.peer() as peer:
        refused(peer, authenticate("any"), "UNIMPLEMENTED")


@statement(37, "A client certificate may replace a key")
def certificates(bench: Bench) -> None:
    pem, key = certificate(bench)
    keys = bench.work.directory / "certificates.yaml"
    keys.write_text("certificates:\n  - name: client\n    subject: client.example\n    calls: [health]\n")
    server = bench.server(
        "mutual", "--tls-certificate", pem, "--tls-key", key, "--tls-client-ca", pem, "--api-keys", str(keys)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pem, key)
    with bench.peer(server, tls=context) as peer:
        expect(code(peer.call(health())), "OK")
        refused(peer, line(1), "PERMISSION_DENIED")


# ---------------------------------------------------------------- tensors


@statement(38, "row-major and little-endian, without alignment", "1 to 4,096 (`limits.batch_rows_max`)")
def rows(bench: Bench) -> None:
    expect(setting(bench, "batch_rows_max"), "4096")
    with bench.peer() as peer:
        assert [round(x) for x in prediction(peer.call(line(1, 2, 3)))] == [0, 2, 4]
        expect(len(prediction(peer.call(line(*range(4096))))), 4096)
        refused(peer, line(*range(4097)), "INVALID_ARGUMENT", "4096", "4097")
        none = pb.Tensor(name="features", type=pb.FLOAT32, shape=[0, 2])
        refused(peer, predict("line", none), "INVALID_ARGUMENT", "at least 1 row")


@statement(39, "one tensor named `features`", "one tensor per feature, named after it", "in any order")
def inputs(bench: Bench) -> None:
    with bench.peer() as peer:
        described = peer.call(pb.Request(describe_model=pb.DescribeModelRequest(model="line"))).describe_model
        expect([spec.name for spec in described.inputs], ["a", "b"])
        dense = prediction(peer.call(predict("line", floats([[3, 1]]))))
        a, b = numbers("a", [3]), numbers("b", [1])
        expect(prediction(peer.call(predict("line", b, a))), dense)
        a.shape.append(1)
        expect(prediction(peer.call(predict("line", a, b))), dense)
        refused(peer, predict("line", floats([[3, 1]]), a), "INVALID_ARGUMENT")


@statement(40, "Every feature must be there, also one that may be missing", "NaN or empty")
def every_feature(bench: Bench) -> None:
    with bench.peer() as peer:
        refused(peer, predict("people", numbers("age", [30]), texts([["red"]], "colour")), "INVALID_ARGUMENT", "income")
        gap = numbers("income", [float("nan")])
        expect(code(peer.call(predict("people", *people(income=gap)))), "OK")
        expect(code(peer.call(predict("people", texts([["30", "", "red"]])))), "OK")


@statement(41, "exactly as many bytes and elements as the shape says")
def sizes(bench: Bench) -> None:
    with bench.peer() as peer:
        for change in (b"\0" * 8, b"", b"\0" * 9):
            tensor = floats([[1, 2], [3, 4]])
            tensor.data = change
            refused(peer, predict("line", tensor), "INVALID_ARGUMENT", "16 bytes")
        tensor = texts([["1", "2"]])
        tensor.strings.append(b"3")
        refused(peer, predict("line", tensor), "INVALID_ARGUMENT", "2 strings")


@statement(42, "given by the index of its category", "In columns it must be `STRING`")
def categories(bench: Bench) -> None:
    with bench.peer() as peer:
        described = peer.call(pb.Request(describe_model=pb.DescribeModelRequest(model="people"))).describe_model
        known = {spec.name: list(spec.categories) for spec in described.inputs}["colour"]
        for index, name in enumerate(known):
            by_index = peer.call(predict("people", floats([[30, 1100, index]])))
            by_name = peer.call(predict("people", *people((name,))))
            expect(output(by_index, "probabilities").data, output(by_name, "probabilities").data)
        refused(peer, predict("people", floats([[30, 1100, len(known)]])), "INVALID_ARGUMENT", "colour")
        column = numbers("colour", [0])
        refused(peer, predict("people", *people(colour=column)), "INVALID_ARGUMENT", "STRING")


@statement(43, "every cell is text: a number, a category, or empty for missing")
def text_cells(bench: Bench) -> None:
    with bench.peer() as peer:
        as_text = peer.call(predict("people", texts([["30", "1100", "red"], ["30", "", "blue"]])))
        expect(len(output(as_text, "label").strings), 2)
        as_columns = peer.call(predict("people", *people(("red",))))
        expect(output(as_text, "probabilities").data[:8], output(as_columns, "probabilities").data)


@statement(44, "gets `INVALID_ARGUMENT`, which names feature and row")
def wrong_cells(bench: Bench) -> None:
    with bench.peer() as peer:
        for row, feature in (
            (["30", "1100", "mauve"], "colour"), (["old", "1100", "red"], "age"), (["inf", "1100", "red"], "age"),
        ):  # fmt: skip
            table = texts([["30", "1100", "red"], row])
            refused(peer, predict("people", table), "INVALID_ARGUMENT", f'"{feature}"', "row 1")
        broken = texts([["30", "1100", "red"], ["30", "1100", "red"]])
        broken.strings[5] = b"\xff\xfe"
        refused(peer, predict("people", broken), "INVALID_ARGUMENT", '"colour"', "row 1")
        infinite = numbers("age", [float("inf")])
        refused(peer, predict("people", *people(age=infinite)), "INVALID_ARGUMENT", '"age"', "row 0")


@statement(45, "beyond 24 bits loses its last digits without an error")
def precision(bench: Bench) -> None:
    with bench.peer() as peer:

        def ask(value: int) -> list[float]:
            a, b = numbers("a", [value], pb.INT64, "q"), numbers("b", [1], pb.INT64, "q")
            return prediction(peer.call(predict("line", a, b)))

        expect(ask((1 << 24) + 1), ask(1 << 24))
        assert ask((1 << 24) - 64) != ask(1 << 24)


@statement(46, "`FLOAT32` of shape `[rows, columns]`, or `[rows]` for one column", "a regression `prediction`")
def outputs(bench: Bench) -> None:
    with bench.peer() as peer:
        answer = peer.call(predict("people", *people(("red", "blue", "green"))))
        shown = [(o.name, pb.DataType.Name(o.type), list(o.shape)) for o in answer.predict.outputs]
        expect(shown, [("probabilities", "FLOAT32", [3, 2]), ("class", "INT64", [3]), ("label", "STRING", [3])])
        answer = peer.call(line(1, 2))
        shown = [(o.name, pb.DataType.Name(o.type), list(o.shape)) for o in answer.predict.outputs]
        expect(shown, [("prediction", "FLOAT32", [2])])


@statement(59, "shape `[rows, places]`", "shape `[rows]`", "Unicode scalars", "only where they are asked for by name")
def places(bench: Bench) -> None:
    """The places stand in the fixtures: those of the pipeline of transformers, and of plain loops over its logits."""

    def column(name: str, texts: list[str]) -> pb.Tensor:
        return pb.Tensor(name=name, type=pb.STRING, shape=[len(texts)], strings=[text.encode() for text in texts])

    def table(folder: str, name: str) -> list[dict[str, str]]:
        with (FIXTURES / folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def elements(response: pb.Response, name: str) -> list[Any]:
        tensor = output(response, name)
        if tensor.type == pb.STRING:
            return [text.decode() for text in tensor.strings]
        letter, size = ("f", 4) if tensor.type == pb.FLOAT32 else ("q", 8)
        return list(struct.unpack(f"<{len(tensor.data) // size}{letter}", tensor.data))

    def close(found: list[float], wanted: list[float]) -> None:
        expect([abs(x - y) <= 1e-4 for x, y in zip(found, wanted, strict=True)], [True] * len(wanted))

    def characters(text: str, byte: float) -> int:
        return len(text.encode()[: int(byte)].decode())

    with bench.peer() as peer:
        texts, rows = [row["text"] for row in table("entities", "texts")], []
        for text, row in zip(texts, table("entities", "answers"), strict=True):
            numbers = [float(row[f"entities_{i}"]) for i in range(4 * 64)]
            found = [numbers[i : i + 4] for i in range(0, len(numbers), 4) if numbers[i] >= 0]
            places = [(characters(text, start), characters(text, end)) for _, start, end, _ in found]
            kinds = [["PER", "LOC", "MISC"][int(one[0])] for one in found]
            rows.append([(k, text[s:e], s, e, one[3]) for k, (s, e), one in zip(kinds, places, found, strict=True)])
        width = max(len(row) for row in rows)
        filled = [one for row in rows for one in row + [("", "", 0, 0, 0.0)] * (width - len(row))]
        answer = peer.call(predict("names", column("text", texts)))
        shown = [(o.name, pb.DataType.Name(o.type), list(o.shape)) for o in answer.predict.outputs]
        types = {"label": "STRING", "text": "STRING", "start": "INT64", "end": "INT64", "score": "FLOAT32"}
        expect(shown, [(f"entity_{part}", kind, [len(texts), width]) for part, kind in types.items()])
        for index, part in enumerate(["label", "text", "start", "end"]):
            expect(elements(answer, f"entity_{part}"), [one[index] for one in filled])
        close(elements(answer, "entity_score"), [one[4] for one in filled])
        answer = peer.call(predict("names", column("text", texts), outputs=("entities",)))
        expect([(o.name, list(o.shape)) for o in answer.predict.outputs], [("entities", [len(texts), 4 * 64])])

        asked, wanted = table("answer", "texts"), table("answer", "answers")
        columns = [column(name, [row[name] for row in asked]) for name in ("context", "question")]
        answer = peer.call(predict("reading", *columns))
        expect(
            [o.name for o in answer.predict.outputs], [f"answer_{part}" for part in ("text", "start", "end", "score")]
        )
        starts, ends = (
            [characters(row["context"], float(one[f"answer_{i}"])) for row, one in zip(asked, wanted, strict=True)]
            for i in (0, 1)
        )
        expect([list(o.shape) for o in answer.predict.outputs], [[len(asked)]] * 4)
        expect([elements(answer, f"answer_{part}") for part in ("start", "end")], [starts, ends])
        expect(
            elements(answer, "answer_text"),
            [row["context"][s:e] for row, s, e in zip(asked, starts, ends, strict=True)],
        )
        close(elements(answer, "answer_score"), [float(one["answer_2"]) for one in wanted])


@statement(47, "counts as `BULK`")
def priorities(bench: Bench) -> None:
    with bench.peer() as peer:
        request = line(1)
        request.predict.priority = 77  # type: ignore[assignment]
        expect(code(peer.call(request)), "OK")


# ---------------------------------------------------------------- status codes


@statement(48, "`status` absent, or code 0, is success", "a result is there only then")
def statuses(bench: Bench) -> None:
    with bench.peer() as peer:
        good, bad = peer.call(line(1)), peer.call(predict("line"))
        assert not good.HasField("status") and good.WhichOneof("result") == "predict"
        assert bad.status.code and bad.WhichOneof("result") is None
        assert "expected" in bad.status.message and "found" in bad.status.message


@statement(49, "always carries `retry_after_us`; no other code does")
def pauses(bench: Bench) -> None:
    with bench.peer() as peer:
        for request in (predict("line"), predict("none", floats([[1]])), pb.Request(), authenticate("x")):
            response = peer.call(request)
            assert response.status.code and not response.status.retry_after_us, response
        for id in range(1, 61):
            peer.raw(frame(pb.Request(id=id, list_models=pb.ListModelsRequest())))
        for _ in range(60):
            response = peer.receive()
            assert (code(response) == "OVERLOADED") == (response.status.retry_after_us > 0), response


@statement(50, "does not hold is `NOT_FOUND`", "of which no version is live", "every call that names a model")
def nothing_live(bench: Bench) -> None:
    store = bench.work.store("broken")
    (store / "rejected").mkdir(exist_ok=True)
    (store / "rejected" / "1.ntb").write_bytes(b"no bundle" * 100)
    server = bench.work.server(store=store, wait=False)

    def requests(model: str) -> list[pb.Request]:
        return [
            predict(model, floats([[1]])), pb.Request(describe_model=pb.DescribeModelRequest(model=model)),
            pb.Request(rollout=pb.RolloutRequest(model=model, action=pb.ROLLOUT_UNDO)),
        ]  # fmt: skip

    with bench.peer(server) as peer:
        listed = pb.Request(list_models=pb.ListModelsRequest())
        until("the rejection", lambda: any(
            version.state == pb.REJECTED for model in peer.call(listed).list_models.models for version in model.versions
        ))  # fmt: skip
        for request in requests("rejected")[:2]:
            expect(code(peer.call(request)), "UNAVAILABLE")
        for request in requests("absent"):
            expect(code(peer.call(request)), "NOT_FOUND")
    server.kill()


@statement(51, "An answer with id 0 and a status concerns the connection")
def answers_without_id(bench: Bench) -> None:
    with bench.peer() as peer:
        peer.raw(frame(b"\xff\xff\xff"))
        response = peer.receive()
        expect((response.id, code(response)), (0, "INVALID_ARGUMENT"))


# ---------------------------------------------------------------- limits and malformed input


@statement(52, "which names limit and count")
def limits(bench: Bench) -> None:
    with bench.peer() as peer:
        x = numbers("x", [1])
        refused(peer, predict("line", *[x] * 16_385), "INVALID_ARGUMENT", "16384", "16385")
        refused(peer, line(1, outputs=("prediction",) * 65), "INVALID_ARGUMENT", "64", "65")
        refused(peer, line(1, routing_key="k" * 257), "INVALID_ARGUMENT", "256", "257")
        deep = pb.Tensor(name="features", type=pb.FLOAT32, shape=[1] * 9, data=bytes(4))
        refused(peer, predict("line", deep), "INVALID_ARGUMENT", "8", "9")


@statement(53, "80 bytes a tensor, 8 a dimension and 8 a text", "text of any length fits")
def text_of_any_length(bench: Bench) -> None:
    with bench.peer() as peer:
        for cell in ("", "7", "12", "Y"):
            response = peer.call(predict("line", texts([[cell] * 64] * 4096)))
            # The shape is wrong for the model; that it is said proves that the text was read.
            assert "expected 2 columns, found 64" in response.status.message, response.status.message[:200]
        expect(code(peer.call(predict("line", texts([["1", "2"]] * 4096)))), "OK")
        tiny = pb.Tensor(name="a")
        refused(
            peer, predict("line", *[tiny] * 10_000), "INVALID_ARGUMENT", "8 bytes a text or dimension", "80 a tensor"
        )


@statement(54, "under the request's id if that could be read, else under id 0", "**the connection goes on**")
def malformed(bench: Bench) -> None:
    with bench.peer() as peer:
        peer.raw(frame(b"\x08\x05\x1a\x7f"))
        response = peer.receive()
        expect((response.id, code(response)), (5, "INVALID_ARGUMENT"))
        peer.raw(frame(b"\x1a\x7f"))
        expect(peer.receive().id, 0)
        expect(code(peer.call(health())), "OK")


@statement(55, "Unknown fields and fields with a foreign wire type are skipped", "Groups", "are refused")
def unknown_fields(bench: Bench) -> None:
    with bench.peer() as peer:
        base = line(1, id=3).SerializeToString()
        for extra in (b"\xa0\x06\x07", b"\xa2\x06\x03abc", b"\x15\0\0\0\0"):
            peer.raw(frame(base + extra))
            expect(code(peer.receive()), "OK")
        peer.raw(frame(base + b"\xa3\x06\xa4\x06"))
        expect(code(peer.receive()), "INVALID_ARGUMENT")


@statement(56, "where one row is at fault, counted from 0", "a limit of `ServerLimits` that the request exceeds")
def details(bench: Bench) -> None:
    server = bench.server("detail", limits={"batch_rows_max": 5})
    with bench.peer(server) as peer:

        def detail(request: pb.Request) -> pb.ErrorDetail:
            response = peer.call(request)
            assert response.status.HasField("detail"), response
            return response.status.detail

        unnamed = detail(line(1, 2, float("inf")))
        expect((unnamed.field, unnamed.HasField("row"), unnamed.row), ("a", True, 2))
        expect(detail(line(float("inf"))).HasField("row"), True)
        expect(detail(predict("lime", floats([[1, 1]]))).field, "model")
        expect(detail(line(1, version=77)).field, "version")
        expect(detail(line(1, label="none")).field, "label")
        expect(detail(line(1, outputs=("none",))).field, "outputs")
        expect(detail(predict("line")).field, "inputs")
        expect(detail(predict("line", numbers("none", [1]))).field, "none")
        shape = detail(predict("line", floats([[1, 2, 3]])))
        expect((shape.field, shape.HasField("row"), shape.HasField("limit")), ("features", False, False))
        limit = detail(line(*range(6))).limit
        expect((limit.name, limit.maximum, limit.found), ("rows_max", 5, 6))
        limit = detail(line(1, routing_key="k" * 257)).limit
        expect((limit.name, limit.maximum, limit.found), ("routing_key_bytes_max", 256, 257))
        peer.raw(struct.pack(">I", (16 << 20) + 1))
        limit = peer.receive().status.detail.limit
        expect((limit.name, limit.maximum, limit.found), ("request_bytes_max", 16 << 20, (16 << 20) + 1))


@statement(57, "names the limits in force", "whatever moved them", "asks for keys", "`UNIMPLEMENTED` ([S14]) means")
def server_information(bench: Bench) -> None:
    request = pb.Request(server_info=pb.ServerInfoRequest())
    with bench.peer(bench.server("moved", limits={"batch_rows_max": 7, "frame_bytes_max": 1 << 20})) as peer:
        info = peer.call(request).server_info
        expect((info.name, bool(info.version), bool(info.isa)), ("needletail", True, True))
        expect("authentication" in info.features or "open_inference" in info.features, False)
        assert {"bulk", "error_detail", "events", "rollout", "text"} <= set(info.features), info
        limits = info.limits
        expect((limits.rows_max, limits.request_bytes_max, limits.answer_bytes_max), (7, 1 << 20, 64 << 20))
        expect((limits.calls_in_flight_max, limits.other_calls_in_flight_max), (4096, 16))
        expect((limits.tensors_max, limits.dimensions_max, limits.output_names_max), (16_384, 8, 64))
        expect((limits.routing_key_bytes_max, limits.text_bytes_max, limits.idle_ms), (256, 65_536, 300_000))
        expect(limits.output_bytes_max, 64 << 20)
    server, keys = bench.keyed()
    with bench.peer(server) as peer:
        refused(peer, request, "UNAUTHENTICATED")
        # Any key may ask, here one for predictions alone, whose rate others use as well.
        peer.call(authenticate(keys["line"]))
        answers: list[pb.Response] = []
        until("an answer", lambda: code(answers.append(peer.call(request)) or answers[-1]) == "OK", seconds=5)
        assert "authentication" in answers[-1].server_info.features


@statement(60, "as W3C Trace Context writes it", "the feature `tracing`", "counts as none", "no text makes a call fail")
def traces(bench: Bench) -> None:
    sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    server = bench.server("traced", tracing={"endpoint": "http://127.0.0.1:9"})
    for server_asked in (bench.server(), server):
        with bench.peer(server_asked) as peer:
            for text in (sampled, sampled[:-1], "ä" * 5000, "\0", ""):
                request = line(2.0)
                request.traceparent = text
                expect(len(prediction(peer.call(request))), 1)
            features = peer.call(pb.Request(server_info=pb.ServerInfoRequest())).server_info.features
            expect("tracing" in features, server_asked is server)
    expect(server.metric("needletail_trace_contexts_invalid_total"), 3.0)


@statement(58, "by its `routing_key` where it has no key", "to report one again is safe", "no predictions of the model")
def feedback(bench: Bench) -> None:
    def report(*outcomes: tuple[str, int, float], model: str = "line") -> pb.Request:
        told = [pb.Outcome(key=key, row=row, value=value) for key, row, value in outcomes]
        return pb.Request(feedback=pb.FeedbackRequest(model=model, outcomes=told))

    rules = bench.work.directory / "feedback.yaml"
    rules.write_text("models: {line: {}}\n")
    with bench.peer(bench.server("remembering", feedback={"rules": str(rules)})) as peer:
        expect(code(peer.call(line(1, 2, key="order", routing_key="user"))), "OK")
        expect(code(peer.call(line(1, routing_key="other"))), "OK")
        outcomes = report(("order", 0, 1.0), ("order", 1, 1.0), ("user", 0, 1.0), ("other", 0, 1.0), ("order", 2, 1.0))
        first = peer.call(outcomes).feedback
        expect((first.joined, first.unknown, first.invalid), (3, 1, 1))
        expect([(problem.index, problem.result) for problem in first.problems], [(2, "unknown"), (4, "row")])
        again = peer.call(outcomes).feedback
        expect((again.joined, again.duplicate, again.unknown, again.invalid), (0, 3, 1, 1))
        refused(peer, report(("order", 0, 1.0), model="lime"), "NOT_FOUND")
        refused(peer, report(), "INVALID_ARGUMENT")
        expect("feedback" in peer.call(pb.Request(server_info=pb.ServerInfoRequest())).server_info.features, True)
    with bench.peer() as peer:
        refused(peer, report(("order", 0, 1.0)), "UNIMPLEMENTED")


# ---------------------------------------------------------------- main


def main(arguments: list[str]) -> int:
    if check():
        return 1
    if arguments == ["--check"]:
        print(f"statements: {len(statements())} with {len(TESTS)} tests")
        return 0
    wanted = {int(argument.lstrip("S")) for argument in arguments}
    failed = []
    with Workspace("statements") as work:
        bench = Bench(work)
        for number, _, test in TESTS:
            if wanted and number not in wanted:
                continue
            began = time.monotonic()
            try:
                test(bench)
                verdict = "holds"
            except Exception:
                failed.append(number)
                verdict = "DOES NOT HOLD"
                traceback.print_exc()
            name = test.__name__.replace("_", " ")
            print(f"[S{number}] {name:48} {verdict} {time.monotonic() - began:6.2f} s", flush=True)
    if failed:
        print(f"statements: FAILED: {', '.join(f'S{number}' for number in failed)}", file=sys.stderr)
    return 1 if failed else 0


sys.exit(main(sys.argv[1:]))
