"""Real servers for the cases, all over the models of models.json: open, with keys, TLS, mutual TLS, feedback rules."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

BINARIES = Path(os.environ["NEEDLETAIL_BIN"])
MODELS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "models.json").read_text())


def command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


class Server:
    """A server process. Started again, it listens where it did."""

    def __init__(self, directory: Path, name: str, *flags: str, store: str = "store") -> None:
        self._directory = directory
        self._store = store
        self._flags = flags
        self.name = name
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.unix = f"unix:{directory / name}.sock"
        self.start()

    def start(self) -> None:
        self._log = self._directory / f"{self.name}.log"
        with open(self._log, "w") as log:
            self.process = subprocess.Popen(
                [BINARIES / "needletail-server", "--store", self._directory / self._store, "--allow-unsigned",
                 "--grace", "0", "--listen", self.address, "--admin", "none", "--unix", self.unix[5:],
                 "--log-format", "json", *self._flags],
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def until_ready(self) -> Server:
        end = time.monotonic() + 30
        while '"message":"ready"' not in (text := self._log.read_text()):
            assert self.process.poll() is None and time.monotonic() < end, text
            time.sleep(0.01)
        return self

    def end(self, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(30)


class Fleet:
    """The servers that all clients share, and what is needed to reach them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for model in MODELS:
            (directory / f"{model['name']}.json").write_text(json.dumps(model["document"]))
            for _ in range(model.get("versions", 1)):
                command(BINARIES / "needletail-trainer", "import", directory / f"{model['name']}.json",
                        "--publish", directory / "store", cwd=directory)  # fmt: skip
        self._make_certificates()
        keys = [self._key("all"), self._key("grid-only", "--models", "grid", "--calls", "predict")]
        self._rules = ["--feedback-rules", str(directory / "feedback.yaml")]
        (directory / "feedback.yaml").write_text('models: {"*": {}}\n')
        (directory / "keys.yaml").write_text("keys:\n" + "".join(entry for _, entry in keys))
        tls = ["--tls-certificate", str(directory / "server.pem"), "--tls-key", str(directory / "server.key")]
        self._servers = {
            "open": Server(directory, "open"),
            "keys": Server(directory, "keys", "--api-keys", str(directory / "keys.yaml")),
            "tls": Server(directory, "tls", *tls),
            "remembering": Server(directory, "remembering", *self._rules),
            "mtls": Server(directory, "mtls", *tls, "--tls-client-ca", str(directory / "ca.pem")),
        }
        self.names = {
            "$unix": self._servers["open"].unix,
            "$key": keys[0][0],
            "$grid_key": keys[1][0],
            "$nowhere": self._unused(),
            **{f"${name}": str(directory / name) for name in ("ca.pem", "other.pem", "client.pem", "client.key")},
        }
        for server in self._servers.values():
            server.until_ready()
            self.names[f"${server.name}"] = server.address

    def own(self) -> Server:
        """A server for one case, which may end it and start it again."""
        return Server(self._directory, "own").until_ready()

    def of_examples(self) -> Server:
        """A server with the model of the clients' READMEs."""
        run_file = Path(__file__).parents[3] / "deploy" / "examples" / "diabetes" / "train.yaml"
        command(BINARIES / "needletail-trainer", "train", run_file, "--publish", "examples", cwd=self._directory)
        return Server(self._directory, "examples", *self._rules, store="examples").until_ready()

    def close(self) -> None:
        for server in self._servers.values():
            server.end()

    @staticmethod
    def _unused() -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            return f"127.0.0.1:{free.getsockname()[1]}"

    @staticmethod
    def _key(name: str, *flags: str) -> tuple[str, str]:
        done = command(BINARIES / "needletail", "key", "generate", name, *flags)
        return done.stdout.strip(), done.stderr

    def _make_certificates(self) -> None:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"]
        for ca in ("ca", "other"):
            command("openssl", "req", "-x509", *curve, f"{ca}.key", "-subj", f"/CN={ca}", "-days", "2",
                    "-addext", "keyUsage=critical,keyCertSign", "-out", f"{ca}.pem", cwd=self._directory)  # fmt: skip
        for name in ("server", "client"):
            names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
            command("openssl", "req", "-new", *curve, f"{name}.key", "-subj", f"/CN={name}", "-addext", names,
                    "-out", "csr", cwd=self._directory)  # fmt: skip
            command("openssl", "x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                    "-copy_extensions", "copy", "-days", "2", "-out", f"{name}.pem", cwd=self._directory)  # fmt: skip
