"""check.py train|ask BIN WORK-DIRECTORY [SERVER]: the same value through trainer, command line and server.

Two models tell what they were asked. `size` answers a number with itself, and a missing one with -7. `colour` answers a
category with its place in the table, a missing one with 1000 and an unknown one with the mean. `shop` is trained from
a file of nasty cells, and the command line is asked about the file itself.
"""

import csv
import io
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

TABLE = json.loads(Path("proto/golden/values.json").read_text())
command, programs, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
CATEGORIES = TABLE["categories"]
MISSING_SIZE, MISSING_COLOUR = -7, 1000
failures = []


def expect(holds, what, found=""):
    if not holds:
        print(f"FAILED  {what}: found {found!r}")
        failures.append(what)


# ---------------------------------------------------------------- models


def train(name, header, lines, target, features):
    (work / f"{name}.csv").write_text(header + "\n" + "".join(line + "\n" for line in lines), encoding="utf-8")
    run = (
        f"data: {{ files: [{name}.csv], missing: {json.dumps(TABLE['missing'])} }}\n"
        f"target: {{ column: {target}, task: regression }}\nfeatures:\n{features}"
        f"model: {{ family: linear_regression }}\npublish: {{ model: {name} }}\n"
    )
    (work / f"{name}.yaml").write_text(run, encoding="utf-8")
    subprocess.run(
        [programs / "needletail-trainer", "train", work / f"{name}.yaml", "--output", work / name]
        + ["--publish", work / "store", "--quiet"],
        check=True,
    )


def train_all():
    numbers = [n for n in range(-60, 61)]
    train(
        "size",
        "size,y",
        [f"{n},{n}" for n in numbers],
        "y",
        f'  columns: {{ size: {{ type: numeric, missing: constant, constant: "{MISSING_SIZE}" }} }}\n',
    )
    # "gap" is the category that a missing cell becomes; every category has rows in every part of the split.
    lines = [f'"{c}",{i * 10}' for i, c in enumerate(CATEGORIES)] + [f"gap,{MISSING_COLOUR}"]
    train(
        "colour",
        "colour,y",
        lines * 30,
        "y",
        "  columns: { colour: { type: categorical, missing: constant, constant: gap, unknown: refuse } }\n",
    )
    # Whole files: spaces in the header and around cells, both forms of an accent, quoted and bare words.
    rows = []
    for i in range(240):
        colour = ["red", " red", "r\u00e9d", "re\u0301d", '"NA"', "NA", "True", "TRUE", "1", "1.0", "01"][i % 11]
        size = ["5", " 5.0", "+5", "5e0", "?", "true", '" 7 "', "16777217", "", ".5"][i % 10]
        # Behind a closing quote CSV has no spaces.
        row = [text if '"' in text else f"{text} " for text in (colour, size)]
        rows.append(f"{row[0]},{row[1]}, {i % 11 * 7 + i % 10}")
    train(
        "shop",
        "cafe\u0301 , size, y ",
        rows,
        "y",
        '  missing: most_frequent\n  columns:\n    "caf\u00e9": { type: categorical }\n    size: { type: numeric }\n',
    )


# ---------------------------------------------------------------- asking


def predict(model, *arguments, text=None):
    """Answers of the command line: numbers, or its error."""
    done = subprocess.run(
        [programs / "needletail", "predict", model, "--json", "--ignore-extra", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "NEEDLETAIL_SERVER": sys.argv[4]},
    )
    if done.returncode:
        return done.stderr.strip()
    return [single(json.loads(line)["prediction"]) for line in done.stdout.splitlines()]


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def wire(model, name, text):
    """The answer to one cell in a STRING tensor, written by hand; None where the call is refused."""
    tensor = field(1, name.encode()) + varint(2 << 3) + varint(9) + field(3, b"\x01") + field(5, text.encode())
    request = varint(1 << 3) + b"\x01" + field(3, field(1, model.encode()) + field(4, tensor))
    host, port = sys.argv[4].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">I", len(request)) + request)
        stream = connection.makefile("rb")
        answer = stream.read(struct.unpack(">I", stream.read(4))[0])
    return read_prediction(answer)


def fields(data):
    position = 0

    def number():
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(data):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
        elif key & 7 == 2:
            length = number()
            yield key >> 3, data[position : position + length]
            position += length
        else:
            raise ValueError(f"wire type {key & 7}")


def read_prediction(answer):
    response = dict(fields(answer))
    if 3 not in response:
        return None
    tensor = dict(fields(dict(fields(response[3]))[3]))
    return struct.unpack("<f", tensor[4])[0]


def wanted(cell, model):
    """The answer that the table asks for; None for a refusal."""
    value = cell["numeric" if model == "size" else "category"]
    if value == "missing":
        return MISSING_SIZE if model == "size" else MISSING_COLOUR
    if model == "size":
        return None if value == "refused" else value
    return None if value == "unknown" else CATEGORIES.index(value) * 10


def agrees(found, expected):
    if expected is None:
        return found is None or isinstance(found, str)
    if found is None or isinstance(found, str):
        return False
    return abs(found - expected) <= 1e-3 * max(1, abs(expected))


def single(number):
    """The number as fp32 holds it."""
    return struct.unpack("<f", struct.pack("<f", float(number)))[0]


def check_cells():
    for model in ("size", "colour"):
        for cell in TABLE["cells"]:
            expected = wanted(cell, model)
            # The models compute in fp32, where the square of the largest number overflows.
            if model == "size" and expected is not None and abs(expected) > 1e30:
                continue
            if cell["csv"] is not None:
                text = f" {model} ,other\n{cell['csv']},x\n"
                found = predict(model, "--input", "-", text=text)
                found = found[0] if isinstance(found, list) else found
                expect(agrees(found, expected), f"{model}, CSV: {cell['name']}, expected {expected}", found)
            if cell["json"] is not None:
                found = predict(model, "--input", "-", text=f'[{{"{model}": {cell["json"]}}}]')
                found = found[0] if isinstance(found, list) else found
                expect(agrees(found, expected), f"{model}, JSON: {cell['name']}, expected {expected}", found)
            if cell["wire"] is not None:
                found = wire(model, model, cell["wire"])
                expect(agrees(found, expected), f"{model}, STRING: {cell['name']}, expected {expected}", found)


def check_files():
    """The file that trained a model, asked about by the command line, answers as the trainer's evaluation did."""
    with (work / "shop" / "predictions.csv").open() as file:
        judged = list(csv.DictReader(file))
    answers = predict("shop", "--input", str(work / "shop.csv"))
    expect(isinstance(answers, list) and len(answers) == 240, "the training file is accepted by predict", answers)
    for row in judged:
        found = answers[int(row["row"]) - 1]
        expect(found == single(row["prediction"]), f"shop row {row['row']}, expected {row['prediction']}", found)
    # The test rows as the trainer wrote them are the same rows.
    expect(
        predict("shop", "--input", str(work / "shop" / "test.csv")) == [single(row["prediction"]) for row in judged],
        "test.csv answers as predictions.csv says",
    )
    with (work / "shop.csv").open(encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    other = io.StringIO()
    writer = csv.writer(other, delimiter=";")
    writer.writerows([header, ["red", "5", "0"]])
    expect(
        predict("shop", "--input", "-", "--delimiter", "semicolon", text=other.getvalue()) == answers[:1],
        "predict --delimiter semicolon",
    )
    found = predict("shop", "--input", "-", text=other.getvalue())
    expect(isinstance(found, str) and "--delimiter semicolon" in found, "a hint at the delimiter", found)
    for pair in ("size=0x10", "size=1e400", "size=inf"):
        found = predict("shop", "--set", "caf\u00e9=red", "--set", pair)
        expect(isinstance(found, str) and "expected a number" in found, f"--set {pair} is refused", found)
    for text, says in (
        ('[{"size": 007}]', "line 1, column 11: expected a decimal number without leading zeros"),
        ('[{"size": NaN}]', "line 1, column 11: expected a value (JSON writes null for a missing one)"),
        ('[{"size": 1, " size": 2}]', 'expected every name once, found " size" again'),
        ('[{"size": 1e400, "caf\u00e9": "red"}]', "expected a number within"),
        ('[{"size": 1', 'expected "," or "}", found the end of the file'),
    ):
        found = predict("shop", "--input", "-", text=text)
        expect(isinstance(found, str) and says in found, f"JSON {text}: {says}", found)


if command == "train":
    train_all()
else:
    check_cells()
    check_files()
    print(f"values: {'FAILED' if failures else 'all hold'} ({len(TABLE['cells'])} cells)")
    sys.exit(1 if failures else 0)
