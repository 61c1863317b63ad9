"""seeds.py DIRECTORY: requests of the Open Inference Protocol from which the fuzzer starts, one stream a file.

The first byte of each is the length of the pieces in which the stream arrives.
"""

import struct
import sys
from pathlib import Path

directory = Path(sys.argv[1])


def post(path: str, body: bytes, *fields: str, version: str = "1.1") -> bytes:
    head = "".join(f"{field}\r\n" for field in ("Host: x", f"Content-Length: {len(body)}", *fields))
    return f"POST {path} HTTP/{version}\r\n{head}\r\n".encode() + body


def get(path: str, *fields: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\n{''.join(f'{field}{chr(13)}{chr(10)}' for field in ('Host: x', *fields))}\r\n".encode()
    )


INFER = "/v2/models/m/versions/3/infer"
NUMBERS = b'{"id":"7","inputs":[{"name":"features","datatype":"FP32","shape":[2,2],"data":[[1,-2.5e3],[null,0]]}]}'
TEXT = (
    '{"inputs":[{"name":"a","shape":[2],"datatype":"BYTES","data":["Köln","\\u00e9\\ud83d\\ude00\\n"]},'
    '{"name":"b","shape":[2,1],"datatype":"INT64","data":[9007199254740993,-1]},'
    '{"name":"c","datatype":"BOOL","shape":[2],"data":[true,false]}],'
    '"outputs":[{"name":"label","parameters":{"binary_data":true}}],'
    '"parameters":{"label":"canary","routing_key":"u","priority":1,"timeout":500,"binary_data_output":false}}'
).encode()
BINARY = (
    b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP16","parameters":{"binary_data_size":4}},'
    b'{"name":"s","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":10}}]}'
)
BLOB = struct.pack("<2e", 1, -2) + struct.pack("<I", 2) + b"ab" + struct.pack("<I", 0)
CHUNKED = b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED += b"%x;extension=1\r\n%s\r\n" % (len(NUMBERS[:40]), NUMBERS[:40])
CHUNKED += b"%x\r\n%s\r\n0\r\nTrailer: 1\r\n\r\n" % (len(NUMBERS[40:]), NUMBERS[40:])

STREAMS = {
    "numbers": post(INFER, NUMBERS),
    "text": post("/v2/models/m%2Fn/infer", TEXT, "Authorization: Bearer secret"),
    "binary": post(INFER, BINARY + BLOB, f"Inference-Header-Content-Length: {len(BINARY)}"),
    "raw": post(INFER, struct.pack("<4f", 1, 2, 3, 4), "Inference-Header-Content-Length: 0"),
    "chunked": CHUNKED + get("/v2/health/live"),
    "pipelined": get("/v2") + post(INFER, NUMBERS) + get("/v2/models/m/stats", "Connection: close"),
    "routes": b"".join(
        get(path)
        for path in ("/v2/health/ready", "/v2/models/m", "/v2/models/m/ready?x=1", "/v2/models/m/config", "/nowhere")
    ),
    "jobs": post("/v2/models/m/versions/3/jobs", NUMBERS, "Idempotency-Key: k")
    + get("/v2/jobs/0123456789abcdef0123456789abcdef")
    + get("/v2/jobs/0123456789abcdef0123456789abcdef/result"),
    "repository": post("/v2/repository/index", b"{}") + post("/v2/repository/models/m/load", b""),
    "old": post(INFER, NUMBERS, "Connection: keep-alive", version="1.0"),
    "continue": post(INFER, NUMBERS, "Expect: 100-continue"),
    "compressed": post(INFER, NUMBERS, "Content-Encoding: gzip"),
    "two-lengths": post(INFER, NUMBERS, "Content-Length: 5"),
    "length-and-chunks": post(INFER, NUMBERS, "Transfer-Encoding: chunked"),
    "folded": post(INFER, NUMBERS, "X-Folded: a\r\n b"),
    "bare-feeds": post(INFER, NUMBERS).replace(b"\r\n", b"\n"),
}
for name, stream in STREAMS.items():
    for pieces in (0, 6, 63, 255):
        (directory / f"{name}-{pieces}").write_bytes(bytes([pieces]) + stream)
