"""check.py BIN WORK-DIRECTORY KSERVE SCHEMATHESIS: foreign clients against a server, compared with the binary protocol.

The last two are the pythons of environments that have KServe's client and schemathesis.
"""

import concurrent.futures
import http.client
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy
import tritonclient.http as triton
from needletail import Client

programs, work = Path(sys.argv[1]), Path(sys.argv[2])
root = Path(__file__).resolve().parents[2]
failures = []


def expect(holds, what, found=""):
    print(f"{'ok     ' if holds else 'FAILED '} {what}" + ("" if holds else f": found {found!r}"))
    if not holds:
        failures.append(what)


# ---------------------------------------------------------------- models


def train(name, header, lines, target, task):
    (work / f"{name}.csv").write_text(header + "\n" + "".join(line + "\n" for line in lines), encoding="utf-8")
    run = f"data: {{ files: [{name}.csv] }}\ntarget: {{ column: {target}, task: {task} }}\n"
    family = "logistic_regression" if task == "classification" else "linear_regression"
    run += f"model: {{ family: {family} }}\npublish: {{ model: {name} }}\n"
    (work / f"{name}.yaml").write_text(run, encoding="utf-8")
    command = [programs / "needletail-trainer", "train", work / f"{name}.yaml", "--output", work / name]
    subprocess.run([*command, "--publish", work / "store", "--quiet"], check=True)


def train_all():
    chance = random.Random(1)
    rows = [[chance.uniform(-1, 1) for _ in range(6)] for _ in range(400)]
    header = ",".join(f"x{i}" for i in range(6))
    lines = [",".join(f"{v:.5f}" for v in row) + f",{sum(row):.5f}" for row in rows]
    train("sums", header + ",y", lines, "y", "regression")
    shops = ["Köln", "東京", "القاهرة", 'a "quoted" one']
    lines = []
    for _ in range(400):
        shop, size = chance.randrange(4), chance.uniform(0, 10)
        quoted = shops[shop].replace('"', '""')
        lines.append(f'"{quoted}",{size:.3f},{"big" if size + shop > 6 else "small"}')
    train("orders", "shop,size,kind", lines, "kind", "classification")
    return shops


# ---------------------------------------------------------------- server


def start(**settings):
    command = [programs / "needletail-server", "--store", work / "store", "--allow-unsigned", "--admin", "none"]
    command += ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    (work / "feedback.yaml").write_text('models: {"*": {}}\n')
    command += ["--feedback-rules", work / "feedback.yaml"]
    with open(work / "server.log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **settings})
    for _ in range(200):
        text = (work / "server.log").read_text()
        if " ready " in text:
            line = next(line for line in text.splitlines() if " listening " in line)
            facts = dict(word.split("=", 1) for word in line.split() if "=" in word)
            return server, facts["address"], facts["http"]
        time.sleep(0.05)
    raise SystemExit(f"the server is not ready: {text}")


def tensor(name, array, kind, binary):
    made = triton.InferInput(name, array.shape, kind)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def check_triton(address, binary_client, shops):
    client = triton.InferenceServerClient(address, concurrency=8)
    expect(client.is_server_live() and client.is_server_ready(), "live and ready")
    expect(client.is_model_ready("sums") and client.is_model_ready("sums", "1"), "a model is ready")
    expect(not client.is_model_ready("none"), "a model that does not exist is not ready")
    server = client.get_server_metadata()
    expect("binary_tensor_data" in server["extensions"], "the server names its extensions", server)
    sums, orders = client.get_model_metadata("sums"), client.get_model_metadata("orders")
    expect(sums["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 6]}], "numbers: one tensor", sums)
    expect([i["datatype"] for i in orders["inputs"]] == ["BYTES", "FP32"], "columns of a mixed table", orders)
    expect(client.get_model_config("sums")["max_batch_size"] >= 1, "a configuration for Triton's tools")
    expect(
        {m["name"] for m in client.get_model_repository_index() if m["state"] == "READY"} == {"sums", "orders"},
        "the index of the repository",
    )
    client.load_model("sums")

    rows = numpy.random.default_rng(2).uniform(-1, 1, (300, 6)).astype(numpy.float32)
    expected = binary_client.predict("sums", rows)["prediction"]
    for binary_in in (False, True):
        for binary_out in (False, True):
            answer = client.infer(
                "sums",
                [tensor("features", rows, "FP32", binary_in)],
                outputs=[triton.InferRequestedOutput("prediction", binary_data=binary_out)],
                request_id="r1",
            )
            same = answer.as_numpy("prediction").astype(numpy.float32).tobytes() == numpy.asarray(expected).tobytes()
            expect(same, f"the same bits, bytes in {binary_in}, bytes out {binary_out}")
    expect(answer.get_response()["id"] == "r1" and answer.get_response()["model_version"] == "1", "the id comes back")

    sizes = numpy.linspace(0, 10, 40, dtype=numpy.float32)
    names = numpy.array([shops[i % 4] for i in range(40)], dtype=object)
    wanted = binary_client.predict("orders", {"shop": names, "size": sizes})
    for binary in (False, True):
        answer = client.infer("orders", [tensor("shop", names, "BYTES", binary), tensor("size", sizes, "FP32", binary)])
        labels = [v.decode() if isinstance(v, bytes) else v for v in answer.as_numpy("label")]
        expect(labels == list(wanted["label"]), f"text in and labels out, as bytes {binary}", labels[:3])
        probabilities = answer.as_numpy("probabilities").astype(numpy.float32)
        same = probabilities.tobytes() == numpy.asarray(wanted["probabilities"]).tobytes()
        expect(same, f"their probabilities to the bit, as bytes {binary}")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:

        def one(index):
            part = rows[index : index + 1]
            thread = triton.InferenceServerClient(address)
            found = [thread.infer("sums", [tensor("features", part, "FP32", True)]) for _ in range(50)]
            return {a.as_numpy("prediction").tobytes() for a in found}

        found = list(pool.map(one, range(8)))
    expect(found == [{numpy.asarray(expected)[i : i + 1].tobytes()} for i in range(8)], "eight clients at once")
    pending = [client.async_infer("sums", [tensor("features", rows, "FP32", True)]) for _ in range(8)]
    same = all(p.get_result().as_numpy("prediction").tobytes() == numpy.asarray(expected).tobytes() for p in pending)
    expect(same, "calls of one client at once")

    for model, array, words in (("sms", rows, "did you mean"), ("sums", rows[:, :5], "expected 6 columns")):
        try:
            client.infer(model, [tensor("features", numpy.ascontiguousarray(array), "FP32", True)])
            expect(False, f"an error that says {words}")
        except triton.InferenceServerException as error:
            expect(words in error.message(), f"an error that says {words}", error.message())
    # The server reads its counters every two seconds.
    for _ in range(100):
        counts = client.get_inference_statistics("sums")["model_stats"][0]
        good = counts["inference_count"] >= 300 * 4 and counts["inference_stats"]["fail"]["count"] >= 1
        if good:
            break
        time.sleep(0.1)
    expect(good, "statistics", counts)


def check_curl(address):
    def curl(*arguments):
        command = ["curl", "-sS", "--max-time", "10", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    body = {"inputs": [{"name": "features", "shape": [1, 6], "datatype": "FP64", "data": [[0, 0, 0, 0, 0, 0]]}]}
    url = f"http://{address}/v2/models/sums/infer"
    plain = json.loads(curl("-d", json.dumps(body), url))
    expect(plain["outputs"][0]["shape"] == [1], "curl", plain)
    chunked = curl("-H", "Transfer-Encoding: chunked", "-d", json.dumps(body), url)
    expect(json.loads(chunked) == plain, "curl in chunks", chunked)
    waiting = curl("-H", "Expect: 100-continue", "-d", json.dumps(body), url)
    expect(json.loads(waiting) == plain, "curl that waits for leave", waiting)
    expect(
        "404" in curl("-o", "/dev/null", "-w", "%{http_code}", f"http://{address}/v1/models"), "another version's path"
    )


def start_kserve(python, address, binary_client, shops):
    """KServe's client takes seconds to import: it runs beside the other checks."""
    rows = numpy.random.default_rng(3).uniform(-1, 1, (50, 6)).astype(numpy.float32)
    orders = {"shop": numpy.array(shops * 5, dtype=object), "size": numpy.linspace(0, 10, 20, dtype=numpy.float32)}
    expected = {
        "rows": rows.tolist(),
        "prediction": binary_client.predict("sums", rows)["prediction"].tolist(),
        "shop": orders["shop"].tolist(),
        "size": orders["size"].tolist(),
        "label": binary_client.predict("orders", orders)["label"].tolist(),
    }
    (work / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
    script = Path(__file__).with_name("kserve_client.py")
    return subprocess.Popen([python, script, address, work / "expected.json"])


# ---------------------------------------------------------------- jobs


def ask(address, method, path, body=None, headers=None):
    """Status, header fields and body of one request over a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def submit(address, rows):
    request = {
        "inputs": [
            {
                "name": "features",
                "shape": list(rows.shape),
                "datatype": "FP32",
                "parameters": {"binary_data_size": rows.nbytes},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(request).encode()
    fields = {"Inference-Header-Content-Length": str(len(head))}
    status, _, body = ask(address, "POST", "/v2/models/sums/jobs", head + rows.tobytes(), fields)
    return json.loads(body)["id"] if status == 202 else f"refused with {status}: {body}"


def wait_for(address, job):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = json.loads(ask(address, "GET", f"/v2/jobs/{job}")[2])
        if found.get("state") not in ("queued", "running"):
            return found
        time.sleep(0.02)
    return found


def latencies(address, seconds, until):
    """Microseconds of calls of one row, one after the other, for so long, or until an event."""
    row = json.dumps({"inputs": [{"name": "features", "shape": [1, 6], "datatype": "FP32", "data": [0] * 6}]})
    connection = http.client.HTTPConnection(address, timeout=30)
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end and not until.is_set():
        start = time.monotonic()
        connection.request("POST", "/v2/models/sums/infer", row)
        answer = connection.getresponse()
        answer.read()
        took.append((time.monotonic() - start) * 1e6)
        if answer.status != 200:
            return [], took
        time.sleep(0.0005)
    return took, took


def check_jobs(address, binary_client):
    rows = numpy.random.default_rng(4).uniform(-1, 1, (100_000, 6)).astype(numpy.float32)
    parts = [binary_client.predict("sums", rows[at : at + 4000])["prediction"] for at in range(0, len(rows), 4000)]
    expected = numpy.concatenate(parts).astype(numpy.float32)
    ended = threading.Event()
    alone, _ = latencies(address, 2, ended)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        calls = pool.submit(latencies, address, 60, ended)
        jobs = [submit(address, rows) for _ in range(10)]
        states = [wait_for(address, job) for job in jobs]
        ended.set()
        beside, asked = calls.result()
    good = all(s["state"] == "done" and s["rows_done"] == len(rows) for s in states)
    expect(good, "10 jobs of 100,000 rows are done", states[0])
    status, fields, body = ask(address, "GET", f"/v2/jobs/{jobs[0]}/result")
    head = int(fields.get("Inference-Header-Content-Length", len(body)))
    expect(status == 200 and body[head:] == expected.tobytes(), "a job answers as calls do, to the bit", body[:200])
    expect(len(beside) == len(asked) > 0, "calls are answered while jobs run")
    figures = [f"p50 {numpy.percentile(t, 50):.0f} p99 {numpy.percentile(t, 99):.0f}" for t in (alone, beside)]
    print(f"        calls of one row, microseconds: alone {figures[0]}, beside jobs {figures[1]} ({len(beside)} calls)")

    many = numpy.zeros((1_000_000, 6), numpy.float32)
    cancelled = [submit(address, many) for _ in range(3)]
    for job in cancelled:
        ask(address, "DELETE", f"/v2/jobs/{job}")
    states = [wait_for(address, job)["state"] for job in cancelled]
    # One that was done before it was cancelled has expired.
    expect(set(states) <= {"cancelled", "expired"} and "cancelled" in states, "cancelled jobs end", states)
    expect(ask(address, "GET", f"/v2/jobs/{cancelled[-1]}/result")[0] == 410, "a cancelled job has no result")
    expect(ask(address, "GET", f"/v2/jobs/{'0' * 32}")[0] == 404, "an unknown job is not found")
    hostile = ask(address, "POST", "/v2/models/sums/jobs", b"{" * 100_000)
    failed = wait_for(address, json.loads(hostile[2])["id"])
    expect(failed["state"] == "failed" and failed["code"] == "INVALID_ARGUMENT", "a body of nonsense fails", failed)
    return jobs[1]


def check_jobs_after_restart(address, job):
    expect(ask(address, "GET", f"/v2/jobs/{job}/result")[0] == 404, "a restart forgets jobs, and says so")
    one = submit(address, numpy.zeros((10, 6), numpy.float32))
    state = wait_for(address, one)["state"]
    deadline = time.monotonic() + 20
    while state == "done" and time.monotonic() < deadline:
        time.sleep(0.02)
        state = json.loads(ask(address, "GET", f"/v2/jobs/{one}")[2])["state"]
    expect(state == "expired", "a result expires", state)
    expect(ask(address, "GET", f"/v2/jobs/{one}/result")[0] == 410, "an expired result is gone")
    refused = [submit(address, numpy.zeros((1, 6), numpy.float32)) for _ in range(6)]
    words = refused[-1]
    expect("503" in words and "jobs_per_caller_max" in words, "one job more than a caller may have is refused", words)


def check_document(python, address):
    """Whatever the OpenAPI document allows and forbids, and no path that it does not have."""
    document = root / "proto" / "openapi.yaml"
    settings = Path(__file__).with_name("schemathesis.toml")
    command = [Path(python).with_name("schemathesis"), "--config-file", settings, "run", document]
    done = subprocess.run(
        [*command, "--url", f"http://{address}"],
        capture_output=True,
        text=True,
        cwd=work,
        env={**os.environ, "CI": "1"},
    )
    expect(done.returncode == 0, "schemathesis finds nothing", done.stdout[-6000:] + done.stderr[-2000:])
    page = (root / "Sources/Handbook/Handbook.docc/OpenInference.md").read_text(encoding="utf-8")
    told = set()
    for path in re.findall(r"`(?:GET|POST|DELETE) (/v2[^`]*)`", page):
        plain = path.replace("NAME", "{model}").replace("ID", "{job}").replace("[/versions/N]", "")
        told |= {plain, plain.replace("{model}", "{model}/versions/{version}")} if "[" in path else {plain}
    paths = set(re.findall(r"^  (/v2[^:]*):$", document.read_text(encoding="utf-8"), re.M))
    expect(paths == told, "the document has the paths of the handbook", sorted(paths ^ told))


def stop(server):
    server.terminate()
    expect(server.wait(timeout=30) == 0, "the server stops", (work / "server.log").read_text()[-500:])


shops = train_all()
server, address, http_address = start()
try:
    with Client(address) as client:
        kserve = start_kserve(sys.argv[3], http_address, client, shops)
        check_triton(http_address, client, shops)
        check_curl(http_address)
        expect(kserve.wait(timeout=60) == 0, "KServe's client")
        job = check_jobs(http_address, client)
    check_document(sys.argv[4], http_address)
finally:
    stop(server)
server, address, http_address = start(NEEDLETAIL_JOBS_RESULT_SECONDS="1", NEEDLETAIL_JOBS_PER_CALLER_MAX="5")
try:
    check_jobs_after_restart(http_address, job)
finally:
    stop(server)
print(f"{len(failures)} failed" if failures else "foreign clients: all good")
sys.exit(bool(failures))
