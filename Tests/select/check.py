"""check.py TRAINER WORK: runs the page's commands on the digits of deploy/examples, and reads what they write."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from label_studio_sdk.label_interface import LabelInterface

trainer, work = sys.argv[1], Path(sys.argv[2])
root = Path(__file__).resolve().parents[2]
page = (root / "Sources/Handbook/Handbook.docc/Labelling.md").read_text()
failures = []


def expect(holds, what, found=""):
    print(f"{'ok    ' if holds else 'FAILED'}  {what}{'' if holds else f': found {found!r}'}")
    if not holds:
        failures.append(what)


# Fifty labelled rows, and a pool of all others without their class.
with (root / "deploy/examples/digits/digits.csv").open() as file:
    header, *rows = list(csv.reader(file))
target = header[-1]
labelled, pool = rows[:150], rows[150:]
with (work / "data.csv").open("w") as file:
    csv.writer(file).writerows([header, *labelled])
with (work / "pool.csv").open("w") as file:
    csv.writer(file).writerows([["id", *header[:-1]], *([f"image-{k}", *row[:-1]] for k, row in enumerate(pool))])
(work / "run.yaml").write_text(f"data: {{ files: [data.csv] }}\ntarget: {{ column: {target}, task: classification }}\n"
                               "model: { family: logistic_regression }\ntracking: { record: false }\n")  # fmt: skip

[block] = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[:1]
commands = [line for line in block.replace("\\\n", "").splitlines() if line]
expect(len(commands) == 3, "the page has three commands", commands)
environment = {**os.environ, "PATH": f"{Path(trainer).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
for command in commands:
    done = subprocess.run(command, shell=True, cwd=work, env=environment, capture_output=True, text=True)
    expect(done.returncode == 0, command[:100], done.stderr)

with (work / "next.csv").open() as file:
    chosen = list(csv.DictReader(file))
expect(len(chosen) == 200, "200 rows are chosen", len(chosen))
expect([int(row["select_rank"]) for row in chosen] == list(range(1, 201)), "in their order")
expect(
    all(pool[int(row["select_row"]) - 1][:-1] == [row[name] for name in header[:-1]] for row in chosen),
    "with all of their columns",
)

with (work / "whole.csv").open("w") as file:
    csv.writer(file).writerows([header, *pool])
done = subprocess.run(
    [trainer, "evaluate", "out/model.ntb", "--data", "whole.csv", "--json"],
    cwd=work,
    env=environment,
    capture_output=True,
    text=True,
    check=True,
)
overall = json.loads(done.stdout)["test"]["accuracy"]

# A model that learned from the chosen rows as well knows more than one that learned from as many at random.
truth = {int(row["select_row"]) - 1: pool[int(row["select_row"]) - 1][-1] for row in chosen}


def accuracy(more):
    with (work / "data.csv").open("w") as file:
        csv.writer(file).writerows([header, *labelled, *(pool[k] for k in more)])
    rest = [row for k, row in enumerate(pool) if k not in truth and k not in set(more)][-700:]
    with (work / "rest.csv").open("w") as file:
        csv.writer(file).writerows([header, *rest])
    for command in (
        [
            trainer,
            "train",
            "run.yaml",
            "--output",
            "out",
            "--quiet",
            "--set",
            "split.test=0.05",
            "--set",
            "split.train=0.9",
            "--set",
            "split.validation=0.05",
        ],  # noqa: E501
        [trainer, "evaluate", "out/model.ntb", "--data", "rest.csv", "--json"],
    ):
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["test"]["accuracy"]


learned, drawn = accuracy(list(truth)), accuracy(range(0, 200))
print(f"        accuracy with 200 chosen rows {learned:.4f}, with the first 200 {drawn:.4f}")
expect(learned > drawn - 0.005, "chosen rows teach at least as much as the first ones", (learned, drawn))

tasks = json.loads((work / "tasks.json").read_text())
interface = LabelInterface((work / "labels.xml").read_text())
expect(interface.validate() is None, "Label Studio takes the labelling configuration")
# Its check of a task with predictions calls itself wrongly; data and predictions are checked one by one.
expect(all(interface.validate_task({"data": task["data"]}) for task in tasks), "and the data of every task")
predicted = [task for task in tasks if "predictions" in task]
expect(len(predicted) > 100 and len(tasks) == len(predicted) + 200, "sure rows have a prediction", len(predicted))
expect(
    all(interface.validate_prediction(one) for task in predicted for one in task["predictions"]), "and every prediction"
)
right = [
    task["predictions"][0]["result"][0]["value"]["choices"][0] == pool[task["data"]["select_row"] - 1][-1]
    for task in predicted
]
share = sum(right) / len(right)
print(f"        {len(right)} pre-labels, {share:.4f} of them right; of all rows {overall:.4f}")
# A logistic regression on a hundred rows is surer than it should be.
expect(share > overall + 0.03, "pre-labels above 0.98 are right more often than labels of all rows", (share, overall))
sys.exit(1 if failures else 0)
