#!/usr/bin/env python3
"""Publishes into buckets and serves from them, with faults of every kind between the programs and the store."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reliability" / "faults"))
import boto3
from bundles import MODEL, bundle
from figures import Figures
from front import KEY, REGION, SECRET, Front
from harness import EXAMPLES, Server, Workspace, arguments, main, until
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from stores import Checker, serving, states

BUCKET, PREFIX = "models", "team/production"
# A model of LightGBM: one tree with two leaves.
STUMP = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=0
objective=regression
feature_names=a
feature_infos=[0:3]

Tree=0
num_leaves=2
num_cat=0
split_feature=0
threshold=1.5
decision_type=8
left_child=-1
right_child=-2
leaf_value=-0.25 0.5
is_linear=0
shrinkage=1


end of trees

pandas_categorical:null
"""


class Bucket:
    """A bucket behind a front, as the programs are told of it, and as boto3 sees it."""

    def __init__(self, work: Workspace, upstream: tuple[str, int], certificate: Path | None = None) -> None:
        self.work = work
        self.front = Front(upstream, certificate)
        scheme = "https" if certificate else "http"
        self.endpoint = f"{scheme}://127.0.0.1:{self.front.port}"
        self.location = f"s3://{BUCKET}/{PREFIX}?endpoint={self.endpoint}&region={REGION}"
        if certificate:
            self.location += f"&ca={certificate}"
        self.environment = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "HOME": str(work.directory)}
        # Past the front: what the tests do themselves meets no faults.
        self.client = boto3.client(
            "s3", endpoint_url=f"http://{upstream[0]}:{upstream[1]}", region_name=REGION, aws_access_key_id="x",
            aws_secret_access_key="y",
        )  # fmt: skip

    def put(self, path: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{path}", Body=data)

    def release(self, version: int) -> None:
        self.put(f"{MODEL}/{version}.ntb", bundle(version))

    def delete(self, path: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{path}")

    def paths(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX).get("Contents", [])
        return [item["Key"].removeprefix(PREFIX + "/") for item in found]

    def data(self, path: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=f"{PREFIX}/{path}")["Body"].read())

    def start(self, program: str, *arguments: Any, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.work.programs / program, *arguments], env=os.environ | self.environment | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, program: str, *arguments: Any, **environment: str) -> tuple[int, str]:
        child = self.start(program, *arguments, **environment)
        output, _ = child.communicate(timeout=60)
        return child.returncode, output

    def publish(self, file: Path, *options: str, **environment: str) -> tuple[int, str]:
        return self.run("needletail-trainer", "publish", file, "--store", self.location, *options, **environment)

    def server(self, name: str, *flags: str, wait: bool = True) -> Server:
        settings = {"models": {"rescan_milliseconds": 200}, "state_directory": str(self.work.directory / name)}
        return self.work.server(*flags, store=self.location, settings=settings, environment=self.environment, wait=wait)  # type: ignore[arg-type]


def check(figures: Figures, what: str, holds: bool, seen: object = "") -> None:
    figures.row(what, "yes", "yes" if holds else f"no: {str(seen)[-300:]}", holds, required=True)


def publishing(figures: Figures, bucket: Bucket) -> None:
    work = bucket.work
    file = work.directory / "model.ntb"
    file.write_bytes(bundle(7))
    code, output = bucket.publish(file)
    check(figures, "publish into an empty bucket", code == 0 and f"{PREFIX}/{MODEL}/1.ntb" in output, output)
    before = bucket.data(f"{MODEL}/1.ntb")
    code, output = bucket.publish(file, "--version", "1")
    check(figures, "a version that is there is refused", code != 0 and "expected no such version" in output, output)
    children = [bucket.start("needletail-trainer", "publish", file, "--store", bucket.location) for _ in range(6)]
    outputs = [child.communicate()[0] for child in children]
    versions = sorted(int(path.split("/")[1][:-4]) for path in bucket.paths() if path.endswith(".ntb"))
    check(figures, "six publishers at once take six versions", versions == list(range(1, 8)), (versions, outputs))
    check(figures, "nobody replaced the first", bucket.data(f"{MODEL}/1.ntb") == before)
    code, output = bucket.publish(file, AWS_SECRET_ACCESS_KEY="wrong")
    bucket.front.complaints.clear()
    check(figures, "a wrong secret is said", code != 0 and "SignatureDoesNotMatch" in output, output)
    bucket.front.befall("drop", 1, "PUT")
    code, output = bucket.publish(file)
    check(figures, "a publish whose request was lost succeeds", code == 0, output)
    large = work.directory / "large.ntb"
    large.write_bytes(bundle(1, model="large", weight_bytes=36 << 20))
    posts = bucket.front.seen["POST"]
    code, output = bucket.publish(large)
    is_whole = code == 0 and len(bucket.data("large/1.ntb")) > 32 << 20
    check(figures, "a large bundle goes in parts", is_whole and bucket.front.seen["POST"] == posts + 2, output)
    code, output = bucket.publish(large, "--version", "1")
    check(figures, "parts replace no version either", code != 0 and "expected no such version" in output, output)
    bucket.delete("large/1.ntb")


def training(figures: Figures, bucket: Bucket) -> None:
    work = bucket.work
    run = work.directory / "wine.yaml"
    run.write_text(
        f'data: {{ files: ["{EXAMPLES}/wine/wine.csv"] }}\ntarget: {{ column: cultivar, task: classification }}\n'
        "model: { family: nearest_centroid }\npublish: { model: wine }\n"
    )
    command = ("train", run, "--output", work.directory / "wine", "--publish", bucket.location, "--quiet")
    code, output = bucket.run("needletail-trainer", *command)
    check(figures, "train publishes", code == 0 and "wine/1.ntb" in bucket.paths(), output)
    code, output = bucket.run("needletail-trainer", *command, "--if-better", "accuracy")
    check(figures, "a model that is not better is kept out", code == 3 and "wine/2.ntb" not in bucket.paths(), output)
    (work.directory / "stump.txt").write_text(STUMP)
    command_to_import = ("import", work.directory / "stump.txt", "--publish", bucket.location, "--quiet", "--output")
    code, output = bucket.run("needletail-trainer", *command_to_import, work.directory / "stump.ntb")
    check(figures, "import publishes", code == 0 and "stump/1.ntb" in bucket.paths(), output)
    bucket.delete("stump/1.ntb")
    bucket.front.stop()
    began = time.monotonic()
    code, output = bucket.run("needletail-trainer", *command)
    bucket.front.start()
    is_said = code not in (0, 3) and "expected a store that can be written" in output
    check(figures, "a bucket out of reach is said before training", is_said and time.monotonic() - began < 8, output)
    bucket.delete("wine/1.ntb")


def faults(figures: Figures, bucket: Bucket, server: Server, version: int) -> int:
    """Releases a version under each fault, which the server must serve all the same."""
    for fault, times in [
        ("throttle", 2),
        ("fail", 1),
        ("drop", 2),
        ("torn", 1),
        ("shorter", 1),
        ("longer", 1),
        ("late", 1),
    ]:
        version += 1
        bucket.front.befall(fault, times)
        bucket.release(version)
        until(f"version {version} under {fault}", lambda wanted=version: serving(server) == wanted)
    for fault in ("throttle", "drop", "torn", "late"):
        version += 1
        bucket.front.befall(fault, 1, "LIST")
        bucket.release(version)
        until(f"version {version} under {fault} listings", lambda wanted=version: serving(server) == wanted)
    for fault, outcome in (("deny", "denied"), ("silent", "timeout")):
        bucket.front.befall(fault, 1, "LIST")
        until(
            f"{outcome} listings to be counted",
            lambda wanted=outcome: server.metric("needletail_store_requests_total", outcome=wanted) > 0,
        )
        version += 1
        bucket.release(version)
        until(f"version {version} after {outcome} listings", lambda wanted=version: serving(server) == wanted)
    check(figures, "served under 13 kinds of faults", serving(server) == version)
    retries = server.metric("needletail_store_retries_total")
    check(figures, "faults and retries are counted", retries >= 8, retries)
    # A flipped bit reaches the loader only if nobody noticed it on the way: the publisher's hash does.
    version += 1
    file = bucket.work.directory / "model.ntb"
    file.write_bytes(bundle(version))
    bucket.front.befall("flip", 1)
    bucket.publish(file)
    until(f"version {version} after a flipped bit", lambda: states(server).get(version) == "live", 40)
    figures.told("a flipped bit on the way", "noticed, loaded again")
    return version


def outage(figures: Figures, bucket: Bucket, server: Server, checker: Checker, version: int) -> None:
    bucket.front.stop()
    until("the outage to show", lambda: server.metric("needletail_store_reachable") == 0)
    answered = checker.answered
    until("calls during the outage", lambda: checker.answered > answered + 200)
    check(figures, "ready during an outage", server.is_ready() and serving(server) == version)
    check(figures, "the outage is an event", "store out of reach" in server.log())
    checker.stop()
    check(figures, "stops during an outage", server.stop() == 0)

    restarted = bucket.server("state")
    until("the restarted server to serve", lambda: serving(restarted) == version)
    check(figures, "a restart without the store serves the same", restarted.is_ready())
    hits = restarted.metric("needletail_store_cache_reads_total", outcome="hit")
    check(figures, "it read its cache", hits >= 1, hits)
    restarted.stop()

    cached = sorted(
        (bucket.work.directory / "state" / "store-cache").glob(f"*/{MODEL}/*.ntb"),
        key=lambda path: int(path.name.split(".")[0]),
    )
    damaged = bytearray(cached[-1].read_bytes())
    damaged[-1] ^= 1
    cached[-1].write_bytes(damaged)
    older = int(cached[-2].name.split(".")[0])
    restarted = bucket.server("state")
    until("an older version instead of a damaged one", lambda: serving(restarted) == older)
    damages = restarted.metric("needletail_store_cache_reads_total", outcome="damaged")
    check(figures, "a damaged copy is not served", damages == 1, damages)
    bucket.front.start()
    until("the damaged one from the store", lambda: serving(restarted) == version)
    until("the end of the outage to be said", lambda: "store within reach again" in restarted.log())
    check(figures, "the store's end of an outage is followed", restarted.metric("needletail_store_reachable") == 1)

    bucket.delete(f"{MODEL}/{version}.ntb")
    until("the copy to go with the object", lambda: not cached[-1].exists())
    restarted.stop()
    bucket.front.stop()
    restarted = bucket.server("state")
    until("the withdrawn version to stay away", lambda: serving(restarted) == older)
    check(figures, "a withdrawn version does not come back", states(restarted).get(version) is None)
    restarted.stop()
    empty = bucket.server("empty", wait=False)
    until("a first start in an outage to say so", lambda: "store out of reach" in empty.log())
    check(figures, "a first start waits for the store", not states(empty))
    bucket.front.start()
    until("it to serve once the store is there", lambda: serving(empty) == older)
    empty.stop()


def orders(figures: Figures, bucket: Bucket, server: Server, version: int) -> None:
    command = ("rollout", "set", MODEL, "--store", bucket.location)
    code, output = bucket.run("needletail", *command, "--serve", str(version - 1))
    until("the older version by rollout.yaml", lambda: serving(server) == version - 1)
    check(
        figures, "rollout set writes into the bucket", code == 0 and f"{PREFIX}/{MODEL}/rollout.yaml" in output, output
    )
    code, output = bucket.run("needletail", *command, "--serve", "latest")
    until("the latest version by rollout.yaml", lambda: serving(server) == version)
    bucket.put(f"{MODEL}/rollout.yaml", b"serve: [")
    bucket.put("stray.txt", b"?")
    until("misplaced objects to be told", lambda: server.metric("needletail_store_problems") == 2)
    check(figures, "wrong orders change nothing", serving(server) == version)
    bucket.delete("stray.txt")
    bucket.delete(f"{MODEL}/rollout.yaml")


def other_doors(figures: Figures, work: Workspace, upstream: tuple[str, int], version: int) -> None:
    certificate = work.directory / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", certificate, "-out", work.directory / "only.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate.write_text(certificate.read_text() + (work.directory / "only.pem").read_text())
    encrypted = Bucket(work, upstream, certificate)
    encrypted.front.clock_offset = -3600
    encrypted.front.page_objects = 2
    credentials = work.directory / "credentials"
    credentials.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    encrypted.environment = {"HOME": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": str(credentials)}
    server = encrypted.server("encrypted")
    until("a server over TLS", lambda: serving(server) == version)
    check(figures, "TLS, a clock one hour off, pages of two, a credentials file", not encrypted.front.complaints)
    server.stop()
    code, output = encrypted.run(
        "needletail-server", "--check", "--store", encrypted.location.split("&ca=")[0], "--allow-unsigned",
        "--state-directory", work.directory / "encrypted",
    )  # fmt: skip
    check(figures, "--check passes over a store that may be out of reach", code == 0, output)
    credentials.write_text("[default]\naws_access_key_id = other\naws_secret_access_key = x\n")
    code, output = encrypted.run(
        "needletail-server", "--check", "--store", encrypted.location, "--allow-unsigned", "--state-directory",
        work.directory / "encrypted",
    )  # fmt: skip
    check(figures, "--check says that the store refuses", code != 0 and "InvalidAccessKeyId" in output, output)
    encrypted.front.stop()


def script() -> Figures:
    options = arguments(__doc__ or "")
    figures = Figures("s3", options.json)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    try:
        with Workspace("s3") as work:
            upstream = moto.get_host_and_port()
            bucket = Bucket(work, upstream)
            bucket.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
            publishing(figures, bucket)
            training(figures, bucket)
            for path in bucket.paths():
                bucket.delete(path)
            bucket.release(1)
            server = bucket.server("state")
            checker = Checker(server)
            checker.wait(1)
            version = faults(figures, bucket, server, 1)
            outage(figures, bucket, server, checker, version)
            figures.none_of("failed calls under faults and in the outage", checker.failed)
            figures.none_of("wrong answers", checker.wrong)
            bucket.release(version)
            bucket.release(version + 1)
            server = bucket.server("orders")
            until("the last server", lambda: serving(server) == version + 1)
            orders(figures, bucket, server, version + 1)
            server.stop()
            other_doors(figures, work, upstream, version + 1)
            check(
                figures,
                "botocore agrees with every signature",
                not bucket.front.complaints,
                bucket.front.complaints[:3],
            )
    finally:
        moto.stop()
    return figures


if __name__ == "__main__":
    main(script)
