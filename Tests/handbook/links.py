"""Checks the links and file names in every Markdown file of the repository, and the table of modules.

A relative link must lead to a file or directory, and its fragment to a heading of that file. A path in a code span
that begins with a top-level directory, such as `Tests/hot-path/run`, must exist: documentation that names a file
which has moved is worse than none. The same holds for names of types and functions in the handbook: a code span in
camel case, such as `FrameDecoder`, must be a word of the sources. (Reports keep the names of their time.) Links
between the pages of a DocC catalog (`<doc:Page>`) are DocC's to check.
Every module under Sources must have its row in the table of Architecture.md, below the modules that it imports.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOP = ("Sources", "Tests", "deploy", "proto", "clients", ".ci", ".github")

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
# At least two capitals, so that words of prose do not count.
CAMEL = re.compile(r"[a-zA-Z][a-z]+(?:[A-Z][a-z0-9]+)+[A-Z]?\w*|[a-z]+[A-Z]\w*[A-Z]\w*")
# Names that belong to other programs: systemd and Kubernetes.
FOREIGN = {"LoadCredential", "binaryData", "preStop", "subPath"}
IMPORT = re.compile(r"^(?:@\w+ )*(?:public |package |internal |private )?import (\w+)", re.MULTILINE)
# A path with a placeholder or a pattern names no single file.
PLACEHOLDER = re.compile(r"[<>*{}$…]|[A-Z]{3,}\b(?!\.md)")


def anchors(path):
    """Names of the headings of a Markdown file, as GitHub makes them."""
    found = set()
    for line in path.read_text().splitlines():
        heading = re.match(r"#{1,6}\s+(.*)", line)
        if heading:
            text = re.sub(r"[^\w\- ]", "", heading.group(1).lower())
            found.add(text.replace(" ", "-"))
    return found


def faults_of(path, tracked):
    """One sentence for every link or path of a file that leads nowhere."""
    text = FENCE.sub(lambda fence: "\n" * fence.group(0).count("\n"), path.read_text())
    catalog = any(parent.suffix == ".docc" for parent in path.parents)
    for number, line in enumerate(text.splitlines(), 1):
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target) or catalog:
                continue
            name, _, fragment = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            if not file.exists():
                yield f"{number}: link {target}: no such file"
            elif fragment and file.suffix == ".md" and fragment not in anchors(file):
                yield f"{number}: link {target}: no such heading"
        for span in SPAN.findall(line):
            words = span.split()
            word = words[0].rstrip("/:,") if words else ""
            if not word.startswith(tuple(top + "/" for top in TOP)) or PLACEHOLDER.search(word):
                continue
            if word not in tracked:
                yield f"{number}: path `{word}`: no such file or directory"


def unknown_names(page, words):
    """One sentence for every name in camel case on a page that no source file contains."""
    text = FENCE.sub(lambda fence: "\n" * fence.group(0).count("\n"), (ROOT / page).read_text())
    for number, line in enumerate(text.splitlines(), 1):
        for span in SPAN.findall(line):
            for name in re.split(r"[^\w]+", span):
                if CAMEL.fullmatch(name) and name not in words:
                    yield f"{page}:{number}: `{name}`: no such name in the sources"


def faults_of_modules(tracked):
    """One sentence for every module without a row in the table, and every import of a module further down."""
    page = "Sources/Handbook/Handbook.docc/Architecture.md"
    lines = (ROOT / page).read_text().splitlines()
    order = {}
    for row in (line for line in lines if line.startswith("| `")):
        for module in SPAN.findall(row.split("|")[1]):
            order[module] = len(order)
    for name in sorted(tracked):
        parts = pathlib.PurePath(name).parts
        if len(parts) < 2 or parts[0] != "Sources":
            continue
        if parts[1] not in order:
            if len(parts) == 2:
                yield f"{page}: module `{parts[1]}`: expected a row in the table of modules, found none"
        elif name.endswith(".swift"):
            for module in IMPORT.findall((ROOT / name).read_text()):
                if order.get(module, -1) >= order[parts[1]]:
                    yield f"{name}: imports `{module}`, which is not above `{parts[1]}` in the table of {page}"


def main():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = [name for name in listed.split("\0") if name and (ROOT / name).exists()]
    tracked = set(files) | {str(parent) for name in files for parent in pathlib.PurePath(name).parents}
    pages = [name for name in files if name.endswith(".md")]
    faults = [f"{name}:{fault}" for name in pages for fault in faults_of(ROOT / name, tracked)]
    faults += faults_of_modules(tracked)
    words = FOREIGN | {part for name in tracked for part in pathlib.PurePath(name).parts}
    for name in files:
        if name.endswith((".swift", ".proto", ".py", ".h")):
            words.update(re.findall(r"\w+", (ROOT / name).read_text()))
    for page in pages:
        if ".docc/" in page and "/Reports/" not in page:
            faults += unknown_names(page, words)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(pages)} Markdown files, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
