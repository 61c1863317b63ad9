"""An experiment from the command line: begun by a rollout file, looked at, fed with outcomes and ended."""

import csv
import json


def check(run, expect, mistake, until, work):
    """The arms of a split are compared by the outcomes that are reported."""
    store = f"{work}/store"
    mistake("an experiment that there is none of", "experiment", "show", "wine", says="the server has none")
    mistake("the end of an experiment that there is none of", "experiment", "stop", "wine", "--store", store,
            says="expected a rollout.yaml with an experiment, found one without")  # fmt: skip
    mistake("an experiment without a split", "rollout", "set", "wine", "--store", store, "--experiment",
            "metric=accuracy", says="expected a split of at least two versions")  # fmt: skip
    mistake("an experiment about nothing known", "rollout", "set", "wine", "--store", store, "--split", "1=50,2=50",
            "--experiment", "metric=acuracy", says='did you mean "accuracy"?')  # fmt: skip
    done = run("rollout", "set", "wine", "--store", store, "--labels", "stable=1,canary=2", "--serve", "1",
               "--split", "stable=50,canary=50", "--experiment", "metric=accuracy,minimum_effect=0.01")  # fmt: skip
    expect(
        done.returncode == 0
        and "experiment: {metric: accuracy, error: 0.05, minimum_effect: 0.01, outcomes_max: 100000}" in done.stdout,
        "rollout set writes an experiment",
        (done.stdout, done.stderr),
    )
    done = run("rollout", "set", "wine", "--store", store, "--keep", "2")
    expect("experiment: {metric: accuracy" in done.stdout, "rollout set leaves an experiment as it is", done.stdout)

    def shown():
        done = run("experiment", "show", "wine", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    until("the experiment runs", lambda: shown().get("state") == "running")
    with open(f"{work}/run/predictions.csv", newline="") as file:
        truths = [row["target"] for row in csv.DictReader(file)]
    run("predict", "wine", "--input", f"{work}/run/test.csv", "--key", "wednesday", "--ignore-extra")
    with open(f"{work}/outcomes.csv", "w") as file:
        file.write("key,row,label\n")
        file.writelines(f"wednesday,{index},{truth}\n" for index, truth in enumerate(truths))
    run("feedback", "send", "wine", "--input", f"{work}/outcomes.csv")
    figures = shown()
    expect(
        [arm["outcomes"] for arm in figures["arms"]] == [1, 0] and figures["repeated"] == len(truths) - 1,
        "one outcome of each routing key, or of each call without one, counts",
        figures,
    )
    expect(figures["baseline"] == 1 and figures["evidence_needed"] == 20, "experiment show has JSON", figures)
    done = run("experiment", "show", "wine", "--fail-on-running")
    expect(done.returncode == 1 and "baseline" in done.stdout, "experiment show has a table and an exit status", done)
    mistake("an arm that there is none of", "experiment", "stop", "wine", "--store", store, "--promote", "other",
            says="expected an arm of the split (stable, canary)")  # fmt: skip
    mistake("two ends of an experiment", "experiment", "stop", "wine", "--store", store, "--promote", "canary",
            "--keep-split", says="expected one of them, found both", code=64)  # fmt: skip
    done = run("experiment", "stop", "wine", "--store", store)
    expect(
        done.returncode == 0 and "experiment:" not in done.stdout and "labels: {canary: 2, stable: 1}" in done.stdout,
        "experiment stop gives all requests to the baseline",
        (done.stdout, done.stderr),
    )
    until("it is over", lambda: run("experiment", "show", "wine").returncode == 1)
    run("rollout", "set", "wine", "--store", store, "--reset", "--serve", "latest")
