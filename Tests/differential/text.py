"""Compares models of texts with scikit-learn's: text.py TRAINER WORK-DIRECTORY [ROWS].

The texts are the one-line descriptions of Debian's packages: all that apt knows of, or at least the installed ones; the
classes are their sections. Both sides learn from the same rows and must find the same optimum, so that their answers
for the test rows agree, and with them how many are right.
"""

import csv
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.sparse import hstack
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

ROWS, SECTIONS = 3_000, 12


def packages(most: int) -> list[tuple[str, str, float]]:
    """Description, section and logarithm of the size of each package, of the most frequent sections."""
    dump = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=False).stdout
    if dump.count("\nSection: ") < 2000:
        dump = Path("/var/lib/dpkg/status").read_text(encoding="utf-8")
    found = {}
    for entry in dump.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Section|Description|Installed-Size): (.+)$", entry, re.MULTILINE))
        if len(fields) == 4 and fields["Description"] not in found:
            section = fields["Section"].split("/")[-1]
            found[fields["Description"]] = (section, float(np.log10(float(fields["Installed-Size"]) + 1)))
    frequent = {name for name, _ in Counter(section for section, _ in found.values()).most_common(SECTIONS)}
    rows = [(text, *other) for text, other in sorted(found.items()) if other[0] in frequent]
    chosen = np.random.default_rng(4).permutation(len(rows))[:most]
    return [rows[index] for index in chosen]


class Fit:
    """One training, its answers for the test rows, and the rows of both parts."""

    def __init__(self, trainer: str, work: Path, number: int, target: str, settings: str, uses_length: bool) -> None:
        run_file, directory = work / f"{number}.yaml", work / f"{number}"
        drop = ["size" if target == "section" else "section"] + ([] if uses_length else ["length"])
        run_file.write_text(
            f"data: {{ files: [packages.csv], drop: [{', '.join(drop)}] }}\n"
            f"target: {{ column: {target} }}\nsplit: {{ train: 0.7, validation: 0, test: 0.3 }}\n"
            f"{settings}\nevaluation: {{ report: false }}\ntracking: {{ record: false }}\n"
        )
        began = time.monotonic()
        subprocess.run([trainer, "train", str(run_file), "--output", str(directory), "--quiet"], check=True)
        self.seconds = time.monotonic() - began
        with (directory / "split.csv").open() as file:
            parts = list(csv.DictReader(file))
        self.train, self.test = ([int(r["row"]) - 1 for r in parts if r["part"] == part] for part in ("train", "test"))
        with (directory / "predictions.csv").open() as file:
            predictions = list(csv.DictReader(file))
        assert [int(r["row"]) - 1 for r in predictions] == self.test
        names = [n for n in predictions[0] if n == "prediction" or n.startswith("p_")]
        self.answers = np.array([[float(r[n]) for n in names] for r in predictions])


def cases():
    """Name, target, settings, scikit-learn's terms and model, and whether the length of the text is a column too."""
    text = "features: { columns: { text: { type: text } } }\n"
    exact = "training: { tolerance: 1e-9, iterations_max: 100000 }"
    words = {"ngram_range": (1, 2), "min_df": 2, "sublinear_tf": True}
    logistic = LogisticRegression(C=10, tol=1e-9, max_iter=100_000)
    yield (
        "tf-idf of words",
        "section",
        f"model: {{ family: text_linear }}\n{exact}",
        TfidfVectorizer(**words),
        logistic,
        False,
    )
    yield (
        "hashed words",
        "section",
        f"text: {{ weights: hash, buckets: {1 << 14} }}\nmodel: {{ family: text_linear }}\n{exact}",
        HashingVectorizer(ngram_range=(1, 2), n_features=1 << 14),
        logistic,
        False,
    )
    yield (
        "tf-idf of characters, balanced classes",
        "section",
        "text: { terms: word_characters, shortest: 2, longest: 4, min_df: 5, max_df: 0.5, sublinear: false, "
        "max_features: 1000000 }\nmodel: { family: text_linear, c: 2 }\n"
        "training: { tolerance: 1e-9, iterations_max: 100000, class_weights: balanced }",
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=5, max_df=0.5),
        LogisticRegression(C=2, tol=1e-9, max_iter=100_000, class_weight="balanced"),
        False,
    )
    yield (
        "tf-idf and a number, logistic regression",
        "section",
        f"{text}text: {{ longest: 1, min_df: 3 }}\nmodel: {{ family: logistic_regression, c: 1 }}\n{exact}",
        TfidfVectorizer(min_df=3, sublinear_tf=True),
        LogisticRegression(C=1, tol=1e-9, max_iter=100_000),
        True,
    )
    yield (
        "least squares of tf-idf",
        "size",
        f"model: {{ family: text_linear, c: 2 }}\n{exact}",
        TfidfVectorizer(**words),
        Ridge(alpha=0.5, solver="sparse_cg", tol=1e-12, max_iter=100_000),
        False,
    )
    yield (
        "ridge regression of counts and a number",
        "size",
        f"{text}text: {{ weights: counts, min_df: 2 }}\n"
        "model: { family: linear_regression, l2: 3 }\ntraining: { tolerance: 1e-10, iterations_max: 100000 }",
        TfidfVectorizer(**words, use_idf=False),
        Ridge(alpha=3, solver="sparse_cg", tol=1e-12, max_iter=100_000),
        True,
    )


def main(trainer: str, work: Path, most: int) -> int:
    rows = packages(most)
    lengths = [len(text) for text, _, _ in rows]
    texts, sections, sizes = (list(column) for column in zip(*rows, strict=True))
    with (work / "packages.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "length", "section", "size"])
        writer.writerows(zip(texts, lengths, sections, map(repr, sizes), strict=True))
    failed = 0
    for number, (name, target, settings, terms, model, uses_length) in enumerate(cases()):
        fit = Fit(trainer, work, number, target, settings, uses_length)
        inputs = {}
        terms.fit([texts[row] for row in fit.train])
        scaler = StandardScaler().fit(np.array(lengths)[fit.train, None])
        for part, own in (("train", fit.train), ("test", fit.test)):
            inputs[part] = terms.transform([texts[row] for row in own])
            if uses_length:
                inputs[part] = hstack([scaler.transform(np.array(lengths)[own, None]), inputs[part]]).tocsr()
        targets = np.array(sections if target == "section" else sizes)
        began = time.monotonic()
        model.fit(inputs["train"], targets[fit.train])
        seconds = time.monotonic() - began
        if target == "section":
            expected = model.predict_proba(inputs["test"])
            right = [np.mean(model.classes_[a.argmax(axis=1)] == targets[fit.test]) for a in (fit.answers, expected)]
            figures = f"accuracy {right[0]:.4f} and {right[1]:.4f}"
        else:
            expected = model.predict(inputs["test"])[:, None]
            errors = [np.sqrt(np.mean((a[:, 0] - targets[fit.test]) ** 2)) for a in (fit.answers, expected)]
            figures = f"error {errors[0]:.4f} and {errors[1]:.4f}"
        difference = float(np.max(np.abs(fit.answers - expected)))
        passed = difference <= 2e-4
        print(
            f"{'ok  ' if passed else 'FAIL'}  {name:<42} {figures}, largest difference {difference:.1e}, "
            f"{inputs['train'].shape[1]} columns, {fit.seconds:.1f} s and {seconds:.1f} s",
            flush=True,
        )
        failed += not passed
    print(f"{len(list(cases())) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else ROWS))
