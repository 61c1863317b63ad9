"""The checks of Tests/security/run: a real server, real certificates, the Python client and bare sockets."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import needletail
import numpy as np
from needletail import TLS, Client, RetryPolicy

BINARIES = Path(os.environ["NEEDLETAIL_BIN"])
EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "wine" / "train.yaml"
ONCE = RetryPolicy(attempts=1, retry_lost=False)
#: Bytes that a connection which speaks another protocol may cost.
PREFACE_BYTES_MAX = 64 << 10

failed: list[str] = []


def check(name: str, good: bool, detail: str) -> None:
    print(f"{'ok  ' if good else 'FAIL'} {name}: {detail}", flush=True)
    if not good:
        failed.append(name)


class Authority:
    """A CA of this run."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        self.ca = str(self.directory / "ca.pem")
        self._openssl("req", "-x509", *self._key("ca"), "-subj", f"/CN={name}", "-days", "2", "-out", "ca.pem")

    def issue(self, name: str, names: str = "DNS:localhost,IP:127.0.0.1", days: int = 2) -> TLS:
        self._openssl(
            "req", "-new", *self._key(name), "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-out", "csr"
        )
        self._openssl(
            "x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-copy_extensions", "copy", "-days", str(days), "-out", f"{name}.pem",
        )  # fmt: skip
        return TLS(certificate=str(self.directory / f"{name}.pem"), key=str(self.directory / f"{name}.key"))

    @staticmethod
    def _key(name: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.directory, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


class Server:
    """A server process on free ports."""

    def __init__(self, directory: Path, name: str, *flags: str) -> None:
        self._log = open(directory / f"{name}.log", "w+")  # noqa: SIM115 (closed when the server has ended)
        environment = dict(os.environ, NEEDLETAIL_RELOAD_MILLISECONDS="50", NEEDLETAIL_LIMITS_HANDSHAKE_SECONDS="3")
        self.process = subprocess.Popen(
            [BINARIES / "needletail-server", "--store", directory / "store", "--allow-unsigned", "--grace", "0",
             "--listen", "127.0.0.1:0", "--admin", "none", "--unix", directory / f"{name}.sock",
             "--log-format", "json", *flags],
            stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        self.unix = f"unix:{directory / name}.sock"
        end = time.monotonic() + 30
        events: dict[str, Any] = {}
        while "ready" not in events or "listening" not in events:
            assert self.process.poll() is None and time.monotonic() < end, Path(self._log.name).read_text()
            lines = [line for line in Path(self._log.name).read_text().splitlines() if line.endswith("}")]
            events = {event["message"]: event for event in map(json.loads, lines)}
            time.sleep(0.02)
        self.address: str = events["listening"]["address"]
        host, port = self.address.rsplit(":", 1)
        self.tcp = (host, int(port))

    def admin_port(self) -> int:
        """Of a server that was given one."""
        pattern = re.compile(r'"message":"admin listening".*?"address":"127\.0\.0\.1:(\d+)"')
        end = time.monotonic() + 10
        while not (found := pattern.search(Path(self._log.name).read_text())):
            assert time.monotonic() < end, "no admin port"
            time.sleep(0.02)
        return int(found[1])

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        code = self.process.wait(30)
        self._log.close()
        if code != 0:
            failed.append(f"exit code {code} of a server")

    def resident_bytes(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def replace(path: Path, text: str) -> None:
    """As an editor or a configuration tool does it: whole, by a rename."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def metric(text: str, name: str, **labels: str) -> float:
    total = 0.0
    for line in text.splitlines():
        if line.startswith((name + "{", name + " ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def outcome(ask: Callable[[], object]) -> str:
    """`answered`, or the class and the sentence of the error."""
    try:
        ask()
        return "answered"
    except needletail.NeedletailError as error:
        return f"{type(error).__name__}: {error.message}"


def one_call(address: str, rows: Any, **settings: Any) -> str:
    def ask() -> None:
        with Client(address, retries=ONCE, **settings) as client:
            client.predict("wine", rows)

    return outcome(ask)


def make_key(name: str, *flags: str) -> tuple[str, str]:
    """A key and its entry in a key file, by the command that users have."""
    done = command(BINARIES / "needletail", "key", "generate", name, *flags)
    return done.stdout.strip(), done.stderr


# ------------------------------------------------------------ checks


def mutual_tls(directory: Path, rows: Any) -> None:
    ours, theirs = Authority(directory, "ours"), Authority(directory, "theirs")
    server_pair = ours.issue("server")
    certificates = {
        "right": (ours.issue("right"), True),
        "none": (TLS(), False),
        "wrong CA": (theirs.issue("wrong"), False),
        "expired": (ours.issue("expired", days=-1), False),
    }
    flags = ["--tls-certificate", server_pair.certificate, "--tls-key", server_pair.key, "--tls-client-ca", ours.ca]
    with Server(directory, "mtls", *map(str, flags)) as server:
        for name, (pair, wanted) in certificates.items():
            tls = TLS(ca=ours.ca, certificate=pair.certificate, key=pair.key)
            found = one_call(server.address, rows, tls=tls)
            check(f"mTLS, certificate {name}", (found == "answered") == wanted, found)
        found = one_call(server.address, rows, tls=TLS(ca=theirs.ca))
        check("TLS, a client that trusts another CA", found.startswith("ConnectionFailed"), found)
        context = ssl.create_default_context(cafile=ours.ca)
        context.load_cert_chain(str(certificates["right"][0].certificate), certificates["right"][0].key)
        with socket.create_connection(server.tcp) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
                check("TLS version", wrapped.version() == "TLSv1.3", f"{wrapped.version()}, {wrapped.cipher()[0]}")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(server.tcp) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
                cipher, session = wrapped.cipher()[0], wrapped.session
                good = wrapped.version() == "TLSv1.2" and cipher.startswith("ECDHE-") and wrapped.compression() is None
                check("TLS 1.2", good, f"{cipher}, compression {wrapped.compression()}")
        with socket.create_connection(server.tcp) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as wrapped:
                check("a session is not resumed", not wrapped.session_reused, f"reused: {wrapped.session_reused}")
        context.set_ciphers("kRSA:AES256-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA")
        try:
            with socket.create_connection(server.tcp) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1"):
                found = "accepted"
        except (ssl.SSLError, ConnectionError) as error:
            found = f"refused: {error}"
        check("TLS 1.2 without authenticated encryption", found.startswith("refused"), found)
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        try:
            with socket.create_connection(server.tcp) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1"):
                found = "accepted"
        except (ssl.SSLError, ConnectionError) as error:
            found = f"refused: {error}"
        check("TLS 1.1", found.startswith("refused"), found)
        other_protocols(server, "a TLS port")
        with Client(server.unix) as local:
            refused = metric(local.metrics(), "needletail_tls_handshake_failures_total", reason="client_certificate")
        check("refused certificates are counted", refused == 3, f"{refused:.0f} of 3")


def api_keys(directory: Path, rows: Any) -> None:
    right, entry = make_key("right", "--models", "wi*", "--calls", "predict,metrics")
    revoked, revoked_entry = make_key("revoked")
    other, other_entry = make_key("other", "--models", "digits,fraud-*")
    listing, listing_entry = make_key("listing", "--calls", "list,health")
    slow, slow_entry = make_key("slow", "--requests-per-second", "50")
    keys = directory / "keys.yaml"
    text = (
        "keys:\n"
        + entry
        + revoked_entry.replace("state: active", "state: revoked")
        + other_entry
        + listing_entry
        + slow_entry
    )
    keys.write_text(text)
    check(
        "the key file holds no key",
        not any(key in text for key in (right, revoked, other, listing, slow)),
        "hashes only",
    )
    with Server(directory, "keys", "--api-keys", str(keys)) as server:
        for name, key, wanted in [
            ("right", right, "answered"), ("none", None, "Unauthenticated"),
            ("wrong", "ntk_" + "A" * 43, "Unauthenticated"),
            ("revoked", revoked, "Unauthenticated"), ("for another model", other, "PermissionDenied"),
            ("for another call", listing, "PermissionDenied"),
        ]:  # fmt: skip
            found = one_call(server.address, rows, api_key=key)
            check(f"API key {name}", found.startswith(wanted), found)
        with Client(server.address, api_key=slow, retries=ONCE) as client:
            began = time.monotonic()
            found = [outcome(lambda: client.predict("wine", rows)) for _ in range(300)]
            seconds = time.monotonic() - began
        answered = found.count("answered")
        refused = [text for text in found if text.startswith("Overloaded")]
        good = 50 <= answered <= 51 + 50 * seconds and answered + len(refused) == 300
        check(
            "API key over its limit",
            good,
            f"{answered} of 300 answered in {seconds:.2f} s at 50/s; {refused[-1] if refused else 'none refused'}",
        )
        revoke_under_a_connection(server, keys, text, entry, right, rows)
        other_protocols(server, "a plain port")


def revoke_under_a_connection(server: Server, keys: Path, text: str, entry: str, key: str, rows: Any) -> None:
    with Client(server.address, api_key=key, retries=ONCE, max_connections=1) as client:
        client.predict("wine", rows)
        replace(keys, text.replace(entry, entry.replace("state: active", "state: revoked")))
        began = time.monotonic()
        found = "answered"
        while found == "answered" and time.monotonic() - began < 5:
            found = outcome(lambda: client.predict("wine", rows))
        milliseconds = (time.monotonic() - began) * 1000
        check(
            "a key revoked under its connection",
            found.startswith("Unauthenticated"),
            f"{found}, after {milliseconds:.0f} ms",
        )
    replace(keys, text.replace("state: active", "state: activ"))
    time.sleep(0.3)
    found = one_call(server.address, rows, api_key=key)
    check("a key file that is wrong changes nothing", found.startswith("Unauthenticated"), found)
    replace(keys, text)
    began = time.monotonic()
    while (found := one_call(server.address, rows, api_key=key)) != "answered" and time.monotonic() - began < 5:
        time.sleep(0.01)
    check("and the next good one counts", found == "answered", found)


def other_protocols(server: Server, where: str) -> None:
    """Row 19: what is not ours is closed, and costs next to nothing while it stands."""
    source = random.Random(19)
    client_hello = bytes.fromhex("16030102000100") + b"\x01\xfc\x03\x03" + source.randbytes(500)
    prefaces = [
        client_hello,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\xff" * 64,
    ]
    # A frame that a stranger may begin is not closed before its time: those are longer than any may be.
    prefaces += [bytes([source.randrange(5, 256)]) + source.randbytes(63) for _ in range(60)]

    def round_of_connections() -> tuple[int, float]:
        opened = []
        began = time.monotonic()
        for index in range(256):
            connection = socket.create_connection(server.tcp, timeout=5)
            connection.sendall(prefaces[index % len(prefaces)])
            opened.append(connection)
        closed = 0
        for connection in opened:
            try:
                while connection.recv(4096):
                    pass
                closed += 1
            except ConnectionError:
                closed += 1
            except TimeoutError:
                pass
            connection.close()
        return closed, (time.monotonic() - began) * 1000

    round_of_connections()  # what the allocator keeps is not counted against the peers
    before = server.resident_bytes()
    closed, milliseconds = round_of_connections()
    grown = max(0, server.resident_bytes() - before) // 256
    check(
        f"other protocols at {where}", closed == 256 and grown <= PREFACE_BYTES_MAX,
        f"{closed} of 256 closed in {milliseconds:.0f} ms, {grown} bytes each (of {PREFACE_BYTES_MAX})",
    )  # fmt: skip


def rotation(directory: Path, rows: Any) -> None:
    """Row 24: certificates and keys are replaced while calls run and connections come and go."""
    authority = Authority(directory, "rotating")
    mount = directory / "mount"
    mount.mkdir()

    def put(version: int) -> None:
        pair = authority.issue(f"server{version}")
        target = mount / f"..{version}"
        target.mkdir()
        (target / "tls.crt").write_text(Path(str(pair.certificate)).read_text())
        (target / "tls.key").write_text(Path(str(pair.key)).read_text())
        link = mount / "..next"
        link.symlink_to(target.name)
        link.rename(mount / "..data")

    put(0)
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    first, first_entry = make_key("first")
    keys = directory / "rotating.yaml"
    keys.write_text("keys:\n" + first_entry)
    current = [first]
    stop = threading.Event()
    answered, connections = [0], [0]
    failures: list[str] = []
    lock = threading.Lock()
    flags = ["--tls-certificate", str(mount / "tls.crt"), "--tls-key", str(mount / "tls.key"), "--api-keys", str(keys)]
    with Server(directory, "rotating", *flags) as server:
        tls = TLS(ca=authority.ca)

        def load() -> None:
            while not stop.is_set():
                try:
                    key = current[0]
                    with Client(server.address, tls=tls, api_key=key, retries=ONCE) as client:
                        for _ in range(20):
                            client.predict("wine", rows)
                            with lock:
                                answered[0] += 1
                    with lock:
                        connections[0] += 1
                except needletail.NeedletailError as error:
                    failures.append(str(error))

        def reloads(name: str) -> float:
            return metric(local.metrics(), f"needletail_{name}_reloads_total", outcome="loaded")

        def until(name: str, count: int) -> None:
            end = time.monotonic() + 10
            while reloads(name) < count:
                assert time.monotonic() < end, f"{name} not reloaded"
                time.sleep(0.02)

        with Client(server.unix, api_key=first) as local:
            threads = [threading.Thread(target=load) for _ in range(4)]
            for thread in threads:
                thread.start()
            began = time.monotonic()
            old_entry = ""
            for version in range(1, 6):
                put(version)
                until("tls", version)
                # The new key beside the old one, then clients change, then the old one goes.
                new, new_entry = make_key(f"key{version}")
                replace(keys, "keys:\n" + first_entry + old_entry + new_entry)
                until("api_key", 2 * version - 1)
                # Counted when it is read; the loops have it a moment later.
                time.sleep(0.05)
                current[0], old_entry = new, new_entry
                # Connections that were made with the old one have ended.
                with lock:
                    target = connections[0] + 8
                while connections[0] < target and not failures:
                    time.sleep(0.02)
                replace(keys, "keys:\n" + first_entry + new_entry)
                until("api_key", 2 * version)
            stop.set()
            for thread in threads:
                thread.join(30)
            seconds = time.monotonic() - began
            check(
                "rotation under load", not failures and answered[0] > 100,
                f"5 certificates and 5 keys in {seconds:.1f} s: {answered[0]} calls on {connections[0]} connections, "
                f"{len(failures)} failed{': ' + failures[0] if failures else ''}",
            )  # fmt: skip


PROMETHEUS = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: needletail
    scheme: https
    tls_config: {{ca_file: {ca}, cert_file: {certificate}, key_file: {key}}}
    static_configs: [{{targets: ["localhost:{port}"]}}]
"""


def admin_https(directory: Path, _: Any) -> None:
    """The admin port within TLS, asked by curl and by Prometheus."""
    ours, theirs = Authority(directory, "admin-ours"), Authority(directory, "admin-theirs")
    first, second = ours.issue("admin-server"), theirs.issue("admin-server")
    client, stranger = ours.issue("scraper"), theirs.issue("stranger")

    def curl(url: str, *flags: object) -> str:
        done = subprocess.run(
            ["curl", "-sS", "-w", "%{http_code}", *map(str, flags), url], capture_output=True, text=True
        )
        return done.stdout[-3:] if done.returncode == 0 else f"refused: {done.stderr.splitlines()[0]}"

    def pair(of: TLS) -> list[object]:
        return ["--cert", of.certificate, "--key", of.key]

    certificate, key = directory / "admin.pem", directory / "admin.key"
    certificate.write_text(Path(str(first.certificate)).read_text())
    key.write_text(Path(str(first.key)).read_text())
    flags = ["--tls-certificate", str(certificate), "--tls-key", str(key), "--admin", "127.0.0.1:0", "--admin-tls"]
    with Server(directory, "admin", *flags) as server:
        base = f"https://localhost:{server.admin_port()}"
        for path in ("/", "/metrics", "/readyz"):
            found = curl(base + path, "--cacert", ours.ca)
            check(f"admin HTTPS, {path}", found == "200", found)
        found = curl(base + "/metrics", "--cacert", theirs.ca)
        check("admin HTTPS, a client that trusts another CA", found.startswith("refused"), found)
        found = curl(base.replace("https", "http") + "/metrics")
        check("admin HTTPS, plain HTTP", found.startswith("refused"), found)
        replace(key, Path(str(second.key)).read_text())
        replace(certificate, Path(str(second.certificate)).read_text())
        began = time.monotonic()
        while (found := curl(base + "/metrics", "--cacert", theirs.ca)) != "200" and time.monotonic() - began < 5:
            time.sleep(0.05)
        check("admin HTTPS, another certificate", found == "200", f"{found} after {time.monotonic() - began:.2f} s")
    flags = ["--tls-certificate", first.certificate, "--tls-key", first.key, "--tls-client-ca", ours.ca]
    with Server(directory, "admin-mtls", *map(str, flags), "--admin", "127.0.0.1:0", "--admin-tls") as server:
        base = f"https://localhost:{server.admin_port()}"
        for name, shown, wanted in [
            ("right", pair(client), True),
            ("none", [], False),
            ("wrong CA", pair(stranger), False),
        ]:
            found = curl(base + "/metrics", "--cacert", ours.ca, *shown)
            check(f"admin mTLS, certificate {name}", (found == "200") == wanted, found)
        scrape(
            directory,
            PROMETHEUS.format(ca=ours.ca, certificate=client.certificate, key=client.key, port=server.admin_port()),
        )


def admin_grants(directory: Path, _: Any) -> None:
    """What a client certificate may read on the admin port, where a key file says what it may call."""
    ours = Authority(directory, "grants")
    pair = ours.issue("server")
    keys = directory / "grants.yaml"
    keys.write_text(
        "certificates:\n"
        "  - {name: scraper, subject: scraper.internal, calls: [metrics]}\n"
        "  - {name: reader, subject: reader.internal, calls: [list], models: [wine]}\n"
        "  - {name: operator, subject: operator.internal, calls: ['*']}\n"
        "  - {name: nothing, subject: nothing.internal, calls: []}\n"
        "  - {name: former, subject: former.internal, state: revoked}\n"
    )
    flags = ["--tls-certificate", pair.certificate, "--tls-key", pair.key, "--tls-client-ca", ours.ca]
    flags += ["--api-keys", keys]
    with Server(directory, "grants", *map(str, flags), "--admin", "127.0.0.1:0", "--admin-tls") as server:
        base = f"https://localhost:{server.admin_port()}"
        paths = ("/", "/status.json", "/events", "/metrics", "/livez", "/readyz")
        for name, allowed in [
            ("scraper", ("/metrics",)),
            ("reader", ("/events",)),
            ("operator", ("/", "/status.json", "/events", "/metrics")),
            ("nothing", ()),
            ("former", ()),
            ("unlisted", ()),
        ]:
            shown = ours.issue(name, names=f"DNS:{name}.internal")
            found = {}
            for path in paths:
                done = subprocess.run(
                    ["curl", "-sS", "-w", "%{http_code}", "--cacert", ours.ca, "--cert", str(shown.certificate),
                     "--key", str(shown.key), base + path],
                    capture_output=True, text=True,
                )  # fmt: skip
                found[path] = done.stdout[-3:]
            wanted = {path: "200" if path in allowed or path in ("/livez", "/readyz") else "403" for path in paths}
            check(f"admin port, what certificate {name} may read", found == wanted, str(found))


def scrape(directory: Path, configuration: str) -> None:
    path = directory / "prometheus.yml"
    path.write_text(configuration)
    command("promtool", "check", "config", path)
    log = directory / "prometheus.log"
    with open(log, "w") as output:
        prometheus = subprocess.Popen(
            ["prometheus", "--config.file", path, "--storage.tsdb.path", directory / "prometheus",
             "--web.listen-address", "127.0.0.1:0"],
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        up: list[Any] = []
        end = time.monotonic() + 30
        while not up and time.monotonic() < end:
            time.sleep(0.2)
            if address := re.search(r'msg="Listening on" address=(\S+)', log.read_text()):
                url = f"http://{address[1]}/api/v1/query?query=needletail_build_info"
                # 503 until its database is open.
                with contextlib.suppress(urllib.error.HTTPError):
                    up = json.loads(urllib.request.urlopen(url, timeout=5).read())["data"]["result"]
        check("admin mTLS, scraped by Prometheus", len(up) == 1, str(up[0]["metric"] if up else log.read_text()[-500:]))
    finally:
        prometheus.terminate()
        prometheus.wait(30)


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="needletail-security-") as name:
        directory = Path(name)
        (directory / "store").mkdir()
        command(
            BINARIES / "needletail-trainer",
            "train",
            EXAMPLE,
            "--output",
            directory / "run",
            "--publish",
            directory / "store",
        )
        rows = np.loadtxt(directory / "run" / "test.csv", delimiter=",", skiprows=1)[:4]
        for run in (mutual_tls, api_keys, admin_https, admin_grants, rotation):
            started = time.monotonic()
            run(directory, rows)
            print(f"     {run.__name__}: {time.monotonic() - started:.1f} s", flush=True)
    outcome = "FAILED: " + ", ".join(failed) if failed else "passed"
    print(f"Tests/security: {outcome} in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
