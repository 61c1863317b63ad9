"""Runs the Python example of a README against a server of its own: check_example.py README.md

The example is the first Python block of the file; it must print the answer of a scripted server that only handles
frames.
"""

import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading

readme = pathlib.Path(sys.argv[1])
example = re.search(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.S).group(1)

with tempfile.TemporaryDirectory() as directory:
    subprocess.run(
        ["protoc", f"-I{readme.parent}", f"--python_out={directory}", "needletail/v1/inference.proto"], check=True
    )
    sys.path.insert(0, directory)
    from needletail.v1 import inference_pb2 as pb

    listener = socket.create_server(("127.0.0.1", 0))
    seen = []

    def exactly(connection, count):
        data = b""
        while len(data) < count:
            data += connection.recv(count - len(data))
        return data

    def serve():
        connection, _ = listener.accept()
        (length,) = struct.unpack(">I", exactly(connection, 4))
        request = pb.Request.FromString(exactly(connection, length))
        seen.append(request)
        answer = pb.Response(id=request.id)
        answer.predict.model, answer.predict.version = request.predict.model, 2
        answer.predict.outputs.add(name="label", type=pb.STRING, shape=[1], strings=[b"class_0"])
        payload = answer.SerializeToString()
        # Sent in two pieces, so that a client which takes one `recv` for a whole frame fails.
        frame = struct.pack(">I", len(payload)) + payload
        connection.sendall(frame[:3])
        threading.Event().wait(0.05)
        connection.sendall(frame[3:])

    threading.Thread(target=serve, daemon=True).start()
    script = example.replace("6470", str(listener.getsockname()[1]))
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=directory, capture_output=True, text=True, timeout=20, check=False
    )

if result.returncode or "class_0" not in result.stdout or not seen or not seen[0].predict.inputs:
    sys.exit(f"example failed: {result.stdout}{result.stderr}")
