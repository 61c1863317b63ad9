#!/usr/bin/env python3
"""Makes a table of short texts and their topics from the lists of packages that apt has on this machine.

    descriptions.py FILE [--rows N]    N rows of each topic at most; without it, all

The text is the line that describes a package, its topic the section of the archive. Packages of one source say nearly
the same: the first of each source and section counts, and no text comes twice.
"""

import argparse
import csv
import random
import subprocess
import sys

#: Sections that say what a package is about, and not what it is made of. Graphics is not among them: what analyses
#: images may be there or in science, and a linear model takes a third of its texts for science.
TOPICS = ["database", "editors", "fonts", "games", "mail", "science", "sound"]
#: Texts of a topic at least, for something to be learnt.
LEAST = 20


def packages():
    """The fields of each package that apt knows."""
    try:
        listed = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True)
    except FileNotFoundError:
        sys.exit("descriptions.py: expected apt-cache, which Debian and Ubuntu have, found none")
    except subprocess.CalledProcessError as error:
        sys.exit(f"descriptions.py: apt-cache dumpavail: {error.stderr.decode(errors='replace').strip()}")
    for record in listed.stdout.decode(errors="replace").split("\n\n"):
        lines = (line.partition(": ") for line in record.split("\n") if not line.startswith(" "))
        fields = {name: value for name, _, value in lines}
        if "Package" in fields:
            yield fields


def texts():
    """Texts by their topics, in the order of the lists."""
    found = {topic: [] for topic in TOPICS}
    seen = set()
    for fields in packages():
        topic = fields.get("Section", "").rpartition("/")[2]
        text = fields.get("Description-en") or fields.get("Description", "")
        source = fields.get("Source", fields["Package"]).split(" ")[0], topic
        if topic in found and text and text not in seen and source not in seen:
            seen |= {text, source}
            found[topic].append(text)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--rows", type=int, help="rows of each topic at most")
    options = parser.parse_args()
    found = texts()
    poor = [topic for topic, texts in found.items() if len(texts) < LEAST]
    if poor:
        sys.exit(
            f"descriptions.py: expected at least {LEAST} packages of each section in apt's lists, found fewer of "
            f"{', '.join(poor)}; `apt-get update` fetches them, and the section main has to be among them"
        )
    chance = random.Random(1)
    rows = []
    for topic, texts_of_topic in found.items():
        chance.shuffle(texts_of_topic)
        rows += [(text, topic) for text in texts_of_topic[: options.rows]]
    chance.shuffle(rows)
    with open(options.file, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("text", "topic"), *rows])
    print(f"{len(rows)} texts of {len(TOPICS)} topics")


main()
