#!/usr/bin/env python3
"""Time and memory against rows, on a plot: growth.py RESULTS.jsonl PLOT.svg [ROW ...]

RESULTS.jsonl is of `bench/run columns --rows 100000,1000000,10000000,100000000`. Left the medians of the rows named (or
of four that touch every row), right the memory of each engine's process after them: all that was ever resident, mapped
files included. Both axes are logarithmic. Colonnade's lines are solid, those of a peer dashed.
"""

import json
import math
import statistics
import sys
from html import escape

ROWS = ["count, a < x, 20 bits, 10 % match", "sum of a, 20 bits", "group by 16 strings: count, sum",
        "group by up to a million integers: count, sum"]
COLOURS = ["#1b6ca8", "#c05621", "#2f855a", "#805ad5", "#4a5568", "#b83280"]
WIDTH, HEIGHT, LEFT, TOP = 380, 300, 70, 40


def medians(records, value_of):
    """{(label, engine): {size: median}}"""
    found = {}
    for record in records:
        label, value = value_of(record)
        if label is not None and value:
            found.setdefault((label, record["engine"]), {}).setdefault(record["size"], []).append(value)
    return {line: {size: statistics.median(values) for size, values in sizes.items()} for line, sizes in found.items()}


def scale(values, start, length):
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    return lambda value: start + (math.log10(value) - low) / (high - low) * length, range(low, high + 1)


def power(exponent, unit):
    names = {0: "1", 1: "10", 2: "100", 3: "1k", 4: "10k", 5: "100k", 6: "1M", 7: "10M", 8: "100M", 9: "1G", 10: "10G"}
    return f"{names.get(exponent, f'1e{exponent}')} {unit}".strip()


def panel(lines, title, unit, x0):
    x_of, x_ticks = scale([size for sizes in lines.values() for size in sizes], x0 + LEFT, WIDTH)
    y_of, y_ticks = scale([value for sizes in lines.values() for value in sizes.values()], TOP + HEIGHT, -HEIGHT)
    out = [f'<text x="{x0 + LEFT}" y="{TOP - 14}" font-weight="bold">{escape(title)}</text>']
    for tick in x_ticks:
        x = x_of(10.0 ** tick)
        out.append(f'<path d="M{x:.1f} {TOP}V{TOP + HEIGHT}" stroke="#ddd"/>'
                   f'<text x="{x:.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{power(tick, "")}</text>')
    for tick in y_ticks:
        y = y_of(10.0 ** tick)
        out.append(f'<path d="M{x0 + LEFT} {y:.1f}h{WIDTH}" stroke="#ddd"/>'
                   f'<text x="{x0 + LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{power(tick, unit)}</text>')
    labels = list(dict.fromkeys(label for label, _ in lines))
    for (label, engine), sizes in lines.items():
        colour = COLOURS[labels.index(label) % len(COLOURS)]
        dash = "" if engine == "colonnade" else ' stroke-dasharray="5 4"'
        points = [(x_of(size), y_of(value)) for size, value in sorted(sizes.items())]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        out.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points]
    for i, label in enumerate(labels):
        y = TOP + HEIGHT + 40 + 16 * i
        out.append(f'<rect x="{x0 + LEFT}" y="{y - 9}" width="10" height="10" fill="{COLOURS[i % len(COLOURS)]}"/>'
                   f'<text x="{x0 + LEFT + 16}" y="{y}">{escape(label)}</text>')
    return out


def plot(records, rows):
    times = medians(records, lambda r: (r["row"], r["value"]) if r["row"] in rows and r["unit"] == "us" else (None, 0))
    memory = medians(records, lambda r: ("resident at most", r.get("peak_bytes", 0)) if r["row"] in rows else (None, 0))
    if not times or not memory:
        sys.exit("growth: no such rows in these results")
    width, height = 2 * (LEFT + WIDTH + 20), TOP + HEIGHT + 60 + 16 * len(rows)
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                      'font-family="sans-serif" font-size="12">',
                      f'<rect width="{width}" height="{height}" fill="white"/>',
                      *panel(times, "time of a query against rows (solid: Colonnade, dashed: peers)", "us", 0),
                      *panel(memory, "memory of the process against rows", "B", LEFT + WIDTH + 20), "</svg>"]) + "\n"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__.strip().split("\n", maxsplit=1)[0])
    with open(sys.argv[1], encoding="utf-8") as lines:
        _, *records = map(json.loads, lines)
    records = [record for record in records if record["suite"] == "columns"]
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write(plot(records, sys.argv[3:] or ROWS))


if __name__ == "__main__":
    main()
