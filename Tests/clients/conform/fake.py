"""A server that does on each connection what a case's script says, well or badly."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf import json_format
from needletail.v1 import inference_pb2 as pb

GOLDEN = Path(__file__).resolve().parents[3] / "proto" / "golden"
INDEX: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in json.loads((GOLDEN / "index.json").read_text())}


def golden_request(name: str) -> pb.Request:
    return json_format.ParseDict(INDEX[name]["message"], pb.Request())


def golden_response(name: str) -> pb.Response:
    return json_format.ParseDict(INDEX[name]["message"], pb.Response())


class _Ended(Exception):
    """The client has closed."""


class Peer:
    """One connection of the client's, and the script that it meets. The actions:

    "read", {"read": {…}}      reads a request; "golden" names the vector that it must be, "timeout_us" its bounds,
                               "traceparent" and "key" texts that it must carry, byte for byte, or not at all where they
                               are empty, "outcomes" how many it reports
    {"answer": N, "value": X}  answers the N-th request with the prediction X, or, with "text_bytes", a long label
    {"golden": NAME}           sends a golden response under the id of the request "to", the last one by default
    {"response": {…}}          the same with a response in protobuf's JSON form
    {"status": CODE, …}        the same with a status, "message" and "retry_after_us"
    {"go_away": N}             GoAway; the N-th request was the last, or none for null
    {"bytes": HEX}             sends bytes
    {"mutated": [NAME, …]}     sends the golden response to the last request's call with some bytes changed at random,
                               others for each connection and the same in each run
    "serve"                    answers all that comes with the prediction 1
    "wait", "close", "reset"   until the client closes; closes; closes with a reset

    What is sent is cut after "bytes_max" bytes, or sent byte by byte with "trickle".
    """

    def __init__(self, server: FakeServer, accepted: socket.socket, number: int) -> None:
        self._server = server
        self._number = number
        self._socket = accepted
        self._requests: list[pb.Request] = []
        # Bytes of the request that was read last.
        self._bytes = b""

    def run(self, script: list[Any]) -> None:
        for action in script:
            self._act({action: {}} if isinstance(action, str) else action)

    def _act(self, action: dict[str, Any]) -> None:
        if "read" in action:
            self._check(self._read(), action["read"])
        elif "answer" in action:
            response = prediction(self._requests[action["answer"]], action.get("value", 1))
            if "text_bytes" in action:
                text = b"x" * action["text_bytes"]
                response.predict.outputs.add(name="label", type=pb.STRING, shape=[1], strings=[text])
            self._send(response, action)
        elif "golden" in action:
            self._answer(golden_response(action["golden"]), action)
        elif "response" in action:
            self._answer(json_format.ParseDict(action["response"], pb.Response()), action)
        elif "status" in action:
            status = {key: action[key] for key in ("message", "retry_after_us") if key in action}
            self._answer(pb.Response(status=pb.Status(code=action["status"], **status)), action)
        elif "go_away" in action:
            last = action["go_away"]
            last_id = 0 if last is None else self._requests[last].id
            self._send(pb.Response(go_away=pb.GoAway(last_id=last_id)), action)
        elif "mutated" in action:
            self._send_mutated(action["mutated"])
        elif "bytes" in action:
            self._socket.sendall(bytes.fromhex(action["bytes"]))
        elif "serve" in action:
            while True:
                self._send(prediction(self._read(), 1), {})
        elif "wait" in action:
            while self._socket.recv(1 << 16):
                pass
        elif "reset" in action:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.close()
        elif "close" not in action:
            raise ValueError(f"no such action: {action}")

    def _send_mutated(self, names: list[str]) -> None:
        """Sends what a broken or hostile server might: the length is right, or almost."""
        request = self._requests[-1]
        found = next(r for r in map(golden_response, names) if r.WhichOneof("result") == request.WhichOneof("call"))
        found.id = request.id
        body = bytearray(found.SerializeToString())
        random = Random(self._number)
        for _ in range(random.randint(1, 4)):
            place = random.randrange(len(body))
            kind = random.randrange(4)
            if kind == 0:
                body[place] = random.randrange(256)
            elif kind == 1:
                body[place] ^= 1 << random.randrange(8)
            elif kind == 2:
                del body[place : place + random.randint(1, 8)]
            else:
                body[place:place] = random.randbytes(random.randint(1, 8))
        self._socket.sendall(struct.pack(">I", len(body) + (random.randrange(20) == 0)) + body)

    def _answer(self, response: pb.Response, action: dict[str, Any]) -> None:
        """Sends a response under a request's id, where the response is to have one."""
        if action.get("to", -1) is not None:
            response.id = self._requests[action.get("to", -1)].id
        self._send(response, action)

    def _send(self, response: pb.Response, action: dict[str, Any]) -> None:
        body = response.SerializeToString()
        frame = struct.pack(">I", len(body)) + body
        frame = frame[: action.get("bytes_max", len(frame))]
        if action.get("trickle"):
            for place in range(len(frame)):
                self._socket.sendall(frame[place : place + 1])
                time.sleep(0.0005)  # Each byte in a segment of its own.
        else:
            self._socket.sendall(frame)

    def _read(self) -> pb.Request:
        (length,) = struct.unpack(">I", self._exactly(4))
        self._bytes = self._exactly(length)
        request = pb.Request.FromString(self._bytes)
        self._requests.append(request)
        with self._server.changed:
            self._server.requests += 1
            self._server.changed.notify_all()
        return request

    def _check(self, request: pb.Request, expected: dict[str, Any]) -> None:
        if "golden" in expected:
            wanted, found = golden_request(expected["golden"]), pb.Request.FromString(request.SerializeToString())
            for message in (wanted, found):
                message.id = message.timeout_us = 0
                if message.HasField("predict"):
                    _normalise(message.predict)
            if wanted.HasField("feedback") and _field(12, wanted.feedback.SerializeToString()) not in self._bytes:
                self._server.problems.append(f"request: expected golden {expected['golden']} byte for byte")
            if wanted != found:
                self._server.problems.append(f"request: expected golden {expected['golden']}, found {found}")
        low, high = expected.get("timeout_us", (0, 1 << 32))
        if not low <= request.timeout_us <= high:
            self._server.problems.append(f"timeout_us: expected {low} to {high}, found {request.timeout_us}")
        for number, name, text in ((13, "traceparent", request.traceparent), (8, "key", request.predict.key)):
            field = _field(number, expected[name].encode()) if expected.get(name) else b""
            if expected.get(name, text) != text or field not in self._bytes:
                self._server.problems.append(f"{name}: expected {expected[name]!r}, found {text!r}")
        if (found := len(request.feedback.outcomes)) != expected.get("outcomes", found):
            self._server.problems.append(f"outcomes: expected {expected['outcomes']}, found {found}")
        key = request.authenticate.api_key
        if expected.get("api_key", key) != key:
            self._server.problems.append(f"api_key: expected {expected['api_key']}, found {key}")

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise _Ended
            data += piece
        return data


def _field(number: int, content: bytes) -> bytes:
    """A field of text or of a message, as it stands on the wire."""
    size, length = len(content), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def _normalise(predict: pb.PredictRequest) -> None:
    """Makes one request of those that mean the same: columns in any order, of shape [rows] or [rows, 1]."""
    predict.inputs.sort(key=lambda tensor: tensor.name)
    for tensor in predict.inputs:
        if tensor.name != "features" and len(tensor.shape) == 2:
            del tensor.shape[1:]


def prediction(request: pb.Request, value: float) -> pb.Response:
    response = pb.Response(id=request.id)
    response.predict.model, response.predict.version = request.predict.model, 1
    response.predict.outputs.add(name="prediction", type=pb.FLOAT32, shape=[1], data=struct.pack("<f", value))
    return response


class FakeServer:
    """Listens on loopback; connection n meets the n-th script, and those after the last script the last one."""

    def __init__(self, scripts: list[list[Any]]) -> None:
        self._scripts = scripts
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.changed = threading.Condition()
        self.requests = 0
        self.connections = 0
        self.ended = 0
        self.problems: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for(self, what: str, count: int) -> bool:
        """Waits until so many `requests`, `connections` or `ended` connections were there."""
        with self.changed:
            return self.changed.wait_for(lambda: getattr(self, what) >= count, timeout=10)

    def close(self) -> None:
        for opened in [self._listener, *self._sockets]:
            _shut(opened)
            opened.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(accepted)
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            with self.changed:
                self.connections += 1
                self.changed.notify_all()
            threading.Thread(target=self._serve, args=(accepted, script, self.connections), daemon=True).start()

    def _serve(self, accepted: socket.socket, script: list[Any], number: int) -> None:
        try:
            Peer(self, accepted, number).run(script)
        except (OSError, _Ended):
            pass
        except Exception as error:
            self.problems.append(f"{type(error).__name__}: {error}")
        _shut(accepted)
        with self.changed:
            self.ended += 1
            self.changed.notify_all()


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
