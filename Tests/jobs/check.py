#!/usr/bin/env python3
"""Jobs in Redis: servers that share one, and what becomes of jobs when servers or Redis are lost."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reliability" / "faults"))
from bundles import MODEL, bundle
from figures import Figures
from harness import Workspace, arguments, main, until
from redis import Redis

PREFIX = "needletail:jobs:1:"
# Some two seconds of work for the model `slow`: long enough to be stopped in the middle.
SLOW_ROWS = 50_000


class RedisServer:
    """A Redis server on a port that was free, with a password and without a disk."""

    def __init__(self, work: Workspace) -> None:
        self.work = work
        self.port = free_port()
        self.password = "jobs and nothing else"
        (work.directory / "redis.password").write_text(self.password + "\n")
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--requirepass", self.password, "--dir", str(self.work.directory)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.work.children.append(self.process)
        self.ask = until("Redis to answer", self._connect)

    def _connect(self) -> Redis | None:
        try:
            return Redis(self.port, self.password)
        except OSError:
            return None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Member:
    """A server of the fleet, asked over HTTP."""

    def __init__(self, work: Workspace, redis: RedisServer, *flags: str, **jobs: Any) -> None:
        settings = {
            "store": f"redis://127.0.0.1:{redis.port}/2", "lease_seconds": 1, "runs_max": 2,
            "store_password_file": str(work.directory / "redis.password"),
        }  # fmt: skip
        self.server = work.server("--http", "127.0.0.1:0", *flags, settings={"jobs": settings | jobs})
        found = re.search(r'"http":"127\.0\.0\.1:(\d+)"', self.server.log())
        assert found, self.server.log()
        self.port = int(found[1])

    def ask(
        self, method: str, path: str, body: bytes = b"", fields: dict[str, str] | None = None, key: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = dict(fields or {}) | ({"Authorization": f"Bearer {key}"} if key else {})
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def post(self, path: str, rows: int, key: str = "", **fields: str) -> tuple[int, dict[str, str], bytes]:
        values = struct.pack(f"<{rows}f", *(float(row) for row in range(rows)))
        tensor = {
            "name": "features", "shape": [rows, 1], "datatype": "FP32",
            "parameters": {"binary_data_size": len(values)},
        }  # fmt: skip
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        names = {"Inference-Header-Content-Length": str(len(head))}
        names |= {name.replace("_", "-"): value for name, value in fields.items()}
        return self.ask("POST", path, head + values, names, key)

    def submit(self, rows: int = 1000, key: str = "", model: str = MODEL) -> str:
        status, _, body = self.post(f"/v2/models/{model}/jobs", rows, key)
        assert status == 202, (status, body)
        return str(json.loads(body)["id"])

    def job(self, name: str, key: str = "") -> dict[str, Any]:
        return dict(json.loads(self.ask("GET", f"/v2/jobs/{name}", key=key)[2]))

    def wait(self, name: str, *states: str, key: str = "", seconds: float = 30) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def look() -> bool:
            found.update(self.job(name, key))
            return found.get("state") in (states or ("done", "failed", "cancelled", "expired"))

        until(f"job {name} to be {states}", look, seconds)
        return found

    def result(self, name: str, key: str = "") -> tuple[int, bytes]:
        status, fields, body = self.ask("GET", f"/v2/jobs/{name}/result", key=key)
        return status, body[int(fields.get("inference-header-content-length", 0)) :]


def check(figures: Figures, what: str, holds: bool, seen: object = "") -> None:
    figures.row(what, "yes", "yes" if holds else f"no: {str(seen)[-300:]}", holds, required=True)


def sharing(figures: Figures, fleet: list[Member]) -> None:
    """Submits at one server, fetches at all others."""
    status, fields, body = fleet[0].post(f"/v2/models/{MODEL}/infer", 1000)
    expected = body[int(fields["inference-header-content-length"]) :]
    assert status == 200, body
    jobs = [fleet[number % 3].submit() for number in range(9)]
    done = [fleet[(number + 1) % 3].wait(job) for number, job in enumerate(jobs)]
    check(figures, "jobs are done wherever they came", all(job["state"] == "done" for job in done), done)
    found = [fleet[(number + 2) % 3].result(job) for number, job in enumerate(jobs)]
    check(figures, "their results have the bits of calls", all(f == (200, expected) for f in found), found[0])
    ran = [member.server.metric("needletail_jobs_total", state="done") for member in fleet]
    check(figures, "each job is run once", sum(ran) == 9, ran)
    large = fleet[1].submit(600_000)
    check(figures, "a request of several parts is done", fleet[2].wait(large)["rows"] == 600_000)
    check(figures, "and so is its result", len(fleet[0].result(large)[1]) == 4 * 600_000)


def keys(figures: Figures, fleet: list[Member]) -> None:
    """Submits with the same key at several servers."""
    path = f"/v2/models/{MODEL}/jobs"
    answers = [member.post(path, 100, Idempotency_Key="a night's rows") for member in fleet]
    names = {json.loads(body)["id"] for _, _, body in answers}
    statuses = sorted(status for status, _, _ in answers)
    check(figures, "the same key is one job for the fleet", len(names) == 1 and statuses == [200, 200, 202], answers)
    status, _, body = fleet[1].post(path, 101, Idempotency_Key="a night's rows")
    check(figures, "another request under it is refused", status == 409 and names.pop().encode() in body, body)


def killed(figures: Figures, work: Workspace, redis: RedisServer, fleet: list[Member]) -> None:
    """Kills the server that runs a job."""
    victim = Member(work, redis, "--listen", "127.0.0.1:0")
    # Its own job is the next one, for all others are stopped meanwhile.
    for member in fleet:
        member.server.process.send_signal(signal.SIGSTOP)
    job = victim.submit(SLOW_ROWS, model="slow")
    victim.wait(job, "running")
    victim.server.kill()
    began = time.monotonic()
    for member in fleet:
        member.server.process.send_signal(signal.SIGCONT)
    state = fleet[0].wait(job, seconds=60)
    check(figures, "the job of a killed server is done by another", state["state"] == "done", state)
    figures.told("    after", f"{time.monotonic() - began:.1f} s")
    taken = sum(member.server.metric("needletail_job_takeovers_total") for member in fleet)
    check(figures, "    which is counted", taken == 1, taken)
    status, body = fleet[1].result(job)
    check(figures, "    and has all rows", status == 200 and len(body) == 4 * SLOW_ROWS, (status, len(body)))


def drained(figures: Figures, work: Workspace, redis: RedisServer, fleet: list[Member]) -> None:
    """Stops a server that runs a job, and starts it again."""
    victim = Member(work, redis)
    for member in fleet:
        member.server.process.send_signal(signal.SIGSTOP)
    jobs = [victim.submit(SLOW_ROWS, model="slow"), victim.submit()]
    victim.wait(jobs[0], "running")
    code = victim.server.stop()
    again = Member(work, redis)
    states = [again.wait(job, seconds=60)["state"] for job in jobs]
    check(figures, "the jobs of a stopped server survive its restart", code == 0 and states == ["done"] * 2, states)
    record = redis.ask("HGET", f"{PREFIX}job:{jobs[0]}", "attempts")
    check(figures, "    and stopping is no failed run", record == b"1", record)
    again.server.stop()
    for member in fleet:
        member.server.process.send_signal(signal.SIGCONT)


def cancelled(figures: Figures, fleet: list[Member]) -> None:
    job = fleet[0].submit(SLOW_ROWS, model="slow")
    fleet[1].wait(job, "running")
    status = fleet[2].ask("DELETE", f"/v2/jobs/{job}")[0]
    gone = fleet[0].ask("GET", f"/v2/jobs/{job}/result")[0]
    check(figures, "a running job is cancelled from anywhere", (status, gone) == (200, 410), (status, gone))
    until("the job to end", lambda: fleet[1].wait(fleet[1].submit())["state"] == "done")


def poison(figures: Figures, redis: RedisServer, fleet: list[Member]) -> None:
    """Puts records into Redis that no server writes."""
    jobs = [fleet[0].submit() for _ in range(3)]
    for job in jobs:
        fleet[0].wait(job)
    redis.ask("HSET", f"{PREFIX}job:{jobs[0]}", "layout", "9")
    redis.ask("HSET", f"{PREFIX}job:{jobs[1]}", "result_bytes", "999999999999")
    redis.ask("DEL", f"{PREFIX}result:{jobs[2]}")
    redis.ask("RPUSH", f"{PREFIX}result:{jobs[2]}", b"torn")
    found = [fleet[1].ask("GET", f"/v2/jobs/{job}/result") for job in jobs]
    check(figures, "records that were tampered with are errors", [f[0] for f in found] == [500] * 3, found)
    for name, fields in {
        "0" * 32: ["layout", "1"], "1" * 32: ["layout", "1", "model", "\xff", "bytes", "nan", "state", "queued"],
        "2" * 32: ["layout", "1", "model", MODEL, "bytes", "5", "due", "9" * 15, "attempts", "-3"],
        "3" * 32: ["layout", "1", "model", MODEL, "bytes", "1e9", "due", "inf"], "nonsense": ["x", "y"],
    }.items():  # fmt: skip
        redis.ask("HSET", f"{PREFIX}job:{name}", *fields)
        redis.ask("ZADD", f"{PREFIX}queue", "-1", name)
    redis.ask("SET", f"{PREFIX}job:{'4' * 32}", "a text")
    redis.ask("ZADD", f"{PREFIX}queue", "-2", "4" * 32)
    state = fleet[2].wait(fleet[2].submit())
    check(figures, "hostile records do not hold up the queue", state["state"] == "done", state)
    for number in range(5):
        assert fleet[number % 3].ask("GET", f"/v2/jobs/{str(number) * 32}")[0] in (404, 500)
    check(figures, "    nor servers", all(member.server.is_alive() for member in fleet))


def outage(figures: Figures, redis: RedisServer, fleet: list[Member]) -> None:
    """Kills Redis while calls are made."""
    failed: list[object] = []
    slow: list[float] = []
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            began = time.monotonic()
            status, _, body = fleet[0].post(f"/v2/models/{MODEL}/infer", 10)
            slow.append(time.monotonic() - began)
            if status != 200:
                failed.append((status, body))

    caller = threading.Thread(target=call)
    caller.start()
    redis.kill()
    answers = []
    for number in range(12):
        began = time.monotonic()
        status, fields, body = fleet[number % 3].post(f"/v2/models/{MODEL}/jobs", 10)
        answers.append((status, fields.get("retry-after"), time.monotonic() - began, body))
        status, fields, body = fleet[number % 3].ask("GET", f"/v2/jobs/{'0' * 32}")
        answers.append((status, fields.get("retry-after"), time.monotonic() - began, body))
    good = all(status == 503 and retry for status, retry, _, _ in answers)
    check(figures, "without Redis: 503 with Retry-After", good, answers)
    figures.at_most("    slowest of them", max(answer[2] for answer in answers), 5, " s", places=2)
    ups = [member.server.metric("needletail_job_store_up") for member in fleet]
    check(figures, "    the metric says so", ups == [0, 0, 0], ups)
    said = [member.server.log().count("the shared store of jobs does not answer") for member in fleet]
    check(figures, "    and the log, once", said == [1, 1, 1], said)
    redis.start()
    state = fleet[1].wait(until("a submission", lambda: submission(fleet[0])))
    check(figures, "with Redis back: jobs are done", state["state"] == "done", state)
    ended.set()
    caller.join()
    check(figures, "no predict call failed meanwhile", not failed, failed[:1])
    figures.told("    calls", f"{len(slow):,}")
    figures.at_most("    slowest of them", max(slow), 1, " s", places=3)
    # A Redis that takes connections and does not answer.
    redis.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    status = fleet[2].ask("GET", f"/v2/jobs/{'0' * 32}")[0]
    check(figures, "a Redis that stands still: 503", status == 503, status)
    figures.at_most("    after", time.monotonic() - began, 5, " s", places=2)
    redis.process.send_signal(signal.SIGCONT)
    until("Redis to be seen again", lambda: fleet[2].ask("GET", f"/v2/jobs/{'0' * 32}")[0] == 404)


def submission(member: Member) -> str | None:
    status, _, body = member.post(f"/v2/models/{MODEL}/jobs", 10)
    return str(json.loads(body)["id"]) if status == 202 else None


def expiry(figures: Figures, work: Workspace, redis: RedisServer) -> None:
    """Lets results end, with and without servers."""
    members = [Member(work, redis, result_seconds=1, per_caller_max=2, store_prefix="brief") for _ in range(2)]
    jobs = [member.submit() for member in members]
    for job in jobs:
        members[0].wait(job, "done")
    status, _, body = members[1].post(f"/v2/models/{MODEL}/jobs", 10)
    check(figures, "a caller's jobs are bounded over the fleet", status == 503 and b"per_caller" in body, body)
    state = members[1].wait(jobs[0], "expired")
    check(figures, "results expire", members[0].result(jobs[0])[0] == 410, state)
    last = members[0].submit()
    members[0].wait(last, "done")
    for member in members:
        member.server.kill()
    name = f"brief:jobs:1:result:{last}"
    until("the result to expire without servers", lambda: redis.ask("EXISTS", name) == 0)
    left = [key for key in redis.ask("KEYS", "brief:*") if redis.ask("PTTL", key) < 0]
    check(figures, "nothing stays in Redis when servers die", not left, left)


def callers(figures: Figures, work: Workspace, redis: RedisServer) -> None:
    """Asks for the jobs of others."""
    made = [
        subprocess.run(
            [work.programs / "needletail", "key", "generate", name], check=True, capture_output=True, text=True
        ) for name in ("night", "other")
    ]  # fmt: skip
    night, other = (done.stdout.strip() for done in made)
    path = work.directory / "keys.yaml"
    path.write_text("keys:\n" + "".join(done.stderr for done in made))
    members = [Member(work, redis, "--api-keys", str(path)) for _ in range(2)]
    job = members[0].submit(key=night)
    members[1].wait(job, "done", key=night)
    found = [
        member.ask(method, f"/v2/jobs/{job}{rest}", key=other)[0]
        for member in members for method, rest in (("GET", ""), ("GET", "/result"), ("DELETE", ""))
    ]  # fmt: skip
    check(figures, "a job is its caller's at every server", found == [404] * 6, found)
    check(figures, "    and stays it", members[1].result(job, key=night)[0] == 200)
    for member in members:
        member.server.stop()


def script() -> Figures:
    options = arguments(__doc__ or "")
    figures = Figures("jobs", options.json)
    with Workspace("jobs") as work:
        for model, weights in ((MODEL, 0), ("slow", 4 << 20)):
            (work.store() / model).mkdir()
            (work.store() / model / "1.ntb").write_bytes(bundle(1, model=model, weight_bytes=weights))
        redis = RedisServer(work)
        fleet = [Member(work, redis) for _ in range(3)]
        sharing(figures, fleet)
        keys(figures, fleet)
        cancelled(figures, fleet)
        killed(figures, work, redis, fleet)
        drained(figures, work, redis, fleet)
        poison(figures, redis, fleet)
        outage(figures, redis, fleet)
        expiry(figures, work, redis)
        callers(figures, work, redis)
        check(figures, "all servers stop in order", all(member.server.stop() == 0 for member in fleet))
    return figures


if __name__ == "__main__":
    main(script)
