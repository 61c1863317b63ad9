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


def replace(folder: Path, made: Path) -> None:
    """Writes one folder anew. Others beside it stay: static.py writes one of them."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns("README.md"))


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name, shape in SHAPES.items():
            made = models.Folder(shape, Path(scratch), seed=7, texts=10)
            replace(FOLDER / name, made.path)
            if made.adapter is not None:
                replace(FOLDER / f"{name}-adapter", made.adapter)


main()
