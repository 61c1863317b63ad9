"""http.py ADDRESS MODEL COLUMNS ROWS SECONDS FORM CONNECTIONS: a steady stream of calls over HTTP.

FORM is `bytes`, for tensors behind the JSON both ways, or `json`. One request is made beforehand and sent again and
again; each answer is read to its end and must be the first one again, byte by byte. It has an id, so that a server with
feedback rules remembers its prediction.
"""

import socket
import struct
import sys
import threading
import time

address, model, form = sys.argv[1], sys.argv[2], sys.argv[6]
columns, rows, seconds, connections = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[7])
host, port = address.rsplit(":", 1)


def request() -> bytes:
    values = [((index * 7) % 13) / 8 - 0.5 for index in range(rows * columns)]
    shape = f'"shape":[{rows},{columns}]'
    if form == "json":
        body = f'{{"id":"call","inputs":[{{"name":"features","datatype":"FP32",{shape},"data":{values}}}]}}'.encode()
        head = ""
    else:
        data = struct.pack(f"<{len(values)}f", *values)
        size = f'"parameters":{{"binary_data_size":{len(data)}}}'
        json = f'{{"id":"call","inputs":[{{"name":"features","datatype":"FP32",{shape},{size}}}]'
        json += ',"parameters":{"binary_data_output":true}}'
        body = json.encode() + data
        head = f"Inference-Header-Content-Length: {len(json)}\r\n"
    head += f"Host: {address}\r\nContent-Length: {len(body)}\r\n\r\n"
    return f"POST /v2/models/{model}/infer HTTP/1.1\r\n{head}".encode() + body


def answer(connection: socket.socket) -> bytes:
    received = connection.recv(1 << 16)
    while b"\r\n\r\n" not in received:
        received += connection.recv(1 << 16)
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"http.py: expected an answer, found {received[:300]!r}")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(1 << 16)
    return body


def stream(wrong: list[bytes]) -> None:
    sent = request()
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(sent)
        expected = answer(connection)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(sent)
            if answer(connection) != expected:
                wrong.append(expected)


failures: list[bytes] = []
threads = [threading.Thread(target=stream, args=(failures,)) for _ in range(connections)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    raise SystemExit("http.py: expected the same answer to the same request, found another")
