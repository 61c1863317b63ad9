"""Serves models of entities and of answers, and compares what a caller reads.

Entities are compared with those of the pipeline of transformers, answers with those of plain loops over the logits of
its model.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import models

#: Score that two programs may differ by.
TOLERANCE = 1e-4
SECONDS = 30


class Served:
    """A server of the models of a store, asked by the Open Inference Protocol."""

    def __init__(self, programs: Path, store: Path, log: Path):
        command = [programs / "needletail-server", "--store", store, "--allow-unsigned", "--admin", "none"]
        command += ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json"]
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file)
        end = time.monotonic() + SECONDS
        while not (found := re.search(r'"http":"([^"]*)"', log.read_text())) or '"ready"' not in log.read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the server did not start:\n{log.read_text()}")
            time.sleep(0.02)
        self.address = found[1]

    def ask(self, model: str, columns: dict[str, list[str]]) -> dict[str, list[Any]]:
        """Asks about some rows. Returns each output's elements, of several dimensions row by row."""
        inputs = [
            {"name": name, "datatype": "BYTES", "shape": [len(texts)], "data": texts} for name, texts in columns.items()
        ]
        request = urllib.request.Request(
            f"http://{self.address}/v2/models/{model}/infer", json.dumps({"inputs": inputs}).encode()
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            outputs = json.load(response)["outputs"]
        return {output["name"]: rows(output["data"], output["shape"]) for output in outputs}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def rows(elements: list[Any], shape: list[int]) -> list[Any]:
    if len(shape) == 1:
        return elements
    return [elements[row * shape[1] : (row + 1) * shape[1]] for row in range(shape[0])]


def same(found: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]]) -> bool:
    """Whether places are the same: all but the scores exactly, and these nearly."""
    return [place[:-1] for place in found] == [place[:-1] for place in wanted] and all(
        abs(place[-1] - other[-1]) <= TOLERANCE for place, other in zip(found, wanted)
    )


def entities(made: models.Folder, server: Served, name: str) -> bool:
    """Kinds, texts, characters and scores, beside the pipeline's."""
    answer = server.ask(name, {"text": made.texts})
    for row, text in enumerate(made.texts):
        parts = [answer[f"entity_{part}"][row] for part in ("label", "text", "start", "end", "score")]
        found = [place for place in zip(*parts) if place[0]]
        wanted = [
            (one["entity_group"], text[one["start"] : one["end"]], one["start"], one["end"], float(one["score"]))
            for one in made.pipeline(text)[: models.ENTITIES_MAX]
        ] if text else []  # fmt: skip
        if not same(found, wanted):
            print(f"{name}: {text!r}: expected {wanted}, found {found}")
            return False
    return True


def answers(made: models.Folder, server: Served, name: str) -> bool:
    """Texts, characters and scores, beside plain loops over the model's logits."""
    asked = made.rows()
    columns = {"question": [question for question, _ in asked], "context": [context for _, context in asked]}
    answer = server.ask(name, columns)
    for row, (_, context) in enumerate(asked):
        found = tuple(answer[f"answer_{part}"][row] for part in ("text", "start", "end", "score"))
        start, end, score = made.answer(asked[row]).values()
        whole = context.encode()
        before = [len(whole[: int(place)].decode()) for place in (start, end)]
        if not same([found], [(context[before[0] : before[1]], *before, score)]):
            print(f"{name}: {asked[row]!r}: expected {before} and {score}, found {found}")
            return False
    return True


def check(trainer: str, work: Path, folders: list[models.Folder]) -> bool:
    """Serves some folders and compares the answers. Prints a line."""
    store = work / "store"
    store.mkdir()
    names = []
    for index, made in enumerate(folders):
        names.append(f"{made.shape.head}-{index}")
        command = [trainer, "import", made.path, "--model", names[-1], "--precision", "fp32", "--publish", store]
        command += ["--output", work / f"{names[-1]}.ntb"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{command}\n{done.stderr}")
    server = Served(Path(trainer).parent, store, work / "server.log")
    try:
        good = True
        for name, made in zip(names, folders):
            good &= (entities if made.shape.head == "entities" else answers)(made, server, name)
    finally:
        server.stop()
    print(f"served: entities and answers of {len(folders)} models as text, {'all' if good else 'NOT all'} as expected")
    return good
