"""A server for tests: speaks frames, and does on each connection what the test says."""

from __future__ import annotations

import contextlib
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Callable

import numpy as np
from needletail.v1 import inference_pb2 as pb

#: The inputs of a model, for whom asks to have it described.
Describe = Callable[[pb.DescribeModelRequest], Iterable[pb.TensorSpec]]


class Peer:
    """The server's end of one connection."""

    def __init__(self, accepted: socket.socket, number: int, describe: Describe | None) -> None:
        self.socket = accepted
        self._describe = describe
        #: 1 for the first connection that the server accepted.
        self.number = number

    def read(self) -> pb.Request | None:
        """The next request; None at the end of the connection.

        The question what a model takes, which goes before a prediction of rows, is answered here if the server
        describes models, and no script sees it.
        """
        while True:
            head = self._exactly(4)
            if head is None:
                return None
            body = self._exactly(struct.unpack(">I", head)[0])
            if body is None:
                return None
            request = pb.Request.FromString(body)
            if self._describe is None or request.WhichOneof("call") != "describe_model":
                return request
            response = pb.Response(id=request.id)
            answer = response.describe_model
            answer.model, answer.version = request.describe_model.model, request.describe_model.version or 1
            answer.inputs.extend(self._describe(request.describe_model))
            self.send(response)

    def expect(self) -> pb.Request:
        """The next request; the test fails without."""
        request = self.read()
        assert request is not None, "expected a request, found the end of the connection"
        return request

    def send(self, response: pb.Response) -> None:
        body = response.SerializeToString()
        self.send_bytes(struct.pack(">I", len(body)) + body)

    def send_bytes(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, request: pb.Request, version: int = 1) -> None:
        """Answers a predict call with the sum of every row of `features`, anything else trivially."""
        self.send(answer_to(request, version))

    def refuse(self, request: pb.Request, code: int, message: str = "no", retry_after_us: int = 0) -> None:
        response = pb.Response(id=request.id)
        response.status.code = code  # type: ignore[assignment]
        response.status.message = message
        response.status.retry_after_us = retry_after_us
        self.send(response)

    def go_away(self, last_id: int) -> None:
        self.send(pb.Response(go_away=pb.GoAway(last_id=last_id)))

    def until_closed(self) -> None:
        """Waits for the client to close, whatever it still sends."""
        while self.socket.recv(1 << 16):
            pass

    def _exactly(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            received = self.socket.recv(count - len(data))
            if not received:
                return None
            data += received
        return data


Script = Callable[[Peer], None]


def answer_to(request: pb.Request, version: int = 1) -> pb.Response:
    response = pb.Response(id=request.id)
    call = request.WhichOneof("call")
    if call == "predict":
        tensor = request.predict.inputs[0]
        rows = np.frombuffer(tensor.data, dtype="<f8").reshape(tuple(tensor.shape))
        sums = rows.sum(axis=1).astype("<f4")
        answer = response.predict
        answer.model = request.predict.model
        answer.version = version
        answer.outputs.add(name="prediction", type=pb.FLOAT32, shape=[len(sums)], data=sums.tobytes())
        answer.timing.batch_rows = len(sums)
    elif call == "health":
        response.health.live = True
    elif call == "metrics":
        response.metrics.text = "up 1\n"
    else:
        response.status.code = pb.UNIMPLEMENTED
    return response


def answer_everything(peer: Peer) -> None:
    """The script of a server that works."""
    while True:
        request = peer.read()
        if request is None:
            return
        peer.answer(request)


class FakeServer:
    """Listens on loopback, or on a Unix socket, and runs ``script`` for every connection in a thread.

    An exception in a script fails the test at the end of the ``with`` block; a connection that the
    client broke is not one.
    """

    def __init__(
        self, script: Script = answer_everything, *, unix: bool = False, describe: Describe | None = lambda request: ()
    ) -> None:
        self._script = script
        self._describe = describe
        self._directory = tempfile.TemporaryDirectory() if unix else None
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        if self._directory is not None:
            path = str(Path(self._directory.name) / "fake.sock")
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen()
            self.address = f"unix:{path}"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many were accepted so far."""
        return len(self._peers)

    def __enter__(self) -> FakeServer:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop_listening()
        for peer in self._peers:
            _shut(peer.socket)
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive(), "a script of the fake server hangs"
        for peer in self._peers:
            peer.socket.close()
        if self._directory is not None:
            self._directory.cleanup()
        if error is None and self._errors:
            raise self._errors[0]

    def stop_listening(self) -> None:
        """Refuses further connections."""
        _shut(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            peer = Peer(accepted, len(self._peers) + 1, self._describe)
            self._peers.append(peer)
            self._spawn(lambda peer=peer: self._serve(peer))  # type: ignore[misc]

    def _serve(self, peer: Peer) -> None:
        try:
            self._script(peer)
        except OSError:
            pass
        except BaseException as error:
            self._errors.append(error)
        finally:
            _shut(peer.socket)

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


def unused_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits until something that another thread does has happened."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)
