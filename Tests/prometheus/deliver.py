"""Every shipped alert fires and is delivered: `deliver.py DIRECTORY`.

A target exports the series of a server on which everything is wrong. A real Prometheus has the shipped rules with
shorter patience, a real Alertmanager the shipped routes with other addresses; a webhook collects what arrives. Then the
server recovers, and what depends on its present state is reported as over.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 60
directory = Path(sys.argv[1]) / "deliver"
directory.mkdir()
RULES = (ROOT / "deploy/prometheus/alerts.yml").read_text()
SEVERITIES = dict(re.findall(r"- alert: (\w+)\n.*?severity: (\w+)", RULES, re.DOTALL))
# Rates look back for minutes: these are not over as soon as the server has recovered.
LASTING = {"NeedletailErrors", "NeedletailNaN", "NeedletailOverloaded", "NeedletailAuthentications"}
# A counter that has risen within the hour; and a port that stays shut.
LASTING |= {"NeedletailRolledBack", "NeedletailDown", "NeedletailCaptureLost"}

state = {"is_well": False}
start = time.monotonic()
changed = threading.Condition()
arrived: list[tuple[str, dict[str, Any]]] = []


def exposition() -> str:
    """What a server says: of the present state, and counters that go on counting."""
    wrong = 0 if state["is_well"] else 1
    count = int((time.monotonic() - start) * 100)
    model = 'model="m",version="3"'
    return "\n".join(
        [
            f'needletail_requests_total{{{model},status="OK"}} {count}',
            f'needletail_requests_total{{{model},status="INTERNAL"}} {count}',
            f'needletail_requests_total{{{model},status="OVERLOADED"}} {count}',
            f"needletail_nan_outputs_total{{{model}}} {count}",
            f'needletail_authentications_total{{outcome="refused"}} {count}',
            f'needletail_capture_lost_total{{reason="disk"}} {count}',
            'needletail_rollbacks_total{model="m",cause="guard"} 1',
            f'needletail_model_serving{{model="m"}} {1 - wrong}',
            f"needletail_store_ready {1 - wrong}",
            f"needletail_store_reachable {1 - wrong}",
            f"needletail_job_store_up {1 - wrong}",
            f"needletail_store_problems {wrong}",
            f"needletail_model_untrusted{{{model}}} {wrong}",
            f"needletail_rollout_file_invalid {wrong}",
            f"needletail_rollout_file_missing {wrong}",
            f"needletail_state_unwritten {wrong}",
            f"needletail_state_unreadable_copies {wrong}",
            f'needletail_drift_columns{{{model},level="alert"}} {2 * wrong}',
            f"needletail_answers_psi{{{model}}} {0.5 * wrong}",
            f"needletail_answers_psi_by_chance{{{model}}} 0.01",
            f"needletail_feedback_worse{{{model}}} {wrong}",
            f'needletail_model_version_state{{{model},state="rejected"}} {wrong}',
            f"needletail_trust_file_invalid {wrong}",
            f"needletail_tls_files_invalid {wrong}",
            f"needletail_api_key_file_invalid {wrong}",
            f"needletail_tls_certificate_not_after_seconds {time.time() + (3 if wrong else 90) * 86400:.0f}",
            f"needletail_allow_unsigned {wrong}",
            f"process_open_fds {60000 if wrong else 100}",
        ]
    )


class Target(BaseHTTPRequestHandler):
    """Answers scrapes."""

    def do_GET(self) -> None:
        body = (exposition() + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Webhook(BaseHTTPRequestHandler):
    """Takes what Alertmanager sends."""

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with changed:
            arrived.extend((self.path, alert) for alert in message["alerts"])
            changed.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def serve(handler: type[BaseHTTPRequestHandler]) -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_address[1]}"


def launch(name: str, *command: str) -> tuple[subprocess.Popen[bytes], str]:
    """A process, and the address that it says in its log."""
    log = directory / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r'msg="Listening on" address=(\S+)', log.read_text()):
            return process, found[1]
        time.sleep(0.05)
    process.kill()
    raise SystemExit(f"FAILED  {name}: {log.read_text()[-2000:]}")


def wait(what: str, found: Callable[[], set[str]], wanted: set[str]) -> None:
    with changed:
        changed.wait_for(lambda: found() >= wanted, SECONDS_MAX)
        if missing := wanted - found():
            raise SystemExit(f"FAILED  {what}: not delivered within {SECONDS_MAX} s: {sorted(missing)}")
    print(f"passed  {what}: {len(wanted)}", flush=True)


def names(status: str) -> set[str]:
    return {alert["labels"]["alertname"] for _, alert in arrived if alert["status"] == status}


webhook = serve(Webhook)
target = serve(Target)
routes = (ROOT / "deploy/prometheus/alertmanager.yml").read_text()
routes = re.sub(r"group_wait: \w+", "group_wait: 1s", routes.replace("127.0.0.1:9095", webhook))
(directory / "alertmanager.yml").write_text(re.sub(r"group_interval: \w+", "group_interval: 1s", routes))
subprocess.run(["amtool", "check-config", directory / "alertmanager.yml"], check=True, stdout=subprocess.DEVNULL)
alertmanager, address = launch(
    "alertmanager", "prometheus-alertmanager", f"--config.file={directory / 'alertmanager.yml'}",
    f"--storage.path={directory / 'alertmanager'}", "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=",
)  # fmt: skip
prometheus = None
try:
    (directory / "alerts.yml").write_text(re.sub(r"for: \d+m", "for: 1s", RULES))
    # The lines of alerting with their marks of a comment taken away; a port that nobody listens on is a server that is
    # gone.
    settings = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    settings = re.sub(r"^# alerting:\n(#  .*\n)+", lambda block: re.sub("(?m)^# ", "", block[0]), settings, flags=re.M)
    settings = settings.replace("127.0.0.1:9093", address).replace("_interval: 15s", "_interval: 1s")
    settings = settings.replace('["127.0.0.1:6471"]', f'["{target}", "127.0.0.1:1"]')
    (directory / "prometheus.yml").write_text(settings)
    prometheus, _ = launch(
        "prometheus", "prometheus", f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'prometheus'}", "--web.listen-address=127.0.0.1:0",
    )  # fmt: skip
    wait("every alert fires and is delivered", lambda: names("firing"), set(SEVERITIES))
    for path, alert in arrived:
        name, texts = alert["labels"]["alertname"], alert["annotations"]
        if path != "/" + SEVERITIES[name]:
            raise SystemExit(f"FAILED  {name}: expected it at /{SEVERITIES[name]}, found it at {path}")
        if not all(texts.get(key) and "<no value>" not in texts[key] for key in ("summary", "action")):
            raise SystemExit(f"FAILED  {name}: expected a summary and an action, found {texts}")
    print("passed  pages go to the pager, tickets to the tracker, each with what to do", flush=True)
    state["is_well"] = True
    wait("what is over is said to be over", lambda: names("resolved"), set(SEVERITIES) - LASTING)
finally:
    for process in (prometheus, alertmanager):
        if process is not None:
            process.terminate()
            process.wait(timeout=30)
