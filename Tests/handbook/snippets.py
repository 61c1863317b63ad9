"""Holds the examples in NeedletailClient.docc to code that is compiled and tested.

    snippets.py           fails if a Swift block of the catalog differs from its example
    snippets.py --write   copies the examples into the catalog

A block of the catalog is preceded by `<!-- snippet: NAME -->`. The example of that name stands in
Tests/NeedletailClientTests/DocumentationExamples.swift between `// snippet: NAME` and `// snippet end`.
A block that cannot be compiled there, such as a part of a manifest, is preceded by `<!-- not compiled: REASON -->`.
"""

import argparse
import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "Tests/NeedletailClientTests/DocumentationExamples.swift"
CATALOG = ROOT / "Sources/NeedletailClient/NeedletailClient.docc"

EXAMPLE = re.compile(r"^ *// snippet: (\S+)\n(.*?)^ *// snippet end$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"(?:<!-- (snippet|not compiled): ([^\n]*?) -->\n+)?```swift\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="copy the examples into the catalog")
    options = parser.parse_args()
    examples = {name: textwrap.dedent(text) for name, text in EXAMPLE.findall(EXAMPLES.read_text())}
    faults, used = [], set()
    for page in sorted(CATALOG.rglob("*.md")):
        text = page.read_text()
        place = page.relative_to(ROOT)

        def example_of(block, place=place):
            kind, name, code = block.groups()
            if kind is None:
                faults.append(f"{place}: a Swift block without <!-- snippet: NAME -->: {code.splitlines()[0]}")
            elif kind == "snippet":
                used.add(name)
                if name not in examples:
                    faults.append(f"{place}: snippet {name}: expected in {EXAMPLES.relative_to(ROOT)}, found none")
                elif code != examples[name]:
                    if options.write:
                        return block.group(0).replace(f"```swift\n{code}", f"```swift\n{examples[name]}")
                    faults.append(f"{place}: snippet {name} differs; Tests/handbook/snippets.py --write copies it")
            return block.group(0)

        written = BLOCK.sub(example_of, text)
        if written != text:
            page.write_text(written)
    faults += [f"{EXAMPLES.relative_to(ROOT)}: snippet {name} is on no page" for name in examples.keys() - used]
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(used)} examples, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
