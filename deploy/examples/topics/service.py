"""What callers of the model `topics` do.

    service.py ask ADDRESS TEXT...             the topic of each text, asked one by one
    service.py evaluate ADDRESS RUN            all texts that were held out, in one call: the share of right answers
    service.py traffic ADDRESS RUN VERSION     calls with one of them each until VERSION answers; no call may fail

RUN is the directory that a training run left behind.
"""

import csv
import sys
import time

from needletail import Client

#: Seconds until the next version has to answer.
PATIENCE = 60


def column(path, name):
    with open(path, newline="", encoding="utf-8") as file:
        return [row[name] for row in csv.DictReader(file)]


def ask(client, *texts):
    for text in texts:
        answer = client.predict("topics", {"text": [text]})
        print(f"{answer.label[0]:10} {float(answer.probabilities[0].max()):.2f}  {text}")


def evaluate(client, run):
    texts, topics = column(f"{run}/test.csv", "text"), column(f"{run}/predictions.csv", "target")
    answer = client.predict("topics", {"text": texts})
    right = sum(found == topic for found, topic in zip(answer.label, topics, strict=True))
    print(f"{right / len(texts):.4f}")


def traffic(client, run, version):
    texts = column(f"{run}/test.csv", "text")
    versions, taken, until = set(), [], time.monotonic() + PATIENCE
    print("calling", flush=True)
    while int(version) not in versions:
        if time.monotonic() > until:
            sys.exit(f"expected version {version} within {PATIENCE} s, found only {sorted(versions)}")
        for text in texts:
            began = time.perf_counter()
            answer = client.predict("topics", {"text": [text]})
            taken.append(time.perf_counter() - began)
            versions.add(answer.version)
    taken.sort()
    middle, late = (1e3 * taken[int(share * (len(taken) - 1))] for share in (0.5, 0.99))
    print(f"{len(taken)} calls, versions {sorted(versions)}, none failed: median {middle:.2f} ms, p99 {late:.2f} ms")


with Client(sys.argv[2]) as client:
    {"ask": ask, "evaluate": evaluate, "traffic": traffic}[sys.argv[1]](client, *sys.argv[3:])
