"""The benchmarks at their smallest size, with whatever engines are built: test_bench.py BUILD_DIRECTORY"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import bench_report  # noqa: E402
import growth  # noqa: E402

BUILD = sys.argv.pop(1)


def record(engine, value, answer="aa", better="higher", number=0):
    return {"suite": "kv", "size": 10, "round": number, "engine": engine, "row": "read", "unit": "ops/s",
            "better": better, "value": value, "answer": answer, "syncs": 0}


class Report(unittest.TestCase):
    def test_engines_that_read_different_things_are_named(self):
        same = [record("colonnade", 1), record("lmdb", 2)]
        self.assertEqual(bench_report.disagreements(same), [])
        found = bench_report.disagreements([record("colonnade", 1), record("lmdb", 2, answer="bb")])
        self.assertEqual(len(found), 1)
        self.assertIn("read", found[0])

    def test_ratios_above_one_are_better_for_rates_and_for_times(self):
        self.assertEqual(bench_report.ratio(20, 10, "higher"), "2.00")
        self.assertEqual(bench_report.ratio(10, 20, "lower"), "2.00")

    def test_processor_time_is_told_for_one_operation(self):
        found = {**record("colonnade", 1000), "seconds": 2.0, "cpu_seconds": 0.5}
        self.assertEqual(bench_report.processor_nanoseconds(found), 250_000)
        self.assertIsNone(bench_report.processor_nanoseconds({**found, "unit": "MB"}))
        lines = bench_report.processor_table({"read": {"colonnade": [found], "lmdb": [{**found, "cpu_seconds": 1.0}]}},
                                             ["colonnade", "lmdb"])
        self.assertTrue(lines[-1].endswith("| 2.00 |"), lines[-1])

    def test_encodings_are_set_beside_the_raw_column(self):
        rows = {f"count, {name}": {"colonnade": [record("colonnade", us)]} for name, us in
                (("clock_plain", 500), ("clock_packed", 125), ("noise_alp_rd", 1000), ("price_plain", 400))}
        lines = bench_report.encodings_table({**rows, "count, a < x": {"colonnade": [record("colonnade", 1)]}}, 10**7)
        self.assertEqual(lines[3:], ["| clock: plain | 2000 | 1.00 |", "| clock: packed | 8000 | 4.00 |",
                                     "| noise: alp_rd | 1000 | 0.40 |", "| price: plain | 2500 | 1.00 |"])
        self.assertEqual(bench_report.encodings_table({}, 10), [])

    def test_the_median_is_quoted_with_its_spread(self):
        text, middle = bench_report.cell([record("lmdb", value, number=i) for i, value in enumerate((100, 110, 400))])
        self.assertEqual(middle, 110)
        self.assertEqual(text, "110 ±136%")


class Runner(unittest.TestCase):
    def run_suite(self, *arguments):
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, ROOT / "bench" / "run", *arguments, "--rounds", "1", "--build", BUILD,
                       "--directory", directory, "--output", directory, "--name", "small"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            lines = (pathlib.Path(directory) / "small.jsonl").read_text(encoding="utf-8").splitlines()
            self.assertTrue((pathlib.Path(directory) / "small.md").exists())
        facts, *records = map(json.loads, lines)
        self.assertEqual(facts["failed"], {})
        return facts, records

    def test_every_kv_workload_gives_a_figure_and_engines_agree(self):
        facts, records = self.run_suite("kv", "--keys", "10000")
        self.assertIn("colonnade", facts["engines"])
        ours = {found["row"]: found for found in records if found["engine"] == "colonnade"}
        self.assertEqual(len(ours), 31)
        self.assertTrue(all(found["value"] > 0 for found in ours.values()))
        one_process = {"rocksdb", "leveldb", "wiredtiger"}
        rows = {engine: sum(found["engine"] == engine for found in records) for engine in facts["engines"]}
        self.assertEqual(rows, {engine: 26 if engine in one_process else 31 for engine in rows})
        for found in records:  # a synced put that never syncs would be a lie
            if found["workload"] == "put_synced":
                self.assertGreaterEqual(found["syncs"], 10000 // 250 - 1, found["engine"])

    def test_every_columns_workload_gives_a_figure_and_engines_agree(self):
        facts, records = self.run_suite("columns", "--rows", "10000")
        self.assertIn("colonnade", facts["engines"])
        ours = {found["row"] for found in records if (found["suite"], found["engine"]) == ("columns", "colonnade")}
        self.assertEqual(len(ours), 35)
        real = [found["row"] for found in records if (found["suite"], found["engine"]) == ("real", "colonnade")]
        self.assertEqual(len(real), len(set(real)))
        if real:  # pyarrow is there: the made groups at least, and every table whose data is there
            self.assertGreaterEqual(len([row for row in real if row.startswith(("H2O", "groups"))]), 6)
            self.assertEqual(len([row for row in real if row.startswith("facts: ")]), 11)
        self.assertTrue(all(found["peak_bytes"] > 0 for found in records))

    def test_growth_is_drawn_from_the_results_of_several_sizes(self):
        records = [{"suite": "columns", "engine": engine, "size": size, "row": "sum of a, 20 bits", "unit": "us",
                    "value": size / 1000 * factor, "peak_bytes": size * 30}
                   for engine, factor in (("colonnade", 1), ("duckdb", 9)) for size in (100_000, 1_000_000, 10_000_000)]
        picture = growth.plot(records, ["sum of a, 20 bits"])
        drawn = xml.etree.ElementTree.fromstring(picture)
        lines = [one for one in drawn if one.tag.endswith("path") and one.get("stroke-width")]
        self.assertEqual(len(lines), 4)  # two engines, time and memory
        self.assertEqual(sum(bool(one.get("stroke-dasharray")) for one in lines), 2)


if __name__ == "__main__":
    unittest.main()
