"""shop.py DIRECTORY: a table with text, numbers and gaps, and the run file of a model for it."""

import random
import sys
from pathlib import Path

directory = Path(sys.argv[1]) / "shop"
chance = random.Random(3)
shops = ["Köln", "Ulm", "東京", 'a "quoted" one']
lines = ["shop,size,kind"]
for _ in range(400):
    shop, size = chance.randrange(4), chance.uniform(0, 10)
    quoted = '"' + shops[shop].replace('"', '""') + '"'
    text = quoted if chance.random() > 0.05 else ""
    number = f"{size:.3f}" if chance.random() > 0.05 else ""
    lines.append(f"{text},{number},{'big' if size + shop > 6 else 'small'}")
directory.mkdir()
(directory / "shop.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
(directory / "train.yaml").write_text(
    "data: { files: [shop.csv] }\ntarget: { column: kind, task: classification }\n"
    "features: { missing: most_frequent }\nmodel: { family: logistic_regression }\npublish: { model: shop }\n"
)
