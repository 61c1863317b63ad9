"""server.py PROGRAM WORK-DIRECTORY: how needletail-server behaves as a process.

The work directory holds trust.yaml and a store with the bundle wine/1.ntb that is signed by a key of it.
"""

import fcntl
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

program, work = sys.argv[1:3]
root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
failures = []


def expect(holds, what, found=""):
    print(f"{'ok    ' if holds else 'FAILED'}  {what}{'' if holds else f': found {found!r}'}")
    if not holds:
        failures.append(what)


def until(what, probe, seconds=30):
    end = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > end:
            expect(False, what, f"nothing after {seconds} s")
            return None
        time.sleep(0.02)
    return found


def store(*bundles):
    """A store of its own, with copies of bundles."""
    directory = f"{work}/process-store-{time.monotonic_ns()}"
    os.mkdir(directory)
    for bundle in bundles:
        put(directory, bundle)
    return directory


def put(directory, bundle):
    os.makedirs(f"{directory}/{os.path.dirname(bundle)}", exist_ok=True)
    shutil.copy(f"{work}/store/{bundle}", f"{directory}/{bundle}.new")
    os.rename(f"{directory}/{bundle}.new", f"{directory}/{bundle}")


def flags(*more, at=None):
    return [
        program, "--store", at or store(), "--trust", f"{work}/trust.yaml", "--listen", "127.0.0.1:0", "--admin",
        "127.0.0.1:0", "--grace", "0", "--log-format", "json", "--readiness", "lenient", *more,
    ]  # fmt: skip


class Server:
    def __init__(self, *more, at=None, environment=None, **options):
        self.log_path = f"{work}/process-{time.monotonic_ns()}.log"
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                flags(*more, at=at), stdin=subprocess.DEVNULL, **{"stdout": log, "stderr": log} | options,
                env=os.environ | (environment or {}),
            )  # fmt: skip

    def lines(self):
        with open(self.log_path) as log:
            return [json.loads(line) for line in log.read().splitlines(keepends=True) if line.endswith("}\n")]

    def line(self, message):
        return until(f"a line {message!r}", lambda: next((e for e in self.lines() if e["message"] == message), None))

    def get(self, path):
        return answer(path, int(self.line("admin listening")["address"].rsplit(":", 1)[1]))

    def stop(self, seconds=30):
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def answer(path, port):
    """What the admin port answers; empty if nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            text = b""
            while part := connection.recv(65536):
                text += part
        return text.decode()
    except OSError:
        return ""


def refused(what, *arguments, says, code=2, **options):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, **options)
    lines = done.stderr.strip().splitlines()
    expect(
        done.returncode == code and len(lines) == 1 and all(word in lines[0] for word in says), what,
        (done.returncode, done.stderr[:400]),
    )  # fmt: skip


def limited(limit, value):
    return lambda: resource.setrlimit(limit, (value, value))


def check_limits():
    def of(limit, value):
        return {"preexec_fn": limited(limit, value)}

    refused("200 MiB of address space", *flags(), says=["ulimit -v", "204800"], **of(resource.RLIMIT_AS, 200 << 20))
    refused("a stack of 64 KiB", *flags(), says=["ulimit -s", "found 64"], **of(resource.RLIMIT_STACK, 64 << 10))
    refused("30 descriptors", *flags(), says=["ulimit -n", "found 30"], **of(resource.RLIMIT_NOFILE, 30))
    server = Server(preexec_fn=limited(resource.RLIMIT_NOFILE, 64))
    server.line("ready")
    told = [line for line in server.lines() if line["level"] == "warning" and "ulimit -n" in line["message"]]
    expect(len(told) == 1 and "found 64" in told[0]["message"], "64 descriptors are warned about", server.lines())
    expect(server.stop() == 0, "and the server stops as it should")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    server = Server(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, most)))
    server.line("ready")
    with open(f"/proc/{server.process.pid}/limits") as file:
        soft = next(line.split()[3] for line in file if line.startswith("Max open files"))
    expect(int(soft) > 256, "a limit of descriptors that may be raised is raised", soft)
    server.stop()


def check_closed_descriptors():
    port = free_port()
    # Popen itself would put pipes or files there, so the shell closes them.
    more = ["--admin", f"127.0.0.1:{port}"]
    process = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *flags(*more)])
    until("a server without standard streams", lambda: "200 OK" in answer("/readyz", port))
    names = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
    expect(names == ["/dev/null"] * 3, "closed standard streams are /dev/null", names)
    process.terminate()
    expect(process.wait(30) == 0, "and the server stops as it should")


def check_configuration():
    good = f"{work}/good.yaml"
    with open(good, "w") as file:
        file.write(f"store: {work}/store\ntrust: {work}/trust.yaml\n")
    done = subprocess.run([program, "--config", good, "--check"], capture_output=True, text=True, timeout=30)
    expect(done.returncode == 0 and "good" in done.stdout and not done.stderr, "--check of a good file", done)
    bad = f"{work}/bad.yaml"
    with open(bad, "w") as file:
        file.write("log: {format: xml}\nlimits:\n  connections_max: abc\n")
    done = subprocess.run([program, "--config", bad, "--check"], capture_output=True, text=True, timeout=30)
    lines = done.stderr.splitlines()
    expect(
        done.returncode == 2 and len(lines) == 2 and "bad.yaml:1: log.format" in lines[0] + lines[1]
        and "bad.yaml:3: limits.connections_max" in lines[0] + lines[1],
        "--check names every wrong setting with its line", done,
    )  # fmt: skip
    refused("--check without a store", program, "--check", says=["no model store"])
    refused("--check of a store that is not there", *flags("--check", at="/no/such"), says=["/no/such"])
    refused("a start with a wrong setting", *flags("--config", bad), says=["bad.yaml:3", "connections_max", "abc"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        # The server is started again: the next time the address may be free.
        refused("an address in use", *flags("--listen", address), says=[address, "in use"], code=1)
    server = Server(environment={"NEEDLETAIL_CONNECTIONS_MAX": "9", "NEEDLETAIL_THREDS": "1"})
    server.line("ready")
    told = " ".join(line["message"] for line in server.lines() if line["level"] == "warning")
    expect(
        "NEEDLETAIL_LIMITS_CONNECTIONS_MAX" in told and "NEEDLETAIL_THREADS" in told,
        "misspelt variables are warned about", told,
    )  # fmt: skip
    server.stop()


def check_signals():
    directory = store()
    keys = f"{work}/keys.yaml"
    with open(keys, "w") as file:
        file.write("keys: []\n")
    hour = {"NEEDLETAIL_RELOAD_MILLISECONDS": "3600000", "NEEDLETAIL_MODELS_RESCAN_MILLISECONDS": "3600000"}
    server = Server("--api-keys", keys, at=directory, environment=hour)
    listening = server.line("listening")
    expect(listening["keys"] == 0 and listening["threads"] >= 1, "numbers in JSON logs are numbers", listening)
    server.line("ready")
    for ignored in (signal.SIGUSR1, signal.SIGUSR2):
        server.process.send_signal(ignored)
    with open(keys, "w") as file:
        file.write("keys:\n  - {name: a, hash: 'sha256:" + "0" * 64 + "'}\n")
    server.process.send_signal(signal.SIGHUP)
    line = server.line("keys reloaded")
    expect(line and line["keys"] == 1, "SIGHUP reads the keys again", line)
    put(directory, "wine/1.ntb")
    server.process.send_signal(signal.SIGHUP)
    until("SIGHUP reads the store again", lambda: '"wine"' in server.get("/status.json"))
    expect(server.process.poll() is None, "SIGUSR1 and SIGUSR2 are ignored")
    expect(server.stop() == 0, "and SIGTERM ends the server as it should")


def check_unit():
    """The systemd unit asks of the server what the server does."""
    with open(f"{root}/deploy/systemd/needletail.service") as file:
        unit = dict(line.split("=", 1) for line in file.read().splitlines() if "=" in line and line[0] not in "#[")
    expect(unit["ExecReload"] == "/bin/kill -HUP $MAINPID", "the unit reloads by SIGHUP", unit.get("ExecReload"))
    restart = (unit["Restart"], unit.get("RestartPreventExitStatus"))
    expect(restart == ("on-failure", "2"), "the unit starts the server again, but not after exit status 2", restart)
    printed = subprocess.run([program, "--print-config"], capture_output=True, text=True, timeout=30).stdout
    limit = float(re.search(r"limit_seconds: (\S+)", printed)[1])
    waits = float(unit["TimeoutStopSec"].removesuffix("s"))
    expect(waits > limit, "the unit waits until the server has drained", (waits, limit))


def check_unix_mode():
    address = f"{work}/mode.sock"
    server = Server("--unix", address, environment={"NEEDLETAIL_UNIX_MODE": "0620"})
    server.line("ready")
    expect(os.stat(address).st_mode & 0o777 == 0o620, "unix_mode is that of the socket", oct(os.stat(address).st_mode))
    server.stop()


def check_unread_log():
    """The log is a pipe of 4 KiB that nobody reads: nothing waits for it."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    directory = store()
    port = free_port()
    admin = ["--admin", f"127.0.0.1:{port}"]
    server = Server("--log-level", "debug", *admin, at=directory, stdout=writing, stderr=writing)
    os.close(writing)

    def answers(path):
        return answer(path, port)

    until("a ready server whose log nobody reads", lambda: "200 OK" in answers("/readyz"))
    # Files that are no bundles make more lines than pipe and buffer hold.
    for number in range(1200):
        with open(f"{directory}/{'junk' * 50}{number}", "w") as file:
            file.write("x")

    def dropped():
        lines = [line for line in answers("/metrics").splitlines() if line.startswith("needletail_log_lines_dropped")]
        return float(lines[0].split()[-1]) if lines else 0.0

    until("log lines that are dropped and counted", lambda: dropped() > 0, 60)
    put(directory, "wine/1.ntb")
    until("a model that goes live meanwhile", lambda: 'serving_version{model="wine"} 1' in answers("/metrics"), 60)
    lost = dropped()
    began = time.monotonic()
    server.process.terminate()
    code = server.process.wait(30)
    expect(code == 0 and time.monotonic() - began < 15, "SIGTERM ends it", (code, time.monotonic() - began))
    os.close(reading)
    expect(lost > 0, "dropped lines were counted", lost)
    # A reader that comes late is told how many lines are missing.
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    server = Server("--log-level", "debug", *admin, at=directory, stdout=writing, stderr=writing)
    os.close(writing)
    until("lines that are dropped again", lambda: dropped() > 0, 60)
    os.set_blocking(reading, False)
    text = ""

    def said():
        nonlocal text
        try:
            text += os.read(reading, 65536).decode()
        except BlockingIOError:
            return False
        return "log lines dropped" in text

    until("the reader is told of dropped lines", said)
    server.process.kill()
    server.process.wait()
    os.close(reading)
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    told = [line["lines"] for line in lines if line["message"].startswith("log lines dropped")]
    expect(told and told[0] > 0, "with their number", told)


checks = (
    check_limits, check_closed_descriptors, check_configuration, check_signals, check_unit, check_unix_mode,
    check_unread_log,
)  # fmt: skip
for check in checks:
    check()
print(f"server as a process: {'FAILED: ' + '; '.join(failures) if failures else 'all holds'}")
sys.exit(1 if failures else 0)
