"""The experiment store and real trainers: store.py TRAINER WORK-DIRECTORY."""

import json
import os
import pathlib
import resource
import signal
import sqlite3
import subprocess
import sys
import time

trainer, work = sys.argv[1], pathlib.Path(sys.argv[2])
failures = []
environment = {**os.environ, "XDG_DATA_HOME": str(work / "home")}
store = work / "home/needletail/runs.sqlite"

RUN = """
data: {{ files: [{data}] }}
target: {{ column: digit }}
model: {{ {model} }}
training: {{ {training} }}
publish: {{ model: digits }}
"""


def expect(holds, what):
    print(f"{'ok    ' if holds else 'FAILED'}  {what}")
    if not holds:
        failures.append(what)


def run(*arguments, check=True, **options):
    done = subprocess.run([trainer, *arguments], env=environment, capture_output=True, text=True, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    return done


def runs(*arguments):
    return json.loads(run("runs", "list", "--json", *arguments).stdout)


def is_sound():
    with sqlite3.connect(store) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def train_and_look():
    done = run("runs", "list", check=False)
    expect(done.returncode == 1 and "train makes one" in done.stderr, "runs list without a store says what makes one")
    for seed in (1, 2):
        run(
            "train",
            "deploy/examples/wine/train.yaml",
            "--output",
            work / "wine",
            "--set",
            f"split.seed={seed}",
            "--quiet",
        )
    listed = runs()
    expect([one["state"] for one in listed] == ["trained"] * 2, "two runs are listed as trained")
    metrics = json.loads((work / "wine/metrics.json").read_text())
    expect(listed[1]["metrics"]["test.accuracy"] == metrics["test"]["accuracy"], "its accuracy is that of metrics.json")
    shown = json.loads(run("runs", "show", "2", "--json").stdout)
    expect(shown["parameters"]["split.seed"] == "2", "runs show has the parameters")
    names = {one["name"] for one in shown["artifacts"]}
    expect({"model.ntb", "report.html", "model-card.md"} <= names, "runs show has the files")
    compared = json.loads(run("runs", "compare", "1", "2", "--json").stdout)
    expect(list(compared["parameters"]) == ["split.seed"], "runs compare shows only the parameters that differ")
    before = (work / "wine/report.html").read_text()
    (work / "wine/report.html").unlink()
    run("report", "2")
    expect((work / "wine/report.html").read_text() == before, "report RUN writes the same page again")
    done = run("runs", "show", "99", check=False)
    expect(done.returncode == 1 and "expected run 99, found none" in done.stderr, "a number that is not there is named")


def a_failure_is_recorded():
    data = work / "broken.csv"
    data.write_text("a,y\n1,2\nx,3\n" + "4,5\n" * 50)
    (work / "broken.yaml").write_text(
        f"data: {{ files: [{data}] }}\ntarget: {{ column: y, task: regression }}\n"
        "model: { family: linear_regression }\n"
    )
    done = run("train", work / "broken.yaml", "--output", work / "broken", check=False)
    last = runs()[-1]
    expect(done.returncode == 1 and last["state"] == "failed", "a run that fails is recorded as failed")
    expect(last["message"] in done.stderr and "broken.csv" in last["message"], "with the message that the user saw")


def start_long(*more, model="family: mlp, hidden: [256, 128]"):
    data = pathlib.Path("deploy/examples/digits/digits.csv").resolve()
    training = "epochs: 100000, patience: 0" if "mlp" in model else "patience: 0"
    (work / "long.yaml").write_text(RUN.format(data=data, model=model, training=training))
    command = [trainer, "train", work / "long.yaml", "--quiet", *more]
    return subprocess.Popen([*command, *([] if more else ["--output", work / "long"])], env=environment)


def curve(number):
    shown = run("runs", "show", str(number), "--json", check=False)
    return json.loads(shown.stdout)["curves"].get("training.loss", []) if shown.returncode == 0 else []


def run_begins(known):
    """Waits for a run beyond those known; its number."""
    expect(wait_for(lambda: len(runs()) > known), "the run is there while it trains")
    return runs()[-1]["run"]


def curve_grows(number):
    expect(wait_for(lambda: len(curve(number)) > 3), "its curve grows while it trains")


def killed_runs_are_lost():
    for round_ in range(3):
        known = len(runs())
        process = start_long()
        number = run_begins(known)
        curve_grows(number)
        expect(runs()[-1]["state"] == "running", f"kill {round_ + 1}: it reads as running")
        process.send_signal(signal.SIGKILL)
        process.wait()
        expect(runs()[-1]["state"] == "lost", f"kill {round_ + 1}: after SIGKILL it reads as lost")
        expect(is_sound(), f"kill {round_ + 1}: the store is sound")
        steps = [step for step, _ in curve(number)]
        expect(steps == list(range(1, len(steps) + 1)), f"kill {round_ + 1}: its curve has no hole")
        expect(not list((work / "long").glob("*")), f"kill {round_ + 1}: no file was left half-written")


def stopped_runs_go_on():
    checkpoint = work / "long/checkpoint.ntc"
    before = []
    for round_, more in (("first", ()), ("second", ("--resume", work / "long"))):
        known = len(runs())
        process = start_long(*more)
        number = run_begins(known)
        curve_grows(number)
        process.send_signal(signal.SIGINT)
        expect(process.wait() == 130, f"Ctrl-C, {round_}: exit code 130")
        expect(runs()[-1]["state"] == "interrupted", f"Ctrl-C, {round_}: the run reads as interrupted")
        expect(checkpoint.exists(), f"Ctrl-C, {round_}: its state is saved")
        if more:
            expect(len(curve(number)) > len(before), "the run that went on has the steps of the one before, and more")
            expect(curve(number)[: len(before)] == before, "and they are the same")
        before = curve(number)
    done = run("train", work / "long.yaml", "--resume", str(number), "--set", "training.epochs=7", check=False)
    expect(
        done.returncode == 1 and "expected training.epochs: 100000" in done.stderr,
        "by its number it goes on too, and not with other settings",
    )
    known = len(runs())
    process = start_long(model="family: gbdt, trees: 6000")
    run_begins(known)
    process.send_signal(signal.SIGINT)
    expect(process.wait() == 130, "Ctrl-C ends families without checkpoints at once")
    expect(runs()[-1]["state"] == "interrupted", "and their run reads as interrupted")


def many_at_once():
    known = len(runs())
    processes = [
        subprocess.Popen(
            [trainer, "train", "deploy/examples/wine/train.yaml", "--output", work / f"at-once-{k}", "--quiet"],
            env=environment,
        )
        for k in range(6)
    ]
    codes = [process.wait() for process in processes]
    new = runs()[known:]
    expect(codes == [0] * 6 and len(new) == 6, "six trainers at once are all recorded")
    expect(all(one["state"] == "trained" for one in new), "and all finish")


def full_disk():
    """A file may not grow: what SQLite and the report then get is the error of a full disk."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = store.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 4, resource.RLIM_INFINITY))

    known = len(runs())
    done = run("train", "deploy/examples/wine/train.yaml", "--output", work / "full", check=False, preexec_fn=limit)
    expect("not recorded" in done.stderr or "no longer recorded" in done.stderr, "a full disk is said of the store")
    expect(is_sound() and len(runs()) >= known, "after it the store is sound and has what it had")
    left = [path.name for path in (work / "full").glob("*")]
    whole = all((work / "full" / name).stat().st_size > 0 for name in left)
    expect(whole and not any(name.startswith(".") for name in left), f"no half-written file is left among {left}")


def deleting():
    number = runs()[0]["run"]
    run("runs", "delete", str(number))
    expect(all(one["run"] != number for one in runs()), "runs delete deletes")
    expect((work / "wine/model.ntb").exists(), "and leaves the files")


def unusable_stores():
    blocked = work / "blocked"
    blocked.write_text("a file where a directory should be")
    own = {**environment, "XDG_DATA_HOME": str(blocked)}
    command = [trainer, "train", "deploy/examples/wine/train.yaml", "--output", work / "unrecorded"]
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    expect(
        done.returncode == 0 and "warning: the run is not recorded" in done.stderr,
        "a usual store that cannot be made is only warned of",
    )
    done = run(*command[1:], "--set", f"tracking.path={blocked}/runs.sqlite", check=False)
    expect(
        done.returncode == 1 and "expected an experiment store" in done.stderr,
        "one that the run file names is an error",
    )
    done = run(*command[1:], "--set", "tracking.mlflow=http://127.0.0.1:1", check=False)
    expect(
        done.returncode == 1 and "MLflow at http://127.0.0.1:1" in done.stderr,
        "an MLflow that does not answer is one too",
    )
    done = run(*command[1:], "--set", "tracking.mlflow=nowhere", check=False)
    expect(done.returncode == 1 and "expected an address such as" in done.stderr, "and so is what is no address")


train_and_look()
a_failure_is_recorded()
killed_runs_are_lost()
stopped_runs_go_on()
many_at_once()
full_disk()
deleting()
unusable_stores()
print(f"{len(failures)} failed")
sys.exit(1 if failures else 0)
