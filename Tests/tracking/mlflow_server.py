"""Exports runs to a real MLflow server and reads them with MLflow's client: mlflow_server.py TRAINER WORK-DIRECTORY."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import mlflow

trainer, work = sys.argv[1], pathlib.Path(sys.argv[2])
failures = []
environment = {**os.environ, "XDG_DATA_HOME": str(work / "mlflow-home")}


def expect(holds, what):
    print(f"{'ok    ' if holds else 'FAILED'}  {what}")
    if not holds:
        failures.append(what)


def run(*arguments, check=True, **more):
    done = subprocess.run([trainer, *map(str, arguments)], env={**environment, **more}, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    return done


@contextlib.contextmanager
def server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    directory = work / "mlflow"
    directory.mkdir()
    log = (work / "mlflow.log").open("w")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{directory}/mlflow.db",
            "--artifacts-destination", str(directory / "files"),
        ],
        stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).read()
                break
            if process.poll() is not None:
                raise RuntimeError((work / "mlflow.log").read_text())
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def check(address):
    mlflow.set_tracking_uri(address)
    client = mlflow.MlflowClient()
    # The run file asks for it.
    run(
        "train", "deploy/examples/digits/train.yaml", "--output", work / "digits", "--quiet",
        "--set", "training.epochs=12", "--set", f"tracking.mlflow={address}", "--set", "tracking.alias=champion",
    )  # fmt: skip
    metrics = json.loads((work / "digits/metrics.json").read_text())
    experiment = client.get_experiment_by_name("digits")
    expect(experiment is not None, "the experiment has the model's name")
    found = client.search_runs([experiment.experiment_id])
    expect(len(found) == 1 and found[0].info.status == "FINISHED", "the run is there and finished")
    data, identifier = found[0].data, found[0].info.run_id
    expect(data.params["training.epochs"] == "12" and data.params["model.family"] == "mlp", "parameters are there")
    expect(data.metrics["test.accuracy"] == metrics["test"]["accuracy"], "figures are those of metrics.json")
    history = client.get_metric_history(identifier, "training.loss")
    expect([one.step for one in sorted(history, key=lambda m: m.step)] == list(range(1, 13)), "the loss has 12 steps")
    names = {one.path for one in client.list_artifacts(identifier)}
    expect(
        {"model.ntb", "report.html", "report.json", "model-card.md"} <= names, "report, card and bundle are artifacts"
    )
    copy = pathlib.Path(client.download_artifacts(identifier, "model.ntb", str(work)))
    expect(copy.read_bytes() == (work / "digits/model.ntb").read_bytes(), "the bundle arrived byte for byte")
    version = client.get_model_version_by_alias("digits", "champion")
    expect(version.version == "1" and version.run_id == identifier, "the alias champion points to its version")

    again = json.loads(run("runs", "export", "1", "--mlflow", address, "--json").stdout)
    expect(again["was_there"] and again["run_id"] == identifier, "a second export makes no second run")
    # An export that was cut off is made anew.
    client.update_run(identifier, status="RUNNING")
    repeated = json.loads(run("runs", "export", "1", "--mlflow", address, "--alias", "champion", "--json").stdout)
    expect(not repeated["was_there"] and repeated["version"] == "2", "an export that was cut off is made again")
    expect(len(client.search_runs([experiment.experiment_id])) == 1, "and leaves one run")

    run("train", "deploy/examples/wine/train.yaml", "--output", work / "wine", "--quiet")
    exported = json.loads(
        run("runs", "export", "2", "--mlflow", address + "/", "--experiment", "Ä/ß 1", "--json").stdout
    )
    expect(exported["version"] is None, "without --register no version is made")
    expect(client.get_experiment_by_name("Ä/ß 1") is not None, "the experiment may have any name")
    done = run("runs", "export", "2", "--mlflow", "http://127.0.0.1:1", check=False)
    expect(
        done.returncode == 1 and "MLflow at http://127.0.0.1:1" in done.stderr,
        "no server: exit 1, the address is named",
    )
    done = run("runs", "export", "2", "--mlflow", address + "/nothing", check=False)
    expect(done.returncode == 1 and "status 404" in done.stderr, "another page there: exit 1, the status is named")
    (work / "pages.txt").write_text(f"{exported['page']}\n{repeated['page']}\n{address}/#/models/digits\n")


with server() as address:
    check(address)
    if len(sys.argv) > 3 and sys.argv[3]:
        print(f"pages: {address}", flush=True)
        pictures = subprocess.run(
            [os.environ["NEEDLETAIL_PAGES"], "Tests/tracking/photograph.py", work / "pages.txt", sys.argv[3]]
        )
        expect(pictures.returncode == 0, "MLflow's pages are photographed")
print(f"{len(failures)} failed")
sys.exit(1 if failures else 0)
