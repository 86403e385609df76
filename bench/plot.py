#!/usr/bin/env python3
"""Draws the figures of `bench --json` as an SVG: bench/plot.py BENCH.json OUT.svg

A panel for each row whose contenders move the same bytes (1, 2, 6 and 7): a bar for the median speed,
a dot for each round. Standard library only.
"""
import json
import statistics
import sys
from html import escape

PANELS = {"1": "Durable save, all new", "2": "First save into a new store",
          "6": "Verified load, warm", "7": "Verified load, cold"}
LABEL, WIDTH, BAR, GAP = 270, 470, 15, 6
COLOURS = {"floor": "#b8b8b8", "cairn": "#2a6f97", "peer": "#e0a458"}


def kind_of(name):
    if name.startswith("cairn"):
        return "cairn"
    return "floor" if name.startswith(("floor", "one memcpy")) else "peer"


def panel(row, top):
    samples = [s for s in row["samples"] if s["bytes"]]
    speeds = {s["name"]: [s["bytes"] / t / 1e9 for t in s["seconds"]] for s in samples}
    # An outlier above the fastest median by far would squeeze all bars; its dot is left at the edge.
    most = 1.25 * max(statistics.median(values) for values in speeds.values())
    out = [f'<text x="0" y="{top + 18}" font-weight="bold">{escape(PANELS[row["row"]])}, GB/s</text>']
    y = top + 30
    for name, values in speeds.items():
        median = statistics.median(values)
        colour = COLOURS[kind_of(name)]
        out.append(f'<text x="{LABEL - 8}" y="{y + BAR - 3}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<rect x="{LABEL}" y="{y}" width="{WIDTH * median / most:.1f}" height="{BAR}" '
                   f'fill="{colour}"/>')
        for value in values:
            x = LABEL + WIDTH * min(1, value / most)
            out.append(f'<circle cx="{x:.1f}" cy="{y + BAR / 2}" r="2" fill="#222" opacity="0.55"/>')
        out.append(f'<text x="{LABEL + WIDTH + 8}" y="{y + BAR - 3}">{median:.2f}</text>')
        y += BAR + GAP
    return out, y


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        figures = json.load(file)
    rows = [row for row in figures["rows"] if row["row"] in PANELS]
    if not rows:
        sys.exit(f"{sys.argv[1]} holds none of the rows {', '.join(PANELS)}: run bench with them")
    body, y = [], 8
    for row in rows:
        lines, y = panel(row, y)
        body += lines
        y += 16
    body.append(f'<text x="0" y="{y + 4}" fill="#666">{escape(figures["machine"])}; '
                "bars: medians, dots: rounds</text>")
    width, height = LABEL + WIDTH + 60, y + 16
    with open(sys.argv[2], "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                   f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">\n'
                   '<rect width="100%" height="100%" fill="white"/>\n'
                   + "\n".join(body) + "\n</svg>\n")


main()
