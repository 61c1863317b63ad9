"""The programs of a handbook page.

examples.py PAGE DIRECTORY: writes each block of C and Python to a file of its own, 1.c, 2.c, … and 1.py, ….
examples.py --check WORK: what they printed, against the models in WORK.
"""

import re
import sys
from pathlib import Path

import needletail

BLOCK = re.compile(r"^```(c|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write(page: Path, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    counts = {"c": 0, "python": 0}
    for language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        counts[language] += 1
        suffix = "py" if language == "python" else "c"
        (directory / f"{counts[language]}.{suffix}").write_text(code, encoding="utf-8")
    if 0 in counts.values():
        raise SystemExit(f"{page}: expected examples in C and Python, found {counts}")


def check(work: Path) -> None:
    with needletail.load(work / "store/diabetes/1.ntb", trust=work / "trust.yaml") as model:
        rows = [[59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.86, 87], [48, 1, 21.6, 87, 183, 103.2, 70, 3, 3.89, 69]]
        first, second = model.predict(rows).prediction
        names = [feature.name for feature in model.describe().inputs]
    with needletail.load(work / "store/shop/1.ntb", allow_unsigned=True) as model:
        labels = model.predict({"size": [2.5, 9.75, 4], "shop": ["Köln", "Ulm", None]}).label
    expected = {
        "1": f"version 1 wants 10 features\n{first:.1f} and {second:.1f}\n",
        "2": "".join(f"{label}\n" for label in labels),
    }
    failed = False
    for found in sorted(work.glob("examples/*.out")):
        text = found.read_text(encoding="utf-8")
        number, kind = found.stem.split("-", 1)
        if kind == "python":
            holds = text.startswith("diabetes 1 [") and text.endswith(f"{names}\n")
        else:
            holds = text == expected[number]
        failed |= not holds
        print(f"{'ok     ' if holds else 'FAILED '} {found.stem}" + ("" if holds else f": {text!r}"))
    if failed:
        raise SystemExit(1)


if sys.argv[1] == "--check":
    check(Path(sys.argv[2]))
else:
    write(Path(sys.argv[1]), Path(sys.argv[2]))
