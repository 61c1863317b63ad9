"""Reporting outcomes from the command line, and what is shown and exported of them."""

import csv
import json


def check(run, expect, mistake, until, work):
    """Outcomes of a file are joined with named predictions, shown, and exported beside captured calls."""
    with open(f"{work}/run/test.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:20]
    with open(f"{work}/few.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    done = run("predict", "wine", "--input", f"{work}/few.csv", "--key", "monday", "--ignore-extra", "--json")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    with open(f"{work}/run/predictions.csv", newline="") as file:
        truths = [row["target"] for row in csv.DictReader(file)][:20]
    with open(f"{work}/outcomes.csv", "w") as file:
        file.write("key,row,label\n")
        file.writelines(f"monday,{index},{truth}\n" for index, truth in enumerate(truths))
    done = run("feedback", "send", "wine", "--input", f"{work}/outcomes.csv")
    expect(
        done.returncode == 0 and done.stdout == "20 of 20 outcomes joined\n",
        "feedback send joins outcomes of a file",
        (done.stdout, done.stderr),
    )
    done = run("feedback", "send", "wine", "--input", f"{work}/outcomes.csv", "--json", "--lenient")
    expect(done.returncode == 0 and json.loads(done.stdout)["duplicate"] == 20, "the same outcomes count once", done)
    done = run("feedback", "send", "wine", "--key", "tuesday", "--label", "class_0")
    expect(
        done.returncode == 1 and done.stdout == "0 of 1 outcomes joined; 1 unknown\n" and "outcomes[0]" in done.stderr,
        "an outcome of an unknown call says so",
        done,
    )
    right = sum(answer["label"] == truth for answer, truth in zip(answers, truths, strict=True))
    shown = json.loads(run("feedback", "show", "wine", "--json").stdout)
    [version] = shown["versions"]
    [arm] = version["arms"]
    expect(
        arm["role"] == "assigned" and arm["figures"]["rows"] == 20 and arm["figures"]["accuracy"] == right / 20,
        "feedback show gives the accuracy",
        shown,
    )
    large = sum(float(row["proline"]) >= 700 for row in rows)
    groups = {group["group"]: group["figures"]["rows"] for group in version["groups"]}
    expect(groups == {"below 700": 20 - large, "from 700": large}, "and that of the groups", groups)
    done = run("feedback", "show", "wine")
    expect("proline = from 700" in done.stdout and "few outcomes" in done.stdout, "feedback show has a table", done)
    mistake("feedback of an unknown model", "feedback", "show", "vine", says="found wine")
    mistake("feedback without an outcome", "feedback", "send", "wine", "--key", "a", says="--label or --value", code=64)
    mistake("a file without keys", "feedback", "send", "wine", "--input", f"{work}/few.csv", says="a column key")

    def exported():
        done = run("capture", "export", f"{work}/capture", "--model", "wine", "--format", "jsonl")
        return [call for call in map(json.loads, done.stdout.splitlines()) if "outcomes" in call]

    until("captured calls have their outcomes", lambda: len(exported()) == 1)
    [call] = exported()
    expect([outcome["label"] for outcome in call["outcomes"]] == truths, "as they were reported", call["outcomes"])
    table = list(csv.DictReader(run("capture", "export", f"{work}/capture", "--model", "wine").stdout.splitlines()))
    found = [row["outcome.value"] for row in table if row["call.key"] == call["key"]]
    expect(found == truths, "and in CSV beside their rows", found)
    since = ("capture", "export", f"{work}/capture", "--model", "wine", "--since")
    found = list(csv.DictReader(run(*since, call["time"]).stdout.splitlines()))
    found = [row["outcome.value"] for row in found if row["call.key"] == call["key"]]
    expect(found == truths, "a call that arrived at the time that was asked for is exported", found)
    later = call["time"].replace("Z", "+00:00").replace("20", "30", 1)
    mistake("captures of a time to come", *since, later, says="expected calls, found none")
    mistake("a time that is none", *since, "yesterday", says="--since", code=64)
