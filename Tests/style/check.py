#!/usr/bin/env python3
"""Checks what formatters do not: the words of comments, the sizes of files, the names of tests.

    Tests/style/check.py            fails on a finding that EXCUSED does not cover, names it with its file and line
    Tests/style/check.py --all      prints the excused findings too
    Tests/style/check.py --counts   prints the counts of files, lines and findings
    Tests/style/check.py --root DIR checks another tree, such as an older commit's

A rule holds for a whole part of the tree or not at all: when the last finding of a part is gone, delete its line from
EXCUSED, and the rule is enforced there from then on. A line that covers no finding any more is a finding itself.
"""

import argparse
import collections
import itertools
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

# Beginnings of sentences that leave out their noun: "Of its first byte." says less than "Arrival time of ...".
FRAGMENTS = ("Of", "The same of", "Told", "In which", "Nil if", "Whoever", "Whatever", "Whom", "Whose", "As far as")
# Pictures in place of the engineering term.
IMAGERY = r"farewells?|patience|company|bells?|in vain"

LINES_MAX = 400
SMALL_LINES = 40
SHARED_LINES = 6

# (rule, part of the tree): why the rule does not hold there yet, or never will.
EXCUSED = {
    ("long-file", "Tests/kernels/kernels_test.c"): "one table of kernels and operands for all of its checks",
    ("long-file", "Tests/kernels/trees_test.c"): "one maker of random models for all layouts",
    ("long-file", "Tests/peers/engine/bench.c"): "one library of timing loops, which share operands and limits",
    ("long-file", "Tests/security/checks.py"): "the checks share a certificate authority and key files",
    ("long-file", "clients/c/needletail.c"): "one file, so that a user adds one file",
    ("long-file", "Tests/clients/drivers/driver.c"): "one file a driver, with the JSON that C lacks",
    ("long-file", "clients/python/tests/test_client.py"): "one file per module of the client, as in its sources",
    ("long-file", "Tests/proto/statements.py"): "one test a statement, with the servers that they share",
    ("long-file", "proto/golden/make.py"): "one table of golden vectors",
}

GENERATED = re.compile(r"\.pb-c\.[ch]$|_pb2\.pyi?$|\.generated\.(?:swift|c)$")
FRAGMENT = re.compile(r"(?:^|[.:;] )(" + "|".join(FRAGMENTS) + r")\b(?! course\b)")
PICTURE = re.compile(r"\b(" + IMAGERY + r")\b", re.IGNORECASE)
COMMENT = {
    "swift": re.compile(r"^\s*//+\s?(.*)|\s//\s(.*)$"),
    "c": re.compile(r"^\s*//+\s?(.*)|\s//\s(.*)$"),
    "script": re.compile(r"^\s*#(?!!)\s?(.*)|\s\s#\s(.*)$"),
}
TEST = re.compile(r"@Test\b[^{]*?\bfunc\s+(`[^`]+`|\w+)", re.DOTALL)
DECLARATION = re.compile(
    r"^(?:@\w+(?:\([^)]*\))?\s+)*(?:public |package |internal |fileprivate |final |indirect |nonisolated )*"
    r"(?:struct|class|enum|actor|protocol|typealias|func|let|var)\s+(\w+)",
    re.MULTILINE,
)
MEMBER = re.compile(r"^  [\w@() ]*?\b(?:func|var|let|init|case)\b\s*(\w+)?", re.MULTILINE)


class Finding(NamedTuple):
    """One breach of a rule, at a line of a file."""

    rule: str
    path: str
    line: int
    text: str


class Source(NamedTuple):
    """One file that people wrote."""

    path: str
    kind: str
    text: str

    @property
    def lines(self):
        return self.text.count("\n")


def sources(root):
    """All Swift, C, Python and shell files below Sources, Tests, clients, deploy and proto, without generated ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "Sources", "Tests", "clients", "deploy", "proto", ".ci"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        path = root / name
        if GENERATED.search(name) or not path.is_file():
            continue
        kind = {".swift": "swift", ".c": "c", ".h": "c", ".py": "script", ".sh": "script"}.get(path.suffix)
        if kind is None and path.suffix == "":
            with path.open("rb") as file:
                kind = "script" if file.read(2) == b"#!" else None
        if kind:
            yield Source(name, kind, path.read_text())


def comments(source):
    """Number and text of each line that ends with a comment, or is one."""
    for number, line in enumerate(source.text.splitlines(), 1):
        found = COMMENT[source.kind].search(line)
        if found:
            yield number, next(text for text in found.groups() if text is not None).strip()


def words_of_comments(source):
    """Rules "fragment" and "imagery"."""
    for number, text in comments(source):
        found = FRAGMENT.search(text)
        if found:
            yield Finding("fragment", source.path, number, f'a sentence begins with "{found.group(1)}": {text}')
        found = PICTURE.search(text)
        if found:
            yield Finding("imagery", source.path, number, f'"{found.group(1)}": {text}')


def long_files(source):
    """Rule "long-file"."""
    if source.lines > LINES_MAX:
        yield Finding("long-file", source.path, 1, f"{source.lines} lines, at most {LINES_MAX}")


def small_files(files):
    """Rule "small-file": a Swift file of a few lines that one other file of its module uses belongs into that file."""
    swift = [file for file in files if file.kind == "swift" and file.path.startswith("Sources/")]
    words = {file.path: set(re.findall(r"\w+", re.sub(r"//.*", "", file.text))) for file in swift}
    for file in swift:
        if file.lines >= SMALL_LINES:
            continue
        # A file of extensions declares members only.
        names = set(DECLARATION.findall(file.text)) or set(filter(None, MEMBER.findall(file.text)))
        users = [path for path, used in words.items() if path != file.path and names & used]
        if len(users) == 1 and users[0].split("/")[1] == file.path.split("/")[1]:
            yield Finding("small-file", file.path, 1, f"{file.lines} lines, used by {users[0]} only")


def duplicate_tests(files):
    """Rule "duplicate-test": two tests of one target with one name cannot be told apart in a report."""
    known = {}
    for file in files:
        target = re.match(r"Tests/(\w+Tests)/", file.path)
        if not target or file.kind != "swift":
            continue
        for test in TEST.finditer(file.text):
            line = file.text.count("\n", 0, test.start(1)) + 1
            first = known.setdefault((target.group(1), test.group(1)), f"{file.path}:{line}")
            if first != f"{file.path}:{line}":
                yield Finding("duplicate-test", file.path, line, f"{test.group(1)} is also at {first}")


def shared_runs(files):
    """Pairs of Swift or C files in Sources that have a run of SHARED_LINES equal lines of code in common."""
    places = collections.defaultdict(set)
    for file in files:
        if file.kind not in ("swift", "c") or not file.path.startswith("Sources/"):
            continue
        lines = [re.sub(r"\s*//.*", "", line).strip() for line in file.text.splitlines()]
        # Braces, imports and blank lines are alike everywhere.
        lines = [line for line in lines if re.search(r"\w", line) and not re.match(r"(\w+ )?import\b|#include", line)]
        for start in range(len(lines) - SHARED_LINES + 1):
            places[tuple(lines[start : start + SHARED_LINES])].add(file.path)
    return {pair for paths in places.values() for pair in itertools.combinations(sorted(paths), 2)}


def findings_of(files):
    for file in files:
        yield from words_of_comments(file)
        yield from long_files(file)
    yield from small_files(files)
    yield from duplicate_tests(files)


def excuse_of(finding):
    """The line of EXCUSED that covers a finding, if one does."""
    for rule, part in EXCUSED:
        if rule == finding.rule and (finding.path == part or finding.path.startswith(part.rstrip("/") + "/")):
            return rule, part
    return None


def print_counts(files, findings):
    print(f"{'':28}{'files':>8}{'lines':>9}{'mean':>7}{'over 400':>10}{'under 40':>10}")
    groups = (
        ("Swift in Sources", lambda file: file.kind == "swift" and file.path.startswith("Sources/")),
        ("Swift in Tests", lambda file: file.kind == "swift" and file.path.startswith("Tests/")),
        ("C in Sources", lambda file: file.kind == "c" and file.path.startswith("Sources/")),
        ("C in Tests", lambda file: file.kind == "c" and file.path.startswith("Tests/")),
        ("Python and shell", lambda file: file.kind == "script"),
    )
    for title, belongs in groups:
        sizes = [file.lines for file in files if belongs(file)]
        over = sum(size > LINES_MAX for size in sizes)
        under = sum(size < SMALL_LINES for size in sizes)
        mean = sum(sizes) / max(len(sizes), 1)
        print(f"{title:28}{len(sizes):8}{sum(sizes):9,}{mean:7.0f}{over:10}{under:10}")
    totals = collections.Counter(finding.rule for finding in findings)
    titles = {
        "fragment": "comment lines that begin with a fragment",
        "imagery": "comment lines with a picture in place of a term",
        "long-file": f"files over {LINES_MAX} lines",
        "small-file": f"Swift files under {SMALL_LINES} lines that one other file of their module uses",
        "duplicate-test": "tests that share their name with another of their target",
    }
    print()
    for rule, title in titles.items():
        print(f"{totals[rule]:6}  {title}")
    print(f"{len(shared_runs(files)):6}  pairs of files in Sources that share {SHARED_LINES} or more lines of code")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", action="store_true", help="print counts of files, lines and findings")
    parser.add_argument("--all", action="store_true", help="print excused findings too")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    options = parser.parse_args()
    files = list(sources(options.root))
    findings = list(findings_of(files))
    if options.counts:
        print_counts(files, findings)
        return 0
    excuses = {finding: excuse_of(finding) for finding in findings}
    shown = [finding for finding in findings if options.all or excuses[finding] is None]
    for finding in shown:
        print(f"{finding.path}:{finding.line}: {finding.rule}: {finding.text}")
    unused = [key for key in EXCUSED if key not in excuses.values()]
    for rule, part in unused:
        print(f"Tests/style/check.py: EXCUSED: no {rule} left in {part}: delete its line")
    failed = sum(excuse is None for excuse in excuses.values()) + len(unused)
    print(f"{len(files)} files: {failed} findings, {len(findings)} with those that EXCUSED covers")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
