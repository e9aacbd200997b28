"""Tables of medians and ratios from the records of bench/run."""

import collections
import re
import statistics

OURS = "colonnade"
ENCODED_ROWS_MOST = 1_000_000  # as LOAD_MAX of columns_main.c


def disagreements(records):
    """Rows for which two engines read different things in the same round."""
    answers = collections.defaultdict(lambda: collections.defaultdict(set))
    for record in records:
        if "answer" in record:
            key = (record["suite"], record["size"], record["row"], record["round"])
            answers[key][record["answer"]].add(record["engine"])
    return [f"{suite} {size:,}, {row}, round {number + 1}: {dict(found)}"
            for (suite, size, row, number), found in answers.items() if len(found) > 1]


def number(value):
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    if value >= 1e5:
        return f"{value / 1e3:.0f}k"
    if value >= 1e4:
        return f"{value / 1e3:.1f}k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def ratio(ours, best, better):
    """Above 1: we are faster, or smaller."""
    if not ours or not best:
        return ""
    value = best / ours if better == "lower" else ours / best
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def grouped(records):
    """{(suite, size): {row: {engine: [record of each round]}}}, in the order of the records."""
    groups = {}
    for record in records:
        rows = groups.setdefault((record["suite"], record["size"]), {})
        rows.setdefault(record["row"], {}).setdefault(record["engine"], []).append(record)
    return groups


def cell(records):
    if not records:
        return "–", None
    values = sorted(record["value"] for record in records)
    middle = statistics.median(values)
    spread = (values[-1] - values[0]) / middle if middle and len(values) > 1 else 0
    return number(middle) + (f" ±{50 * spread:.0f}%" if spread >= 0.2 else ""), middle


def syncs_of(records):
    return "/".join(str(round(statistics.median(record["syncs"] for record in found))) for found in records if found)


def table(rows, engines):
    peers = [engine for engine in engines if engine != OURS]
    head = ["workload", "unit", *engines, *[f"against {peer}" for peer in peers], "syncs"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row, found in rows.items():
        first = next(iter(found.values()))[0]
        texts, medians = zip(*(cell(found.get(engine, [])) for engine in engines))
        of = dict(zip(engines, medians))
        ratios = [ratio(of.get(OURS), of[peer], first["better"]) for peer in peers]
        syncs = syncs_of([found.get(engine, []) for engine in engines])
        lines.append("| " + " | ".join([row, first["unit"], *texts, *ratios, syncs]) + " |")
    return lines


def processor_nanoseconds(record):
    """Of the engine's process, all its threads, for one operation; None for what is no rate."""
    operations = record["value"] * record["seconds"]
    if record["unit"] not in ("ops/s", "rows/s") or not operations:
        return None
    return 1e9 * record["cpu_seconds"] / operations


def processor_table(rows, engines):
    peers = [engine for engine in engines if engine != OURS]
    head = ["processor time, ns for one", *engines, *[f"against {peer}" for peer in peers]]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row, found in rows.items():
        of = {}
        for engine, records in found.items():
            spent = [spent for spent in map(processor_nanoseconds, records) if spent is not None]
            if spent:
                of[engine] = statistics.median(spent)
        if not of:
            continue
        texts = [number(of[engine]) if engine in of else "–" for engine in engines]
        ratios = [ratio(of.get(OURS), of.get(peer), "lower") for peer in peers]
        lines.append("| " + " | ".join([row, *texts, *ratios]) + " |")
    return lines


def encodings_table(rows, size):
    """Rows a second of the counts of one kind of values as each encoding, beside the same values plain."""
    counts = {match[1]: found for row, found in rows.items() if (match := re.fullmatch(r"count, (\w+_\w+)", row))}
    speeds = {name: min(size, ENCODED_ROWS_MOST) / statistics.median(one["value"] for one in found[OURS])
              for name, found in counts.items() if found.get(OURS)}
    raw = {name.removesuffix("_plain"): speed for name, speed in speeds.items() if name.endswith("_plain")}
    raw["noise"] = raw.get("price", 0)  # doubles, too
    if not speeds:
        return []
    lines = ["", "| count by encoding | million rows/s | of the raw column |", "|---|---|---|"]
    for name, speed in speeds.items():
        kind, encoding = name.split("_", 1)
        lines.append(f"| {kind}: {encoding} | {number(speed)} | {ratio(speed, raw.get(kind), 'higher')} |")
    return lines


def heading(suite, size):
    if suite == "kv":
        return f"## Pairs: {size:,} keys of 16 bytes, values of 100 bytes"
    if suite == "real":
        return f"## Real and made data, from Python: at most {size:,} rows"
    return f"## Columns: {size:,} rows"


def markdown(facts, records):
    load = ", ".join(f"{value:.1f}" for value in facts["load_average"])
    after = ", ".join(f"{value:.1f}" for value in facts["load_average_after"])
    lines = ["# Benchmark results", "",
             f"{facts['date']}, commit {facts['commit']}. {facts['processor']}, {facts['cores']} cores, "
             f"{facts['memory']}, {facts['system']}, {facts['file_system']}. Load average before {load}, after "
             f"{after}. Medians of {facts['rounds']} interleaved rounds; ± is half the range where it is over 10 %. "
             "Ratios above 1: Colonnade is faster, or smaller. Syncs: counted, one median for each engine in the order "
             "of the columns.", ""]
    for engine, greeting in facts["engines"].items():
        lines.append(f"- {engine} {greeting['version']}: {greeting['settings']}")
    lines += [f"- left out: {engine}: {why}" for engine, why in facts["left_out"].items()]
    for suite, failures in facts["failed"].items():
        lines += [f"- failed in {suite}: {engine}, {why}" for engine, why in failures.items()]
    for (suite, size), rows in grouped(records).items():
        engines = sorted({engine for found in rows.values() for engine in found}, key=lambda name: (name != OURS, name))
        lines += ["", heading(suite, size), "", *table(rows, engines)]
        if suite == "kv":
            lines += ["", *processor_table(rows, engines)]
        elif suite == "columns":
            lines += encodings_table(rows, size)
    problems = disagreements(records)
    lines += ["", "The engines disagree: " + "; ".join(problems) if problems
              else "Whatever the engines read was compared: they agree."]
    return "\n".join(lines) + "\n"
