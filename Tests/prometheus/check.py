"""The checks of Tests/prometheus/run: `check.py CALLS ADMIN DIRECTORY PROMETHEUS-PID`.

Prints a line per check and `N passed, N failed`.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import needletail

SECONDS_MAX = 30
ROOT = Path(__file__).resolve().parents[2]
calls, admin, directory, prometheus_pid = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
counts = {"passed": 0, "failed": 0}


def check(name: str) -> Callable[[Callable[[], None]], None]:
    """Runs the decorated function at once; an exception is a failed check."""

    def run(body: Callable[[], None]) -> None:
        try:
            body()
        except Exception as error:
            counts["failed"] += 1
            print(f"FAILED  {name}: {error}", flush=True)
        else:
            counts["passed"] += 1
            print(f"passed  {name}", flush=True)

    return run


def expect(condition: bool, text: str) -> None:
    if not condition:
        raise AssertionError(text)


def until(what: str, probe: Callable[[], Any]) -> Any:
    """Repeats the probe until it returns something; Prometheus scrapes every second."""
    end = time.monotonic() + SECONDS_MAX
    last: object = None
    while time.monotonic() < end:
        try:
            last = probe()
            if last:
                return last
        except OSError as error:
            last = error
        os.kill(prometheus_pid, 0)  # raises if the process is gone
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {SECONDS_MAX} s, last found {last!r}")


def http(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as response:
        return bytes(response.read())


def prometheus_address() -> str:
    pattern = re.compile(r'msg="Listening on" address=(\S+)')
    found = until("Prometheus' address in its log", lambda: pattern.findall((directory / "prometheus.log").read_text()))
    return str(found[0])


def query(expression: str) -> list[dict[str, Any]]:
    url = f"http://{prometheus}/api/v1/query?query={urllib.parse.quote(expression)}"
    answer = json.loads(http(url))
    expect(answer["status"] == "success", str(answer))
    return list(answer["data"]["result"])


def value(expression: str) -> float:
    [sample] = query(expression)
    return float(sample["value"][1])


def promtool(*arguments: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["promtool", *arguments], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=directory
    )
    text = done.stdout.decode(errors="replace").strip()
    expect(done.returncode == 0, text)
    return text


def metrics_text() -> str:
    return http(f"http://{admin}/metrics").decode()


prometheus = prometheus_address()
# All rows of the data: few of them, sent again and again, look like a drift.
with open(ROOT / "deploy/examples/wine/wine.csv", newline="") as file:
    _, *rows = ([*row[:-1]] for row in csv.reader(file))
CALLS, ROWS = 20, len(rows)


@check("the model serves, and the renamed one is rejected")
def _() -> None:
    with needletail.Client(calls) as client:

        def states() -> bool:
            versions = {v.version: v.state for model in client.models() for v in model.versions}
            return versions == {1: "live", 2: "rejected"}

        until("version 1 live and version 2 rejected", states)
        for _ in range(CALLS):
            answer = client.predict("wine", [[float(cell) for cell in row] for row in rows])
            expect(answer.version == 1, f"answered by version {answer.version}")
        for wrong in range(3):
            try:
                client.predict("wine", [[0.0] * (wrong + 1)])
            except needletail.InvalidArgument:
                continue
            raise AssertionError("a row that is too short was answered")


@check("Prometheus finds the target up")
def _() -> None:
    until("up", lambda: query('up{job="needletail"} == 1'))
    [target] = json.loads(http(f"http://{prometheus}/api/v1/targets"))["data"]["activeTargets"]
    expect(target["health"] == "up" and target["lastError"] == "", str(target))


@check("it counts the requests by model, version and status")
def _() -> None:
    ok = 'needletail_requests_total{model="wine",version="1",status="OK"}'
    until(f"{CALLS} requests", lambda: query(f"{ok} == {CALLS}"))
    # A wrong request may be counted with the version it named, or without a version.
    until("3 wrong requests", lambda: query('sum(needletail_requests_total{status="INVALID_ARGUMENT"}) == 3'))


@check("it counts rows and batches, and durations have a quantile")
def _() -> None:
    expect(value('needletail_rows_total{model="wine",version="1"}') == CALLS * ROWS, "rows")
    expect(value('needletail_batch_rows_sum{model="wine",version="1"}') == CALLS * ROWS, "rows of batches")
    for phase in ("queue", "compute"):
        name = "needletail_request_duration_seconds"
        expect(value(f'{name}_count{{model="wine",phase="{phase}"}}') >= 1, f"no {phase} durations")
        quantile = value(f'histogram_quantile(0.5, sum by (le) ({name}_bucket{{phase="{phase}"}}))')
        expect(0 <= quantile < 1, f"median of {phase}: {quantile} s")


@check("it knows which version serves, the rejected one, and its reason")
def _() -> None:
    expect(value('needletail_serving_version{model="wine"}') == 1, "serving version")
    expect(value('needletail_model_version_state{model="wine",version="1",state="live"}') == 1, "live")
    expect(value('needletail_model_version_state{model="wine",version="2",state="rejected"}') == 1, "rejected")
    [sample] = query('needletail_bundles_rejected_total{model="wine"}')
    expect(sample["metric"]["reason"] == "wrong_name", str(sample))


@check("it sees the process")
def _() -> None:
    expect(1e6 < value("process_resident_memory_bytes{job='needletail'}") < 1e10, "resident memory")
    expect(abs(time.time() - value("process_start_time_seconds{job='needletail'}")) < 3600, "start time")
    expect(value("process_cpu_seconds_total{job='needletail'}") > 0, "CPU seconds")
    expect(value("process_open_fds{job='needletail'}") > 3, "open files")
    [build] = query("needletail_build_info")
    expect(set(build["metric"]) >= {"version", "isa"}, str(build))


@check("the shipped alerts are loaded and healthy, and the rejected version raises its own")
def _() -> None:
    def alerts() -> dict[str, Any]:
        groups = json.loads(http(f"http://{prometheus}/api/v1/rules"))["data"]["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    until("evaluation", lambda: all(rule["health"] == "ok" for rule in alerts().values()) and alerts())
    states = until("an alert", lambda: {n: r["state"] for n, r in alerts().items() if r["state"] != "inactive"})
    expect(set(states) == {"NeedletailRejectedVersion"}, f"alerts: {states}")


@check("every metric that an alert names exists or appears on its first event")
def _() -> None:
    exported = {line.split("{")[0].split(" ")[0] for line in metrics_text().splitlines() if not line.startswith("#")}
    # A series for something that has not happened yet does not exist; its name must then occur in the sources.
    sources = (Path(__file__).parents[2] / "Sources").rglob("*.swift")
    written = {name for file in sources for name in re.findall(r'"(needletail_[a-z_]+)"', file.read_text())}
    named = set(
        re.findall(r"\b(needletail_[a-z_]+|process_[a-z_]+)\b", (directory / "prometheus/alerts.yml").read_text())
    )
    unknown = sorted(named - exported - written)
    expect(not unknown, f"nobody exports: {unknown}")


@check("every query of the Grafana board is answered, with metrics that exist or appear on their first event")
def _() -> None:
    board = json.loads((ROOT / "deploy/grafana/needletail.json").read_text())
    places = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        columns, lines = (range(grid[at], grid[at] + grid[size]) for at, size in (("x", "w"), ("y", "h")))
        cells = {(column, line) for column in columns for line in lines}
        expect(not places & cells and grid["x"] + grid["w"] <= 24, f"{panel['title']}: overlaps another panel")
        places |= cells
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    expect(len(queries) > 20, f"{len(queries)} queries")
    for expression in queries:
        query(expression.replace("$instance", ".*").replace("$model", ".*"))
    # Histograms are asked for by the series that they are made of.
    names = {re.sub(r"_(bucket|sum|count)$", "", n) for n in re.findall(r"needletail_[a-z_]+", " ".join(queries))}
    written = {
        name
        for file in (ROOT / "Sources").rglob("*.swift")
        for name in re.findall(r'"(needletail_[a-z_]+)"', file.read_text())
    }
    written |= {line.split(" ")[2] for line in metrics_text().splitlines() if line.startswith("# TYPE")}
    expect(names <= written, f"nobody exports: {sorted(names - written)}")
    ready = query('count(needletail_store_ready{instance=~".*"} == 1)')
    expect(ready and float(ready[0]["value"][1]) == 1, f"servers that are ready: {ready}")


@check("every alert has an entry in the runbook, and every entry an alert")
def _() -> None:
    alerts = re.findall(r"- alert: (\w+)", (directory / "prometheus/alerts.yml").read_text())
    page = (ROOT / "Sources/Handbook/Handbook.docc/Runbook.md").read_text()
    entries = re.findall(r"^### (Needletail\w+)$", page, re.MULTILINE)
    expect(alerts == entries, f"alerts {sorted(set(alerts) ^ set(entries))}, or their order")


@check("promtool check metrics has nothing to say")
def _() -> None:
    text = promtool("check", "metrics", stdin=metrics_text().encode())
    expect(text == "", text)


@check("the Metrics call tells the same names as the endpoint")
def _() -> None:
    with needletail.Client(calls) as client:
        over_calls = client.metrics()

    def names(text: str) -> set[str]:
        return {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")}

    difference = names(over_calls) ^ names(metrics_text())
    expect(not difference, str(difference))


@check("promtool check config accepts the shipped configuration")
def _() -> None:
    promtool("check", "config", str(ROOT / "deploy/prometheus/prometheus.yml"))


@check("promtool check rules accepts the shipped alerts")
def _() -> None:
    promtool("check", "rules", str(ROOT / "deploy/prometheus/alerts.yml"))


@check("promtool test rules: alerts fire when they should and not otherwise")
def _() -> None:
    promtool("test", "rules", str(directory / "prometheus/alerts.test.yml"))


print(f"{counts['passed']} passed, {counts['failed']} failed")
sys.exit(1 if counts["failed"] else 0)
