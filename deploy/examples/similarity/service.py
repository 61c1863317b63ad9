"""Finds for each question the known one that means the same, by the model `minilm` of a server.

    service.py ADDRESS QUESTIONS

QUESTIONS is a CSV file with the columns asked and known, whose rows belong together. Prints the share that was found.
"""

import csv
import sys

from needletail import Client


def main():
    with open(sys.argv[2], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with Client(sys.argv[1]) as client:
        known = client.predict("minilm", {"text": [row["known"] for row in rows]})["embedding"]
        right = 0
        for index, row in enumerate(rows):
            # Vectors have length one: their product is the cosine of the angle between them.
            scores = known @ client.predict("minilm", {"text": [row["asked"]]})["embedding"][0]
            found = int(scores.argmax())
            right += found == index
            print(f"{scores[found]:.2f}  {row['asked']:36} {rows[found]['known']}")
    print(f"{right} of {len(rows)} found")
    sys.exit(right < len(rows) - 1)


main()
