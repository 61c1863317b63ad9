"""Writes four small models with random weights to `fixtures/`, with texts and the library's answers, for unit tests.

fixtures.py    needs torch, transformers, safetensors, tokenizers and peft
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import models

FOLDER = Path(__file__).resolve().parent / "fixtures"
SIZES = {"width": 16, "layers": 1, "heads": 2, "inner": 24, "dtype": "float16"}
SHAPES = {
    "embedding": models.Shape("bert", **SIZES),
    "classification": models.Shape("distilbert", **SIZES, head="classification", labels=3, adapter=True),
    "entities": models.Shape("bert", **SIZES, head="entities"),
    "answer": models.Shape("bert", **SIZES, head="answer", pair=True),
}


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, shape in SHAPES.items():
            made = models.Folder(shape, Path(scratch), seed=7, texts=10)
            shutil.copytree(made.path, FOLDER / name)
            if made.adapter is not None:
                shutil.copytree(made.adapter, FOLDER / f"{name}-adapter", ignore=shutil.ignore_patterns("README.md"))


main()
