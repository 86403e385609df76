#!/usr/bin/env python3
"""Prints what the corpora cover, as the table of docs/fuzzing.md: coverage.py FILE... < SUMMARY

SUMMARY is what `llvm-cov export -summary-only` writes; each FILE is a path below the repository's
root, or a directory there for all its .cc. Whatever a compiler made of the paths, their ends tell.
"""

import json
import pathlib
import re
import sys


def main(wanted):
    root = pathlib.Path(__file__).parents[1]
    names = []
    for path in wanted:
        inside = sorted((root / path).glob("*.cc"))
        names += [str(each.relative_to(root)) for each in inside] or [path]
    rows = {}
    for covered in json.load(sys.stdin)["data"][0]["files"]:
        for name in names:
            if re.search(f"(^|/){re.escape(name)}$", covered["filename"]):
                rows[name] = covered["summary"]
    print("| file | functions | lines | branches |\n|---|---|---|---|")
    for name in names:
        if name not in rows:
            continue
        cells = [rows[name][of] for of in ("functions", "lines", "branches")]
        text = " | ".join(f"{100 * c['covered'] / c['count']:.2f} %" if c["count"] else "–" for c in cells)
        print(f"| `{name.removeprefix('src/')}` | {text} |")
    missing = [name for name in names if name not in rows]
    for name in missing:
        print(f"coverage.py: nothing is known of {name}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
