"""trainer.py TRAINER WORK-DIRECTORY: how the trainer's command line behaves, as a process."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

program, work = sys.argv[1], Path(sys.argv[2]) / "trainer"
work.mkdir()
failures = []
environment = {**os.environ, "NO_COLOR": "1", "XDG_DATA_HOME": str(work / "home")}


def run(*arguments, prefix=(), text=None):
    command = [*prefix, program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=text, timeout=300, env=environment)


def expect(holds, what, found=""):
    print(f"{'ok    ' if holds else 'FAILED'}  {what}{'' if holds else f': found {found!r}'}")
    if not holds:
        failures.append(what)


def mistake(what, done, says, code=1):
    lines = done.stderr.strip().splitlines()
    expect(
        done.returncode == code and lines and says in lines[-1] and not done.stdout,
        f"mistake: {what}",
        (done.returncode, done.stdout[:200], done.stderr[-400:]),
    )


def untrained(what, done, says):
    """A mistake that shows before the data is read."""
    mistake(what, done, says)
    expect("reading" not in done.stderr, f"{what}: before anything is read", done.stderr[-400:])


def table(name, rows, flip=0):
    """Rows of two classes, of which every `flip`th is of the other one."""
    lines = [
        f"{k % 17},{(k * 7) % 13},{'yes' if (k % 17 > 8) != bool(flip and k % flip == 0) else 'no'}"
        for k in range(rows)
    ]
    (work / name).write_text("a,b,late\n" + "\n".join(lines) + "\n")


def train(*arguments, **options):
    return run("train", work / "run.yaml", "--output", work / "out", *arguments, **options)


def state(directory):
    listed = json.loads(run("runs", "list", "--last", "100", "--json").stdout)
    return [one["state"] for one in listed if one["directory"] == str(directory)]


table("flights.csv", 400)
(work / "run.yaml").write_text(
    "data: { files: [flights.csv] }\ntarget: { column: late }\nmodel: { family: gbdt, trees: 20 }\n"
)
store = work / "store"


def early_checks():
    (work / "file").write_text("")
    (work / "bad.key").write_text("no key")
    untrained("a key that is not there", train("--publish", store, "--key", work / "none.key"), "none.key")
    untrained("a key that is none", train("--publish", store, "--key", work / "bad.key"), "bad.key")
    untrained("a store that is a file", train("--publish", work / "file"), "expected a store that can be written")
    untrained("a store of the experiments that is none", train("--set", "tracking.path=bad.key"), "bad.key")
    untrained("a metric that there is not", train("--publish", store, "--if-better", "acuracy"), 'mean "accuracy"?')
    untrained("--if-better without a store", train("--if-better", "accuracy"), "expected --publish with the store")
    for command in ("train", "tune"):
        done = run(command, work / "run.yaml", "--output", work / "file/out")
        untrained(f"{command} with an output inside a file", done, "not a directory")
    done = run("evaluate", work / "none.ntb", "--data", work / "flights.csv", "--report", work / "none/report.html")
    mistake("a report where none can be written", done, "none/report.html: expected a directory to write it into")
    (work / "read-only").mkdir()
    # A file system is read-only to root as well.
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    prefix = ("unshare", "-rm", "sh", "-c", script, str(work / "read-only"))
    if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
        done = train("--publish", work / "read-only", prefix=prefix)
        untrained("a store that is read-only", done, "expected a store that can be written, found it read-only")
        done = run("train", work / "run.yaml", "--output", work / "read-only/out", prefix=prefix)
        untrained("an output that is read-only", done, "expected a directory to write into, found it read-only")
    else:
        print("passed over: read-only file systems, which need unshare")


def publishing():
    done = train("--publish", store, "--version", "1", "--json")
    expect(done.returncode == 0, "train publishes", done.stderr)
    found = json.loads(done.stdout)
    expect(found["model"] == "flights", "run.yaml names the model by its table", found["model"])
    expect(found["published"] == f"{store}/flights/1.ntb", "the path of the version is printed", found["published"])
    untrained("a version that is taken", train("--publish", store, "--version", "1"), "expected no such version")
    found = state(work / "out")
    expect(found == ["trained", "published"], "its run is published, and mistakes made none", found)
    with (work / "out/predictions.csv").open() as file:
        header = next(csv.reader(file))
    expect(header == ["row", "class", "label", "p_no", "p_yes", "target"], "columns are named by their class", header)

    commands = [[program, "publish", work / "out/model.ntb", "--store", store] for _ in range(6)]
    commands += [
        [program, "train", work / "run.yaml", "--output", work / f"at-once-{k}", "--publish", store, "--quiet"]
        for k in range(4)
    ]
    children = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for command in commands]
    codes = [child.wait() for child in children]
    versions = sorted(int(path.stem) for path in (store / "flights").glob("*.ntb"))
    expect(codes == [0] * 10 and versions == list(range(1, 12)), "ten publish at once", (codes, versions))
    named = {json.loads((work / f"at-once-{k}/metrics.json").read_text())["version"] for k in range(4)}
    expect(len(named) == 4, "and each run's figures name the version it got", named)


def better():
    held = work / "held.csv"
    table("held.csv", 340)
    table("flights.csv", 400, flip=3)
    done = train("--publish", store, "--if-better", "accuracy")
    last = done.stderr.strip().splitlines()[-1]
    expect(
        done.returncode == 3 and last.startswith("not published: expected it to be better"),
        "a model that is no better is not published, and exit status 3 says so",
        (done.returncode, done.stderr[-300:]),
    )
    expect((work / "out/model.ntb").exists() and not (store / "flights/12.ntb").exists(), "its files are there")
    expect(state(work / "out")[-1] == "trained", "its run is only trained", state(work / "out"))
    publish = ("publish", work / "out/model.ntb", "--store", store, "--if-better", "accuracy", "--data", held)
    mistake("publish of a model that is no better", run(*publish), "not published", code=3)
    # A model of the opposite, which is easy to beat.
    table("flights.csv", 400, flip=1)
    train("--quiet")
    weak = run("publish", work / "out/model.ntb", "--store", store, "--version", "20")
    expect(weak.returncode == 0 and state(work / "out")[-1] == "published", "publish marks the run", weak.stderr)
    table("flights.csv", 400)
    done = train("--publish", store, "--if-better", "accuracy", "--min-gain", "0.01", "--json")
    expect(done.returncode == 0, "a better one is published", done.stderr)
    comparison = json.loads(done.stdout)["comparison"]
    expect(
        comparison["version"] == 20 and comparison["figure"] > comparison["serving"] and comparison["better"],
        "with both figures",
        comparison,
    )
    newest = json.loads(run("runs", "list", "--json").stdout)[-1]["run"]
    shown = json.loads(run("runs", "show", newest, "--json").stdout)
    expect(shown["state"] == "published" and "serving.accuracy" in shown["metrics"], "its run remembers both", shown)


def standard_input():
    rows = (work / "flights.csv").read_text()
    done = train("--set", "data.files=[-]", "--set", "publish.model=piped", "--json", text=rows)
    expect(done.returncode == 0 and json.loads(done.stdout)["rows"]["read"] == 400, "rows come by a pipe", done.stderr)
    done = run("profile", "-", "--target", "late", "--json", text=rows)
    expect(done.returncode == 0 and json.loads(done.stdout), "and to profile", done.stderr)


def signals():
    """Boosted trees and forests that are stopped save their state, and go on to the same model."""
    common = ["--set", "evaluation.report=false", "--set", "publish.model=stopped"]
    boosted = [*common, "--set", "model.trees=4000", "--set", "model.leaves=4", "--set", "training.patience=0"]
    forest = [*common, "--set", "model={family: random_forest, trees: 1500}"]
    for step, settings, number, status in (
        ("round", boosted, signal.SIGINT, 130), ("round", boosted, signal.SIGTERM, 143),
        ("tree", forest, signal.SIGINT, 130),
    ):  # fmt: skip
        whole = run("train", work / "run.yaml", "--output", work / f"whole-{step}", "--json", *settings)
        output = work / f"stopped-{step}-{status}"
        command = [program, "train", work / "run.yaml", "--output", output, *settings]
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        while not child.stderr.readline().startswith(step):
            pass
        child.send_signal(number)
        rest = child.communicate()[1]
        expect(
            child.returncode == status and "--resume" in rest, f"signal {number} ends a training, {step}", rest[-300:]
        )
        expect(state(output) == ["interrupted"], "its run is interrupted", state(output))
        left = sorted(path.name for path in output.iterdir())
        expect(left == ["checkpoint.ntc"], "it leaves its state, and no half-written file", left)
        done = run("train", work / "run.yaml", "--resume", output, "--json", *settings)
        expect(
            done.returncode == 0 and json.loads(done.stdout)["test"] == json.loads(whole.stdout)["test"],
            "and it goes on to the same figures",
            done.stderr[-300:],
        )


def replayed():
    """A model is published only where it answers captured calls as the one that serves."""
    capture, wine, place = work.parent / "capture", work.parent / "run/model.ntb", work / "replay"
    gate = ("--store", place, "--replay", capture)
    done = run("publish", wine, *gate, "--json")
    found = json.loads(done.stdout)["replay"]
    expect(
        found["compared"] > 0 and found["different"] == 0 and found["against"] == "the captured answers",
        "a model that answers as it did is published",
        found,
    )
    weaker = ("train", "deploy/examples/wine/train.yaml", "--output", work / "weaker", "--set", "model.c=0.1")
    done = run(*weaker, "--publish", place, "--replay", capture)
    last = done.stderr.strip().splitlines()[-1]
    expect(
        done.returncode == 3 and last.startswith("not published: expected at most 0 % of the calls to differ, found"),
        "another one is not, and exit status 3 says so",
        done.stderr[-400:],
    )
    expect("otherwise than by version 1, which serves" in last and "the first one is of" in last, "and why", last)
    expect((work / "weaker/model.ntb").exists() and not (place / "wine/2.ntb").exists(), "its files are there")
    done = run("publish", work / "weaker/model.ntb", *gate, "--replay-tolerance", "1", "--replay-allow", "0.5")
    expect(
        done.returncode == 0 and "captured calls (" in done.stdout,
        "with a tolerance only other classes count",
        (done.stdout, done.stderr),
    )
    done = run("publish", wine, "--store", place, "--replay-allow", "1")
    expect(done.returncode == 64 and "--replay-allow: expected --replay" in done.stderr, "--replay-allow alone", done)
    untrained("a capture that there is not", run(*weaker, "--publish", place, "--replay", work / "none"), "none")
    untrained("--replay without a store", run(*weaker, "--replay", capture), "--replay: expected --publish")


early_checks()
standard_input()
signals()
publishing()
better()
replayed()
sys.exit(1 if failures else 0)
