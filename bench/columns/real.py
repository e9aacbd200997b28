#!/usr/bin/env python3
"""Questions to real data, each engine in a Python process of its own: real.py ENGINE LIBRARY DATA DIRECTORY ROWS

Engines: colonnade (through ctypes), duckdb, polars, pyarrow, numpy. Tables: `flights`, 3 million flights of 2001 with a
row number as key; `nyc`, the flights that left New York in 2013, with nulls and without a key; `lineitem` of TPC-H at
scale 1, without a key, decimals as hundredths; `groups`, the numbers of the H2O group-by benchmark, groups of 100;
`orders` and `customer`, by their keys, for TPC-H Q3; `facts`, made as the rows of columns_main.c are. All engines load
the same Arrow tables, of at most ROWS rows. A clock sees the call, parsing included, up to the result: a number, or an
Arrow table. Names of workloads come in line by line, a line of JSON goes out for each, as from the C programs
(harness.h). What an engine cannot say it leaves out.
"""

import json
import pathlib
import resource
import sys
import time

import numpy
import pyarrow
import pyarrow.parquet

from real_colonnade import Colonnade
from real_keyed import Keyed
from real_peers import DuckDB, NumPy, Polars, PyArrow
from real_questions import QUESTIONS, TABLES, columns_of, resolved

ROWS_FEW = 20_000
ENGINES = {"colonnade": Colonnade, "duckdb": DuckDB, "polars": Polars, "pyarrow": PyArrow, "numpy": NumPy}


# ---- answers, and the conversation ----

def answer_of(question, result):
    """What does not depend on the order of groups or on how a mean was rounded."""
    if question["out"]:
        return int(sum(part.sum(dtype=numpy.float64) for part in result[0]))
    if isinstance(result, tuple):
        result = pyarrow.table({str(i): [value] for i, value in enumerate(result)})
    if question["top"]:
        return sum(result[question["top"][0]].to_pylist())
    mixed = numpy.zeros(result.num_rows, dtype=numpy.uint64)
    for column in result.columns:
        if pyarrow.types.is_integer(column.type) or pyarrow.types.is_decimal(column.type):
            mixed += column.cast(pyarrow.int64()).to_numpy().astype(numpy.uint64) * numpy.uint64(0x9e3779b97f4a7c15)
    return int((mixed ^ mixed >> numpy.uint64(29)).sum(dtype=numpy.uint64))


def timed(engine, question, rows):
    """The median of up to 200 runs within 0.3 seconds, at least five; of few rows within a tenth of that."""
    times, begun, seconds = [], time.perf_counter(), 0.3 if rows > ROWS_FEW else 0.03
    while len(times) < 5 or (len(times) < 200 and time.perf_counter() - begun < seconds):
        at = time.perf_counter()
        result = engine.run(question)
        times.append(time.perf_counter() - at)
        if result is None:
            return None, None
        answer = answer_of(question, result) if len(times) == 1 else answer
        if question["out"] and result[1]:
            result[1]()
    return sorted(times)[len(times) // 2], answer


class Host:
    def __init__(self, engine, data, rows):
        self.engine, self.data, self.rows, self.loaded, self.keyed = engine, data, rows, {}, None
        self.columns = {}

    def load(self, name):
        make, key = TABLES[name]
        table = make(self.data, self.rows)
        self.loaded[name], self.columns[name] = table.num_rows, set(table.column_names)
        if name == "flights":
            self.keyed = Keyed(self.engine, table, self.count_flights)
        before = self.closed_bytes() if hasattr(self.engine, "bytes") else 0
        begun = time.perf_counter()
        self.engine.load(name, table, key)
        seconds = time.perf_counter() - begun
        figures = []
        if not isinstance(self.engine, (PyArrow, NumPy)):  # they keep the table itself
            figures.append({"row": f"{name}: load from Arrow", "unit": "rows/s", "better": "higher",
                            "value": table.num_rows / seconds})
        if hasattr(self.engine, "bytes"):
            taken = self.closed_bytes() - before
        elif isinstance(self.engine, PyArrow):  # the peer of what lies in a file
            path = pathlib.Path(f"{name}.parquet")
            pyarrow.parquet.write_table(table, path, compression="zstd")
            taken = path.stat().st_size
        else:
            return figures, seconds
        figures.append({"row": f"{name}: bytes per row in the file (pyarrow: Parquet, zstd)", "unit": "bytes",
                        "better": "lower", "value": taken / table.num_rows})
        return figures, seconds

    def closed_bytes(self):
        self.engine.settle()
        self.engine.shut()
        taken = self.engine.bytes()
        self.engine.open()
        return taken

    def question(self, name):
        question = QUESTIONS[name]
        if not columns_of(question) <= self.columns[question["table"]]:
            return [], 0
        question = resolved(question, self.loaded[question["table"]])
        seconds, answer = timed(self.engine, question, self.rows)
        if seconds is None:
            return [], 0
        return [{"row": question["name"], "unit": "us", "better": "lower", "value": 1e6 * seconds,
                 "answer": f"{answer % 2**64:016x}"}], seconds

    def joined(self):
        """TPC-H Q3: lineitem, orders and customer; of ten rows the order, its sum and nothing else."""
        if not hasattr(self.engine, "q3"):
            return [], 0
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            found = self.engine.q3()
            times.append(time.perf_counter() - begun)
        sums = found.column(found.num_columns - 1).cast(pyarrow.int64())
        answer = sum(found.column(0).to_pylist()) + sum(sums.to_pylist())
        return [{"row": "lineitem, orders, customer: TPC-H Q3", "unit": "us", "better": "lower",
                 "value": 1e6 * sorted(times)[2], "answer": f"{answer % 2**64:016x}"}], sorted(times)[2]

    def count_flights(self):
        question = QUESTIONS["flights_range"]
        result = self.engine.run(question)
        return int(result[0] if isinstance(result, tuple) else result[0][0].as_py())

    def work(self, name):
        cpu = time.process_time()
        if name in Keyed.NEEDS:
            figures, seconds = self.keyed.work(name)
        elif name == "lineitem_q3":
            figures, seconds = self.joined()
        else:
            figures, seconds = self.load(name[5:]) if name.startswith("load_") else self.question(name)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {"workload": name, "seconds": seconds, "cpu_seconds": time.process_time() - cpu, "syncs": 0,
                "peak_bytes": usage.ru_maxrss * 1024, "figures": figures}


def main():
    name, library, data, directory, rows = sys.argv[1:]
    engine = ENGINES[name](directory, library)
    print(json.dumps({"engine": name, "version": engine.version, "settings": engine.settings}), flush=True)
    host = Host(engine, pathlib.Path(data), int(rows))
    for line in sys.stdin:
        try:
            print(json.dumps(host.work(line.strip())), flush=True)
        except Exception as failure:  # whatever an engine throws is told, and the others go on
            print(json.dumps({"error": f"{type(failure).__name__}: {failure}"}), flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
