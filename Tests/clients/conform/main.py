"""Runs each client's driver through the cases of cases.json, and prints a line for each case that fails.

    main.py NAME=COMMAND...     a driver reads requests as JSON, one a line, and answers one line each

README.md of clients/ says what a driver understands.
"""

from __future__ import annotations

import json
import math
import os
import re
import selectors
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from fake import FakeServer, golden_request, golden_response
from needletail.v1 import inference_pb2 as pb
from readme import examples
from servers import MODELS, Fleet, Server

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases.json").read_text())
#: A driver that says nothing for so long hangs.
ANSWER_SECONDS_MAX = 20
#: A case that takes longer is named.
SLOW_SECONDS = 3.0
#: fp32 of an answer against the fp64 of the references.
TOLERANCE = 1e-6
NUMPY = {"FLOAT32": "<f4", "FLOAT64": "<f8", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
         "UINT8": "u1", "BOOL": "?"}  # fmt: skip


class Driver:
    """A client's process."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                shlex.split(self._line), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request, ensure_ascii=False) + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(ANSWER_SECONDS_MAX):
                self.kill()
                raise AssertionError(f"expected an answer within {ANSWER_SECONDS_MAX} s, found none")
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"expected an answer, found the end of the driver, exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def finish(self) -> int:
        """Its exit code, after the end of its input: leaks that a sanitizer finds are one."""
        if self._process is None or self._process.poll() is not None or self._process.stdin is None:
            return 1
        self._process.stdin.close()
        return self._process.wait(30)


def values_of(tensor: pb.Tensor) -> dict[str, Any]:
    """A golden tensor as a driver is given it, and gives it."""
    kind = pb.DataType.Name(tensor.type)
    if tensor.type == pb.STRING:
        values: list[Any] = [text.decode() for text in tensor.strings]
    else:
        values = [None if value != value else value for value in np.frombuffer(tensor.data, NUMPY[kind]).tolist()]
    return {"name": tensor.name, "type": kind, "shape": list(tensor.shape), "values": values}


def expand(step: dict[str, Any]) -> dict[str, Any]:
    """A request to a driver, with what the golden vectors and abbreviations of a case stand for."""
    request = {key: value for key, value in step.items() if key not in ("expect", "golden", "within_ms", "after_ms")}
    if "golden" in step:
        predict = golden_request(step["golden"]).predict
        request |= {"model": predict.model, "inputs": [values_of(tensor) for tensor in predict.inputs]}
        selector = predict.WhichOneof("selector")
        if selector:
            request[selector] = getattr(predict, selector)
        if predict.outputs:
            request["outputs"] = list(predict.outputs)
        if predict.routing_key:
            request["routing_key"] = predict.routing_key
        if predict.priority:
            request["bulk"] = True
    inputs = []
    for tensor in request.get("inputs", []):
        count = tensor.get("repeat", 1)
        values = ["x" * tensor["text_bytes"]] if "text_bytes" in tensor else tensor["values"]
        shape = tensor.get("shape") or [len(values)]
        inputs.append(
            {"name": tensor["name"], "type": tensor["type"], "shape": [shape[0] * count, *shape[1:]],
             "values": values * count}
        )  # fmt: skip
    if inputs:
        request["inputs"] = inputs
    if "outcomes" in request:
        request["outcomes"] = [outcome for told in request["outcomes"] for outcome in outcomes_of(told)]
    return request


def outcomes_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    """An outcome of a case: "repeat" stands for the same one many times, "rows" for one of each row."""
    outcome = {name: value for name, value in told.items() if name not in ("repeat", "rows")}
    if "rows" in told:
        return [outcome | {"row": row} for row in range(told["rows"])]
    return [outcome] * told.get("repeat", 1)


def expectation(expected: dict[str, Any]) -> dict[str, Any]:
    """What an answer must be, from a golden response if the case names one."""
    if "golden" not in expected:
        return expected
    response = golden_response(expected["golden"])
    if response.status.code:
        error = {"code": pb.StatusCode.Name(response.status.code), "message": response.status.message}
        detail = response.status.detail
        error |= {"retry_after_us": response.status.retry_after_us, "field": detail.field}
        error["row"] = detail.row if detail.HasField("row") else None
        limit = detail.limit
        found = {"name": limit.name, "maximum": limit.maximum, "found": limit.found}
        return {"error": error | {"limit": found if detail.HasField("limit") else None}}
    if response.HasField("predict"):
        answer = response.predict
        timing = {name: getattr(answer.timing, name) for name in ("queue_us", "compute_us", "batch_rows")}
        outputs = {tensor.name: values_of(tensor) for tensor in answer.outputs}
        return {"model": answer.model, "version": answer.version, "outputs": outputs, "timing": timing}
    if response.HasField("metrics"):
        return {"text": response.metrics.text}
    if response.HasField("server_info"):
        info = response.server_info
        names = ("rows_max", "request_bytes_max", "text_bytes_max", "idle_ms")
        return {
            "name": info.name, "version": info.version, "isa": info.isa, "features": list(info.features),
            "limits": {name: getattr(info.limits, name) for name in names},
        }  # fmt: skip
    if response.HasField("feedback"):
        counts = ("joined", "unknown", "late", "duplicate", "contradictory", "invalid")
        report: dict[str, Any] = {name: getattr(response.feedback, name) for name in counts}
        parts = ("index", "result", "message")
        told = [{name: getattr(each, name) for name in parts} for each in response.feedback.problems]
        return report | {"problems": told}
    if response.HasField("describe_model"):
        model = response.describe_model
        return {
            "model": model.model, "version": model.version, "state": pb.VersionState.Name(model.state).lower(),
            "task": model.task, "labels": list(model.labels), "inputs": [spec_of(spec) for spec in model.inputs],
            "outputs": [spec_of(spec) for spec in model.outputs],
        }  # fmt: skip
    models = response.health.models if response.HasField("health") else response.list_models.models
    answer = {"models": [model_of(model) for model in models]}
    if response.HasField("health"):
        answer |= {"live": response.health.live, "ready": response.health.ready}
    return answer


def spec_of(spec: pb.TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "type": pb.DataType.Name(spec.type), "shape": list(spec.shape),
            "categories": list(spec.categories), "optional": spec.optional}  # fmt: skip


def model_of(model: pb.ModelStatus) -> dict[str, Any]:
    versions = [
        {"version": each.version, "state": pb.VersionState.Name(each.state).lower(), "reason": each.reason}
        for each in model.versions
    ]
    return {"model": model.model, "serving_version": model.serving_version, "versions": versions}


def differences(expected: Any, found: Any, path: str = "answer") -> list[str]:
    """Where what was found is not what a case expects; an object may hold more than is expected."""
    if isinstance(expected, dict) and "matches" in expected:
        good = isinstance(found, str) and re.search(expected["matches"], found)
        return [] if good else [f"{path}: expected text like {expected['matches']!r}, found {found!r}"]
    if isinstance(expected, dict) and "length" in expected:
        good = isinstance(found, str) and len(found) == expected["length"]
        return [] if good else [f"{path}: expected a text of {expected['length']}, found {str(found)[:80]!r}"]
    if isinstance(expected, dict) and "one_of" in expected:
        good = any(not differences(choice, found, path) for choice in expected["one_of"])
        return [] if good else [f"{path}: expected one of {expected['one_of']}, found {found!r}"]
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            if isinstance(found, list):  # outputs, by name
                return differences(expected, {item["name"]: item for item in found}, path)
            return [f"{path}: expected {expected}, found {found!r}"]
        return [text for key, value in expected.items() for text in differences(value, found.get(key), f"{path}.{key}")]
    if isinstance(expected, list):
        if isinstance(found, dict):
            found = found.get("values")
        if not isinstance(found, list) or len(found) != len(expected):
            return [f"{path}: expected {expected}, found {found!r}"]
        return [text for place, (wanted, got) in enumerate(zip(expected, found))
                for text in differences(wanted, got, f"{path}[{place}]")]  # fmt: skip
    if isinstance(expected, float) and isinstance(found, (int, float)):
        good = abs(expected - found) <= TOLERANCE * max(1.0, abs(expected))
        return [] if good else [f"{path}: expected {expected}, found {found}"]
    return [] if expected == found else [f"{path}: expected {expected!r}, found {found!r}"]


class Case:
    """One case, with one client."""

    def __init__(self, case: dict[str, Any], driver: Driver, fleet: Fleet) -> None:
        self._case = case
        self._driver = driver
        self._fleet = fleet
        self._names = dict(fleet.names)
        self._fake: FakeServer | None = None
        self._own: Server | None = None

    def run(self) -> list[str]:
        kind = self._case.get("server", "open")
        if kind == "fake":
            self._fake = FakeServer(self._case["scripts"])
        elif kind == "own":
            self._own = self._fleet.own()
        address = self._fake.address if self._fake else self._own.address if self._own else self._names[f"${kind}"]
        problems: list[str] = []
        try:
            opening = {"do": "open", "client": "a", "address": address, **self._case.get("options", {})}
            self._driver.ask(self._named(opening))
            for number, step in enumerate(self._case["steps"] * self._case.get("repeat", 1)):
                problems += [f"step {number + 1}: {text}" for text in self._step(step)]
        except (AssertionError, ValueError, KeyError) as error:
            self._driver.kill()
            problems.append(f"{type(error).__name__}: {error}")
        else:
            self._driver.ask({"do": "close", "client": "a"})
        finally:
            if self._fake:
                problems += self._fake.problems
                self._fake.close()
            if self._own:
                self._own.end(kill=True)
        return problems

    def _step(self, step: dict[str, Any]) -> list[str]:
        if "wait_for" in step:
            assert self._fake
            good = self._fake.wait_for(step["wait_for"], step["count"])
            return [] if good else [f"{step['wait_for']}: expected {step['count']}, found fewer"]
        if "count_of" in step:
            found = getattr(self._fake, step["count_of"])
            return [] if found == step["is"] else [f"{step['count_of']}: expected {step['is']}, found {found}"]
        if "process" in step:
            assert self._own
            if step["process"] == "start":
                self._own.start()
                self._own.until_ready()
            else:
                self._own.end(kill=step["process"] == "kill")
            return []
        began = time.monotonic()
        answer = self._driver.ask(self._named(expand({"client": "a", **step})))
        ms = (time.monotonic() - began) * 1000
        problems = differences(expectation(step.get("expect", {"ok": True})), answer)
        if ms > step.get("within_ms", math.inf) or ms < step.get("after_ms", 0):
            problems.append(f"time: expected {step.get('after_ms', 0)} to {step.get('within_ms')} ms, found {ms:.0f}")
        return problems

    def _named(self, value: Any) -> Any:
        """Replaces $names by what they stand for."""
        if isinstance(value, dict):
            return {key: self._named(item) for key, item in value.items()}
        return self._names.get(value, value) if isinstance(value, str) else value


# ---------------------------------------------------------------- references


def reference(model: str, rows: list[list[Any]]) -> np.ndarray[Any, Any]:
    """What the trees of models.json answer, walked with numpy in fp64."""
    document = next(entry["document"] for entry in MODELS if entry["name"] == model)
    categories = [feature.get("categories") for feature in document["features"]]
    answers = []
    for row in rows:
        total = np.array(document.get("start", [0.0] * document["outputs"]))
        for tree in document["trees"]:
            node = 0
            while tree["left"][node] >= 0:
                column = tree["feature"][node]
                value, known = row[column], categories[column]
                if value is None or value == "":
                    left = tree["missing_left"][node]
                elif known:
                    left = known.index(value) in tree["sets"][node]
                else:
                    left = np.float64(value) <= tree["threshold"][node]
                node = tree["left" if left else "right"][node]
            width = document["leaf_width"]
            total = total + np.array(tree["value"][node * width : (node + 1) * width])
        answers.append(total)
    return np.array(answers)


def check_references() -> None:
    """The numbers that cases.json expects of real models are those of the reference."""
    checked = 0
    for case in CASES:
        for step in case["steps"]:
            wanted = step.get("expect", {}).get("outputs", {})
            wanted = wanted.get("prediction", wanted.get("probabilities"))
            if not isinstance(wanted, list) or case.get("server") == "fake" or "inputs" not in step:
                continue
            inputs = step["inputs"]
            if inputs[0]["name"] == "features":
                columns = inputs[0]["shape"][1]
                rows = [inputs[0]["values"][place : place + columns]
                        for place in range(0, len(inputs[0]["values"]), columns)]  # fmt: skip
            else:
                model = next(entry["document"] for entry in MODELS if entry["name"] == step["model"])
                by_name = {tensor["name"]: tensor["values"] for tensor in inputs}
                rows = [list(row) for row in zip(*(by_name[feature["name"]] for feature in model["features"]))]
            found = reference(step["model"], rows).ravel().tolist()
            assert not differences([float(value) for value in wanted], found), f"{case['name']}: {wanted} {found}"
            checked += 1
    print(f"{checked} expected answers agree with the numpy reference")


def main() -> int:
    check_references()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        fleet = Fleet(Path(scratch))
        try:
            for argument in sys.argv[1:]:
                name, line = argument.split("=", 1)
                failed += run_all(name, Driver(line), fleet)
            server = fleet.of_examples()
            for client in os.environ.get("CONFORMANCE_READMES", "").split():
                for problem in examples(client, server.address, Path(scratch)):
                    failed += 1
                    print(f"FAIL {client}: {problem}", flush=True)
            server.end()
        finally:
            fleet.close()
    return 1 if failed else 0


def run_all(name: str, driver: Driver, fleet: Fleet) -> int:
    began, passed, failed = time.monotonic(), 0, 0
    lacks = driver.ask({"do": "lacks"}).get("lacks", [])
    left_out = [case["name"] for case in CASES if set(case.get("needs", [])) & set(lacks)]
    for case in CASES:
        if case["name"] in left_out:
            continue
        case_began = time.monotonic()
        problems = Case(case, driver, fleet).run()
        if (seconds := time.monotonic() - case_began) > SLOW_SECONDS:
            print(f"slow {name}: {case['name']}: {seconds:.1f} s", flush=True)
        passed, failed = passed + (not problems), failed + bool(problems)
        for problem in problems:
            print(f"FAIL {name}: {case['name']}: {problem}", flush=True)
    code = driver.finish()
    if code != 0:
        failed += 1
        print(f"FAIL {name}: expected the driver to end with 0, found {code}")
    lacking = f", without what the client lacks by design: {', '.join(left_out)}" if left_out else ""
    print(f"{name}: {passed} passed, {failed} failed in {time.monotonic() - began:.1f} s{lacking}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
