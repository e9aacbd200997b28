#!/usr/bin/env python3
"""The demo runs, and its answers are those of SQLite over the same CSV file; so are many more questions."""

import csv
import json
import pathlib
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
DATA = ROOT / "build/data"
NUMBERS = {"year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay",
           "flight", "air_time", "distance", "hour", "minute"}


def load_flights():
    """The flights in SQLite, with timestamps as the text that both print."""
    database = sqlite3.connect(":memory:")
    with open(DATA / "flights.csv", newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        kinds = ", ".join(f"{name} {'integer' if name in NUMBERS else 'text'}" for name in header)
        database.execute(f"create table flights ({kinds}, primary key (time_hour, carrier, flight))")
        database.executemany(
            f"insert into flights values ({', '.join('?' * len(header))})",
            ([None if v in ("", "NA") else v.replace("T", " ").removesuffix("Z") if name == "time_hour" else v
              for name, v in zip(header, row)] for row in reader))
    database.commit()
    database.execute("pragma case_sensitive_like = on")
    return database


def as_sql(where):
    """Our filters are SQL but for typed literals: SQLite compares the text."""
    where = re.sub(r"timestamp '(\d{4}-\d\d-\d\d)'", r"'\1 00:00:00'", where or "true")
    return where.replace("timestamp '", "'")


class Demo(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sqlite = load_flights()
        directory = tempfile.TemporaryDirectory(prefix="colonnade-demo-test-")
        cls.addClassCleanup(directory.cleanup)
        cls.directory = pathlib.Path(directory.name)
        cls.demo = subprocess.run([sys.executable, ROOT / "tools/demo", "--program", PROGRAM, "--data", DATA,
                                   "--answers", cls.directory / "answers.json", "--keep", cls.directory / "kept"],
                                  capture_output=True, text=True, check=False)

    def same(self, results, where):
        got = list(results.values())
        expected = self.sqlite.execute(f"select {', '.join(results)} from flights where {as_sql(where)}").fetchone()
        for value, expect in zip(got, expected, strict=True):
            if isinstance(expect, float):
                self.assertAlmostEqual(value, expect, delta=1e-9 * max(1, abs(expect)), msg=where)
            else:
                self.assertEqual(value, expect, where)

    def correct_as_the_demo_does(self):
        """The late United flights of March, and the first late one of the file by hand; for one test."""
        self.addCleanup(self.sqlite.rollback)
        self.sqlite.execute("update flights set dep_delay = 0 where carrier = 'UA' and dep_delay > 60 and month = 3")
        self.sqlite.execute("update flights set dep_delay = 5 where rowid = (select min(rowid) from flights where "
                            "carrier = 'UA' and dep_delay > 60)")

    def test_the_demo_ends_well_and_its_answers_are_those_of_sqlite(self):
        self.assertEqual(self.demo.returncode, 0, self.demo.stderr)
        self.assertEqual(self.demo.stderr, "")
        answers = json.loads((self.directory / "answers.json").read_text())
        before = [answer for answer in answers if not answer["corrected"]]
        after = [answer for answer in answers if answer["corrected"]]
        self.assertGreaterEqual(len(before), 5)
        self.assertGreaterEqual(len(after), 1)
        for answer in before:
            self.same(answer["results"], answer["where"])
        self.correct_as_the_demo_does()
        for answer in after:
            self.same(answer["results"], answer["where"])
            self.assertNotIn(answer["results"], [a["results"] for a in before if a["where"] == answer["where"]])

    def test_the_kept_store_answers_as_sqlite_does(self):
        self.correct_as_the_demo_does()
        source = random.Random(2013)
        carriers = [row[0] for row in self.sqlite.execute("select distinct carrier from flights")]
        for _ in range(40):
            tests = source.sample([
                f"carrier = '{source.choice(carriers)}'",
                f"carrier not in ('{source.choice(carriers)}', '{source.choice(carriers)}')",
                f"dep_delay {source.choice(['>', '<', '>=', '<=', '=', '<>'])} {source.randrange(-20, 200)}",
                f"arr_delay between {source.randrange(-50, 0)} and {source.randrange(0, 100)}",
                f"distance > {source.randrange(100, 5000)}",
                f"dest like '{source.choice('ABCDEFGHIJKLMNOPQRSTUVWXYZ')}%'",
                f"time_hour >= timestamp '2013-{source.randrange(1, 13):02}-{source.randrange(1, 29):02}'",
                "dep_time is null", "air_time is not null", f"month = {source.randrange(0, 14)}",
            ], source.randrange(1, 4))
            where = source.choice([" and ", " or "]).join(tests)
            if source.random() < 0.2:
                where = f"not ({where})"
            words = [PROGRAM, "--db", self.directory / "kept/demo.db", "--format", "json", "query", "flights",
                     "--where", where, "--count", "--sum", "distance", "--min", "arr_delay", "--max", "air_time",
                     "--avg", "dep_delay", "--min", "tailnum", "--max", "time_hour"]
            done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
            self.same(json.loads(done.stdout)["results"], where)

    def test_a_demo_that_finds_something_else_fails(self):
        """The loop over the CSV file must notice wrong answers: here a program that puts a 1 before each count."""
        program = self.directory / "liar"
        program.write_text(f"#!{sys.executable}\nimport subprocess, sys\n"
                           f"done = subprocess.run([{str(PROGRAM)!r}, *sys.argv[1:]], capture_output=True, text=True)\n"
                           "out = done.stdout.replace('\"count(*)\": ', '\"count(*)\": 1')\n"
                           "sys.stdout.write(out); sys.stderr.write(done.stderr); sys.exit(done.returncode)\n")
        program.chmod(0o755)
        done = subprocess.run([sys.executable, ROOT / "tools/demo", "--program", program, "--data", DATA],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the demo failed: a loop over the rows gives", done.stderr)


if __name__ == "__main__":
    if not (DATA / "flights.csv").exists():
        print(f"{DATA}/flights.csv is not there: tools/install-deps fetches it")
        sys.exit(77)
    unittest.main()
