"""Stands between the programs and moto's S3 server: checks signatures with botocore, and makes faults on request."""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import re
import ssl
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY, SECRET, REGION = "AKIDNEEDLETAIL", "a/secret+of=characters", "eu-west-1"
SKEW_SECONDS_MAX = 900


class Front:
    """A server of HTTP on a port that it keeps through outages.

    `fault` names what befalls the next `times` requests whose method is `method`: `drop` (no answer), `torn` (half of
    one), `longer` and `shorter` (a body of another size), `flip` (one bit changed), `deny`, `throttle`, `fail`,
    `late` (2 s), `silent` (nothing until the outage is over).
    """

    def __init__(self, upstream: tuple[str, int], certificate: Path | None = None) -> None:
        self.upstream, self.certificate = upstream, certificate
        self.fault, self.times, self.method = "", 0, "GET"
        self.clock_offset = 0
        self.page_objects = 0
        self.complaints: list[str] = []
        self.seen: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.port = 0
        self.server: ThreadingHTTPServer | None = None
        self.start()

    def start(self) -> None:
        """Begins to listen, at first or after an outage."""
        self.over.clear()
        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = True
        server.front = self  # type: ignore[attr-defined]
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self.port = server.server_address[1]
        self.server = server
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Begins an outage: connections are refused, and those that are open end."""
        self.over.set()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def befall(self, fault: str, times: int, method: str = "GET") -> None:
        with self.lock:
            self.fault, self.times, self.method = fault, times, method

    def next_fault(self, method: str) -> str:
        with self.lock:
            if not self.times or method != self.method:
                return ""
            self.times -= 1
            return self.fault

    def now(self) -> float:
        return time.time() + self.clock_offset


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    @property
    def front(self) -> Front:
        return self.server.front  # type: ignore[attr-defined, no-any-return]

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self) -> None:
        front = self.front
        if front.over.is_set():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_listing = "list-type=2" in self.path
        kind = "LIST" if is_listing else self.command
        front.seen[kind] += 1
        if refusal := self.refusal(body):
            if "TimeTooSkewed" not in refusal:
                front.complaints.append(f"{self.command} {self.path}: {refusal}")
            self.refuse(403, refusal)
            return
        fault = front.next_fault(kind)
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "silent":
            front.over.wait()
            self.close_connection = True
            return
        if fault in ("deny", "throttle", "fail"):
            status, code = {
                "deny": (403, "AccessDenied"),
                "throttle": (503, "SlowDown"),
                "fail": (500, "InternalError"),
            }[fault]
            self.refuse(status, code)
            return
        if fault == "late":
            time.sleep(2)
        self.forward(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

    def refuse(self, status: int, code: str) -> None:
        document = (
            b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        )
        self.send(status, [("Content-Length", str(len(document)))], document)

    def send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Date", email.utils.formatdate(self.front.now(), usegmt=True))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def forward(self, body: bytes, fault: str) -> None:
        path = self.path
        if self.front.page_objects:
            path = re.sub(r"max-keys=\d+", f"max-keys={self.front.page_objects}", path)
        upstream = http.client.HTTPConnection(*self.front.upstream, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        upstream.request(self.command, path, body, headers | {"Host": "127.0.0.1"})
        response = upstream.getresponse()
        found = response.read()
        dropped = ("content-length", "connection", "transfer-encoding", "date", "server")
        fields = [(name, value) for name, value in response.getheaders() if name.lower() not in dropped]
        length = response.getheader("content-length", "0") if self.command == "HEAD" else str(len(found))
        if fault == "flip" and found:
            found = found[:-1] + bytes([found[-1] ^ 1])
        if fault in ("longer", "shorter"):
            found = found + b"x" if fault == "longer" else found[:-1]
            length = str(len(found))
        self.send(
            response.status,
            [*fields, ("Content-Length", length)],
            found[: len(found) // 2] if fault == "torn" else found,
        )
        if fault == "torn":
            self.close_connection = True

    def refusal(self, body: bytes) -> str:
        """Returns the code with which S3 would refuse this request; empty if it would not."""
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, "
            r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            self.headers.get("Authorization", ""),
        )
        if not found:
            return "AuthorizationHeaderMalformed"
        key, day, region, signed, signature = found.groups()
        stamp = self.headers["X-Amz-Date"]
        sent = time.strptime(stamp, "%Y%m%dT%H%M%SZ")
        if abs(self.front.now() - (time.mktime(sent) - time.timezone)) > SKEW_SECONDS_MAX:
            return "RequestTimeTooSkewed"
        if key != KEY or region != REGION or not stamp.startswith(day):
            return "InvalidAccessKeyId"
        if self.headers["X-Amz-Content-SHA256"] != hashlib.sha256(body).hexdigest():
            return "XAmzContentSHA256Mismatch"
        scheme = "https" if self.front.certificate else "http"
        headers = {name: self.headers[name] for name in signed.split(";")}
        request = AWSRequest(self.command, f"{scheme}://{self.headers['Host']}{self.path}", headers=headers, data=body)
        request.context["timestamp"] = stamp
        signer = S3SigV4Auth(Credentials(KEY, SECRET), "s3", REGION)
        wanted = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        return "" if wanted == signature else "SignatureDoesNotMatch"
