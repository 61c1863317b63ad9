"""check.py PROGRAM SERVER WORK-DIRECTORY: how the command line client behaves."""

import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import experiment
import feedback

program, server, work = sys.argv[1:4]
failures = []
ESCAPE = "\x1b"


def run(*arguments, text=None, address=server):
    environment = {**os.environ, "NEEDLETAIL_SERVER": address, "NO_COLOR": "1"}
    return subprocess.run(
        [program, *arguments], input=text, capture_output=True, text=True, timeout=30, env=environment
    )


def expect(holds, what, found=""):
    print(f"{'ok    ' if holds else 'FAILED'}  {what}{'' if holds else f': found {found!r}'}")
    if not holds:
        failures.append(what)


def mistake(what, *arguments, says, code=1, **more):
    """A user's mistake: one line on standard error, nothing on standard output, not 0."""
    done = run(*arguments, **more)
    lines = done.stderr.strip().splitlines()
    # The argument parser adds how to use a command; its first line is the error.
    is_one = len(lines) == 1 or lines[1].startswith(("Usage:", "Help:"))
    expect(
        done.returncode == code and is_one and says in lines[0] and not done.stdout,
        f"mistake: {what}",
        (done.returncode, done.stdout[:200], done.stderr[:400]),
    )


def lines_of(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_mistakes():
    with open(f"{work}/short.csv", "w") as file:
        file.write("alcohol,magnesium\n1,2\n3\n")
    with open(f"{work}/quote.csv", "w") as file:
        file.write('alcohol\n"1\n')
    with open(f"{work}/bad.json", "w") as file:
        file.write('{"alcohol": [1, {}]}')
    mistake("no server there", "models", says="cannot connect to 127.0.0.1:1", address="127.0.0.1:1")
    mistake("an address that is none", "models", "--server", "nonsense:x", says="nonsense:x")
    mistake("an unknown model", "models", "vine", says='did you mean "wine"?')
    mistake("an unknown version", "models", "wine@9", says="version 9 not live")
    mistake("an unknown label", "predict", "wine@canary", "--set", "alcohol=1", says="canary")
    mistake("a file that is not there", "predict", "wine", "--input", f"{work}/none.csv", says="no such file")
    mistake("a row that is too short", "predict", "wine", "--input", f"{work}/short.csv", says="line 3")
    mistake("a quote that never closes", "predict", "wine", "--input", f"{work}/quote.csv", says="line 2")
    mistake("JSON with an object for a cell", "predict", "wine", "--input", f"{work}/bad.json", says="alcohol")
    mistake("a feature that is missing", "predict", "wine", "--set", "alcohol=1", says="no column")
    mistake("an unknown command", "modles", says="modles", code=64)
    mistake("an unknown option", "models", "--jsn", says="--jsn", code=64)
    mistake("options that exclude each other", "models", "--watch", "--json", says="--json", code=64)
    mistake("a time that is none", "models", "--timeout", "soon", says="soon", code=64)
    mistake(
        "a bundle that is none",
        "bundle",
        "inspect",
        f"{work}/trust.yaml",
        says=f"{work}/trust.yaml: magic: expected 894e54420d0a1a0a",
    )


def check_json():
    # A version has figures from the first reading after it went live, 2 s later at most.
    for _ in range(50):
        [report] = lines_of(run("models", "--json"))
        if any("traffic" in version for model in report["models"] for version in model["versions"]):
            break
        time.sleep(0.1)
    models = {model["model"]: model for [report] in [lines_of(run("models", "--json"))] for model in report["models"]}
    expect(set(models) == {"wine", "beer"}, "models --json names every model", models)
    live, rejected = models["wine"]["versions"][0], models["beer"]["versions"][0]
    expect(
        set(live) == {"version", "state", "reason", "digest", "signer", "since_ms", "resident_bytes", "traffic"},
        "models --json tells of a live version what it should",
        sorted(live),
    )
    expect(
        {"requests", "failed", "rows", "share", "window_ms", "requests_per_second"} <= set(live["traffic"]),
        "models --json tells its traffic",
        sorted(live["traffic"]),
    )
    expect(
        rejected["state"] == "rejected" and rejected["reason"] and "traffic" not in rejected,
        "models --json tells why a version was rejected",
        rejected,
    )
    expect(models["wine"]["serving_version"] == 1 and models["beer"]["serving_version"] == 0, "and what serves")
    [description] = lines_of(run("models", "wine", "--json"))
    expect({"inputs", "outputs", "labels", "plan", "lineage", "status"} <= set(description), "models MODEL --json")
    [health] = lines_of(run("health", "--json"))
    expect(health["live"] and health["ready"], "health --json")
    [info] = lines_of(run("server", "--json"))
    limits, told = info["limits"], run("server").stdout
    expect(limits["rows_max"] == 4096 and "error_detail" in info["features"], "server --json", info)
    expect(
        told.startswith(f"needletail {info['version']} on {info['isa']}\nfeatures: ")
        and re.search(r"^  request_bytes_max +16777216$", told, re.M),
        "server, as the page Operating shows it", told,
    )  # fmt: skip
    events = lines_of(run("events", "--json", "--all"))
    numbers = [event["sequence"] for event in events]
    expect(numbers == list(range(numbers[0], numbers[0] + len(numbers))), "events --json --all has no gap", numbers)
    expect(
        all({"sequence", "time_ms", "kind", "severity", "message", "facts"} <= set(event) for event in events),
        "events --json: every event has its fields",
    )
    expect(
        any(event.get("model") == "beer" and event["severity"] == "warning" for event in events),
        "events --json tells of the rejection",
    )
    expect(
        all(event["severity"] != "debug" for event in lines_of(run("events", "--json"))),
        "events leaves steps in between out",
    )
    expect(len(run("events", "--last", "1").stdout.splitlines()) == 1, "events --last 1 is one line")
    with open("deploy/examples/wine/wine.csv") as file:
        rows = list(csv.reader(file))[:3]
    done = run("predict", "wine", "--input", "-", "--json", "--ignore-extra", text="\n".join(map(",".join, rows)))
    answers = lines_of(done)
    expect(
        [a["row"] for a in answers] == [1, 2] and all(a["version"] == 1 and "label" in a for a in answers),
        "predict --json is a line a row",
        done.stdout + done.stderr,
    )


def check_text():
    done = run("models")
    expect(done.returncode == 0 and ESCAPE not in done.stdout, "models in a pipe has no colours", done.stdout)
    expect(
        "* 1" in done.stdout and "release" in done.stdout, "models marks what serves and names the signer", done.stdout
    )
    expect(any(line.startswith("    ") for line in done.stdout.splitlines()), "models tells a reason below its version")
    models = lines_of(run("models", "--json"))[0]["models"]
    reasons = [version["reason"] for model in models for version in model["versions"] if version["reason"]]
    expect(reasons and all(reason in done.stdout for reason in reasons), "models tells every reason whole", reasons)
    pattern = "m" * 100
    done = run("key", "generate", "long", "--models", pattern)
    expect(
        done.returncode == 0 and f'"{pattern}"' in done.stderr, "key generate writes a long pattern whole", done.stderr
    )
    expect(run("health").returncode == 0, "health ends with 0 while the server is ready")
    for command in ("models", "server", "events", "predict", "health", "metrics", "bench", "bundle", "explain"):
        done = run(command, "--help")
        expect(done.returncode == 0 and "USAGE" in done.stdout, f"{command} --help")
    expect(run("--version").stdout.strip() != "", "--version")


def check_explain():
    bundle, rows = f"{work}/store/wine/1.ntb", f"{work}/run/test.csv"
    with open(rows) as file:
        features = next(csv.reader(file))
        count = sum(1 for _ in file)
    lines = lines_of(run("explain", bundle, "--data", rows, "--json"))
    expect(
        [(line["row"], line["output"]) for line in lines[:3]] == [(1, f"class_{index}") for index in range(3)]
        and len(lines) == 3 * count,
        "explain --json has a line for each row and class",
        lines[:3],
    )
    sums = [line["base"] + sum(line["contributions"].values()) - line["score"] for line in lines]
    expect(max(map(abs, sums)) < 1e-4, "contributions add up to the score", sums)
    expect(
        all(list(line["contributions"]) == sorted(features) for line in lines),
        "contributions name every feature",
        lines,
    )
    short = lines_of(run("explain", bundle, "--data", rows, "--json", "--top", "2"))
    largest = [set(sorted(line["contributions"], key=lambda name: -abs(line["contributions"][name]))[:2])
               for line in lines]  # fmt: skip
    expect(
        [set(line["contributions"]) for line in short] == largest, "--top keeps the largest contributions", short[:3]
    )
    done = run("explain", bundle, "--data", rows, "--output", f"{work}/explained.csv", "--top", "3")
    expect(
        done.returncode == 0 and "10 others" in done.stdout and ESCAPE not in done.stdout,
        "explain shows the mean contributions",
        done.stdout,
    )
    with open(f"{work}/explained.csv") as file:
        table = list(csv.reader(file))
    expect(
        table[0] == ["row", "output", "base", "score", *features]
        and [float(cell) for cell in table[1][2:4]] == [lines[0]["base"], lines[0]["score"]]
        and [float(cell) for cell in table[1][4:]] == [lines[0]["contributions"][name] for name in features]
        and len(table) == 1 + len(lines),
        "explain --output writes them all",
        table[:2],
    )
    with open(rows) as file:
        two = "".join(file.readlines()[:3])
    done = run("explain", bundle, "--data", "-", text=two)
    expect("Row 2: the score of" in done.stdout, "explain shows each contribution of a few rows", done.stdout)
    mistake("rows without a feature", "explain", bundle, "--data", f"{work}/short.csv", says="line 3")
    mistake("a column that is missing", "explain", bundle, "--data", "-", says='no column "', text="a\n1\n")
    mistake("a number that is none", "explain", bundle, "--data", "-", says="line 2", text=two.splitlines()[0] + "\n"
            + ",".join("x" for _ in features) + "\n")  # fmt: skip
    mistake("no such directory", "explain", bundle, "--data", rows, "--output", f"{work}/no/e.csv",
            says="expected a file that can be written")  # fmt: skip
    mistake("no thread", "explain", bundle, "--data", rows, "--threads", "0", says="--threads", code=64)


def check_pipe():
    with subprocess.Popen(
        [program, "models", "--watch", "--interval", "200ms", "--server", server], stdout=subprocess.PIPE, text=True
    ) as process:
        seen = [process.stdout.readline() for _ in range(12)]
        process.terminate()
    expect(
        sum("MODEL" in line for line in seen) >= 2 and ESCAPE not in "".join(seen),
        "models --watch in a pipe repeats",
        seen,
    )


class Screen:
    """A program on a terminal of its own."""

    def __init__(self, *arguments, columns):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", NEEDLETAIL_SERVER=server)
            os.environ.pop("NO_COLOR", None)
            os.execv(program, [program, *arguments])
        self.resize(columns)
        self.text = ""

    def resize(self, columns, rows=24):
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.descriptor], [], [], left)[0]:
                try:
                    self.text += os.read(self.descriptor, 65536).decode(errors="replace")
                except OSError:
                    break
        return self.text

    def end(self):
        end = time.monotonic() + 5
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.read(0.1)
                return os.waitstatus_to_exitcode(status)
            self.read(0.1)
        os.kill(self.pid, signal.SIGKILL)
        return None


def visible(drawing):
    """Lines of one drawing, without colours."""
    import re

    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", drawing).replace("\r\n", "\n").split("\n")


def check_terminal():
    for how, stop in (
        ("q", lambda s: os.write(s.descriptor, b"q")),
        ("Ctrl-C", lambda s: os.write(s.descriptor, b"\x03")),
    ):
        screen = Screen("models", "--watch", "--events", "--interval", "300ms", columns=80)
        text = screen.read(2)
        drawings = text.split(ESCAPE + "[H")[2:]
        widest = max((len(line) for drawing in drawings for line in visible(drawing)), default=0)
        expect(drawings and 0 < widest <= 80, f"models --watch fits 80 columns ({widest})", text[-500:])
        screen.resize(60)
        screen.text = ""
        screen.read(2)
        later = screen.text.split(ESCAPE + "[H")[2:]
        widest = max((len(line) for drawing in later for line in visible(drawing)), default=0)
        expect(later and 0 < widest <= 60, f"models --watch follows the window ({widest})", screen.text[-500:])
        stop(screen)
        expect(
            screen.end() == 0 and screen.text.endswith(ESCAPE + "[?1049l"),
            f"{how} ends it and restores the screen",
            screen.text[-60:],
        )


def check_follow():
    with subprocess.Popen(
        [program, "events", "--follow", "--last", "0", "--json", "--server", server], stdout=subprocess.PIPE, text=True
    ) as process:
        time.sleep(1)
        with open(f"{work}/store/beer/2.ntb", "wb") as file:
            file.write(b"x" * 500)
        ready = select.select([process.stdout], [], [], 15)[0]
        event = json.loads(process.stdout.readline()) if ready else {}
        process.terminate()
    expect(event.get("model") == "beer" and event.get("version") == 2, "events --follow prints what happens", event)


def serving(model):
    return json.loads(run("rollout", "show", model, "--json").stdout)["serving_version"]


def until(what, holds):
    deadline = time.monotonic() + 15
    while not holds():
        if time.monotonic() > deadline:
            return expect(False, what)
        time.sleep(0.1)
    return expect(True, what)


def check_rollout():
    """Retires a model and brings it back, beside what `rollout undo` refuses."""
    mistake("an undo with nothing to go back to", "rollout", "undo", "wine", says="no other good version is live")
    mistake(
        "an undo from a version without traffic", "rollout", "undo", "wine", "--from", "9", says="version 9 answers no"
    )
    mistake("an undo from no version", "rollout", "undo", "wine", "--from", "0", says="--from", code=64)
    before = serving("wine")
    done = run("rollout", "retire", "wine", "--store", f"{work}/store")
    expect(done.returncode == 0 and done.stdout.endswith("serve: none\n"), "rollout retire writes the file", done)
    until("a retired model answers no calls", lambda: "retired" in run("predict", "wine", "--set", "a=1").stderr)
    expect(run("health").returncode == 0, "a server with a retired model stays ready")
    mistake("a retired model with labels", "rollout", "set", "wine", "--store", f"{work}/store", "--labels", "a=1",
            says="no labels, split or shadow beside serve: none")  # fmt: skip
    done = run("rollout", "set", "wine", "--store", f"{work}/store", "--reset", "--serve", "latest")
    expect(done.returncode == 0, "rollout set brings it back", done.stderr)
    until("it serves as before", lambda: serving("wine") == before)
    done = run("rollout", "retire", "gone", "--store", f"{work}/store")
    expect(done.returncode == 0, "a model whose directory was deleted can be retired", done.stderr)


def check_feedback():
    feedback.check(run, expect, mistake, until, work)


def check_experiment():
    experiment.check(run, expect, mistake, until, work)


for check in (
    check_mistakes,
    check_json,
    check_text,
    check_explain,
    check_pipe,
    check_terminal,
    check_follow,
    check_feedback,
    check_rollout,
    check_experiment,
):
    check()
print(f"command line: {'FAILED: ' + '; '.join(failures) if failures else 'all holds'}")
sys.exit(1 if failures else 0)
