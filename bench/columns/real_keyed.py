"""Rows of the flights by key: read and written, one by one and many at once; and the file opened anew.

A number is given for what was done, then the questions that follow a write are asked at once, before the engine may
settle, which is off the clock. Rows are made before a clock starts. Engines that lack a method leave the work out.
"""

import time

import numpy
import pyarrow

SIX = ("id", "date", "delay", "distance", "origin", "destination")
THREE = ("delay", "distance", "origin")
SINGLES, BATCH, BATCHES, AT_ONCE, DELETED = 2000, 10_000, 10, 300_000, 30_000


class Keyed:
    """The work for one engine, which has the table already; `count` asks it the question of every round."""

    def __init__(self, engine, table, count):
        self.engine, self.table, self.count = engine, table, count
        self.random = numpy.random.default_rng(17)
        self.live = None

    def work(self, name):
        """(figures, seconds), as a question's."""
        found = getattr(self, name.removeprefix("flights_"))
        return found() if hasattr(self.engine, self.NEEDS[name]) else ([], 0)

    NEEDS = {"flights_row": "row", "flights_rows": "rows", "flights_open": "shut", "flights_put_each": "put_each",
             "flights_put_batches": "put", "flights_put_at_once": "put", "flights_delete": "delete"}

    # ---- reading ----

    def row(self):
        ids = self.random.integers(0, self.table.num_rows, 500).tolist()
        times, answer = [], 0
        for number in ids:
            begun = time.perf_counter()
            found = self.engine.row(number)
            times.append(time.perf_counter() - begun)
            answer += found[0] + found[3]
        return self.times("flights: one row of six columns by key", times, answer)

    def rows(self):
        times, answer = [], 0
        for _ in range(9):
            ids = self.random.integers(0, self.table.num_rows, BATCH)
            begun = time.perf_counter()
            found = self.engine.rows(ids, THREE)
            times.append(time.perf_counter() - begun)
            answer += sum(int(numpy.asarray(part).sum(dtype=numpy.int64)) for part in found[:2]) + text_bytes(found[2])
        return self.times("flights: 10,000 random keys at once, three columns", times, answer)

    def open(self):
        times, answer = [], 0
        for _ in range(3):
            self.engine.settle()
            self.engine.shut()
            begun = time.perf_counter()
            self.engine.open()
            answer = self.count()
            times.append(time.perf_counter() - begun)
        return self.times("flights: open, first count", times, answer)

    # ---- writing ----

    def changed(self, count):
        """That many of the live rows, in random order, each delayed a minute more."""
        if self.live is None:
            self.live = self.random.permutation(self.table.num_rows)
            if hasattr(self.engine, "prepare_keys"):
                self.engine.prepare_keys()
        picked = self.random.choice(self.live, min(count, max(1, len(self.live) // 4)), replace=False)
        rows = self.table.take(pyarrow.array(picked))
        delay = rows.schema.get_field_index("delay")
        more = pyarrow.array(rows["delay"].to_numpy() + numpy.int32(1))
        return rows.set_column(delay, rows.schema.field(delay), more).combine_chunks()

    def put_each(self):
        rows = self.changed(min(SINGLES, max(10, self.table.num_rows // 100)))
        made = self.engine.made_rows(rows)
        return self.written("one by one, each committed", rows.num_rows, lambda: self.engine.put_each(made))

    def put_batches(self):
        batches = [self.changed(BATCH) for _ in range(BATCHES)]
        return self.written("upserts of 10,000", sum(rows.num_rows for rows in batches),
                            lambda: [self.engine.put(rows) for rows in batches])

    def put_at_once(self):
        rows = self.changed(AT_ONCE)
        return self.written("300,000 upserts at once", rows.num_rows, lambda: self.engine.put(rows))

    def delete(self):
        ids = self.changed(DELETED)["id"].to_numpy()
        figures = self.written("30,000 keys deleted", len(ids), lambda: self.engine.delete(ids))
        self.live = numpy.setdiff1d(self.live, ids)
        return figures

    def written(self, what, count, write):
        begun = time.perf_counter()
        write()
        seconds = time.perf_counter() - begun
        after, answer = self.counted()
        self.engine.settle()
        settled, again = self.counted()
        if answer != again:
            raise RuntimeError(f"{what}: {answer} rows, {again} once they are settled")
        return [{"row": f"flights: {what}", "unit": "rows/s", "better": "higher", "value": count / seconds},
                figure(f"flights: count after {what}", after, answer),
                figure(f"flights: the same, settled after {what}", settled, answer)], seconds

    def counted(self):
        """The median of five, the first one right behind the write."""
        times, answer = [], 0
        for _ in range(5):
            begun = time.perf_counter()
            answer = self.count()
            times.append(time.perf_counter() - begun)
        return sorted(times)[2], answer

    def times(self, row, times, answer):
        middle = sorted(times)[len(times) // 2]
        return [figure(row, middle, answer)], middle


def figure(row, seconds, answer):
    return {"row": row, "unit": "us", "better": "lower", "value": 1e6 * seconds, "answer": f"{answer % 2**64:016x}"}


def text_bytes(texts):
    """Of an Arrow column, or of KVBytes as pairs of numbers."""
    if isinstance(texts, numpy.ndarray):
        return int(texts[1::2].sum())
    return pyarrow.compute.sum(pyarrow.compute.binary_length(texts)).as_py()
