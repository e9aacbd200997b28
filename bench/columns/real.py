#!/usr/bin/env python3
"""Questions to real data, each engine in a Python process of its own: real.py ENGINE LIBRARY DATA DIRECTORY ROWS

Engines: colonnade (through ctypes), duckdb, polars, pyarrow, numpy. Tables: `flights`, 3 million flights of 2001 with a
row number as key; `lineitem` of TPC-H at scale 1, without a key, decimals as hundredths; `groups`, the numbers of the
H2O group-by benchmark, groups of 100. All engines load the same Arrow tables, of at most ROWS rows. A clock sees the
call, parsing included, up to the result: a number, or an Arrow table. Names of workloads come in line by line, a line
of JSON goes out for each, as from the C programs (harness.h). What an engine cannot say it leaves out.
"""

import ctypes
import json
import os
import pathlib
import resource
import sys
import time

import numpy
import pyarrow
import pyarrow.compute as pc
import pyarrow.parquet

THREADS = int(os.environ.get("COLONNADE_BENCH_THREADS", "1"))
AIRPORTS = ["ABQ", "ALB", "AUS", "BNA", "BOS", "BUF", "CLE", "CMH", "DAL", "ELP", "GEG", "HNL", "IND", "JAX", "LIT",
            "MCI", "MSY", "OAK", "OKC", "ONT"]
DAY = {"1994-01-01": 8766, "1995-01-01": 9131, "1998-09-02": 10471}


# ---- tables ----

def flights(data, rows):
    table = pyarrow.parquet.read_table(data / "flights-3m.parquet").slice(0, rows)
    columns = {"id": numpy.arange(table.num_rows, dtype=numpy.int64)}
    columns.update({name: table.column(name) for name in table.column_names})
    columns["delay"] = table["delay"].cast(pyarrow.int32())
    columns["distance"] = table["distance"].cast(pyarrow.int32())
    for name in ("origin", "destination"):
        columns[name] = table[name].cast(pyarrow.string())
    return required(pyarrow.table(columns))


def lineitem(data, rows):
    table = pyarrow.parquet.read_table(data / "lineitem.parquet").slice(0, rows)
    columns = {}
    for field in table.schema:
        column = table[field.name]
        if pyarrow.types.is_decimal(field.type):
            column = pc.round(pc.multiply(column.cast(pyarrow.float64()), 100)).cast(pyarrow.int64())
        elif not pyarrow.types.is_integer(field.type) and not pyarrow.types.is_date(field.type):
            column = column.cast(pyarrow.string())
        columns[field.name] = column
    return required(pyarrow.table(columns))


def groups(_, rows):
    """As the generator of the benchmark: 100 groups, 100 groups, rows / 100 groups; values to 5, 15 and 100."""
    random = numpy.random.default_rng(108)
    many = max(1, rows // 100)
    texts = {"id1": ("id%03d", 100), "id3": ("id%010d", many)}
    columns = {}
    for name, (form, count) in texts.items():
        names = pyarrow.array([form % (i + 1) for i in range(count)])
        columns[name] = names.take(pyarrow.array(random.integers(0, count, rows)))
    columns["id4"] = random.integers(1, 101, rows, dtype=numpy.int32)
    columns["id6"] = random.integers(1, many + 1, rows, dtype=numpy.int32)
    columns["v1"] = random.integers(1, 6, rows, dtype=numpy.int32)
    columns["v2"] = random.integers(1, 16, rows, dtype=numpy.int32)
    return required(pyarrow.table(columns))


def arrays(_, rows):
    """Columns to take out whole: decimals, and the same laid out as an array where an engine can."""
    random = numpy.random.default_rng(5)
    decimals = numpy.round(random.uniform(0, 1000, rows), 2)
    return required(pyarrow.table({"whole": random.integers(0, 5000, rows, dtype=numpy.int32), "decimals": decimals,
                                   "decimals_array": decimals}))


def required(table):
    table = table.combine_chunks()
    return table.cast(pyarrow.schema([pyarrow.field(f.name, f.type, nullable=bool(table[f.name].null_count))
                                      for f in table.schema]))


TABLES = {"flights": (flights, "id"), "lineitem": (lineitem, None), "groups": (groups, None), "arrays": (arrays, None)}


# ---- questions: conditions (column, operator, constant), all of which hold; groups; aggregates ----

def ask(table, name, where=(), by=(), compute=(("count", None),), top=None, distinct=None, out=None):
    return {"table": table, "name": name, "where": where, "by": by, "compute": compute, "top": top,
            "distinct": distinct, "out": out}


PAID = "l_extendedprice * (100 - l_discount)"
CHARGED = "l_extendedprice * (100 - l_discount) * (100 + l_tax)"
COUNT, THREE = (("count", None),), (("count", None), ("sum", "delay"))
QUESTIONS = {
    "flights_range": ask("flights", "flights: count, integer range", [("distance", "between", (1500, 2200))]),
    "flights_two": ask("flights", "flights: count, integer and text = constant",
                       [("delay", ">", 60), ("origin", "=", "ORD")]),
    "flights_prefix": ask("flights", "flights: count, prefix of 229 texts", [("origin", "prefix", "S")]),
    "flights_list": ask("flights", "flights: count, text in a list of 20", [("origin", "in", AIRPORTS)]),
    "flights_sum": ask("flights", "flights: sum of a column", compute=(("sum", "distance"),)),
    "flights_four": ask("flights", "flights: sum, min, max, mean under a filter", [("delay", ">", 10)],
                        compute=tuple((kind, "distance") for kind in ("sum", "min", "max", "mean"))),
    "flights_by_text": ask("flights", "flights: group by 229 texts: count, sum", by=("origin",), compute=THREE),
    "flights_by_two": ask("flights", "flights: group by two texts: count, sum", by=("origin", "destination"),
                          compute=THREE),
    "flights_top": ask("flights", "flights: top 10 rows by a column", top=("delay", 10)),
    "flights_distinct": ask("flights", "flights: count distinct of a text", distinct="origin"),
    "flights_key": ask("flights", "flights: 1 % by key range: count, sum", [("id", "between", (0.5, 0.51))],
                       compute=THREE),
    "lineitem_q6": ask("lineitem", "lineitem: TPC-H Q6",
                       [("l_shipdate", ">=", "1994-01-01"), ("l_shipdate", "<", "1995-01-01"),
                        ("l_discount", "between", (5, 7)), ("l_quantity", "<", 2400)],
                       compute=(("sum", "l_extendedprice * l_discount"),)),
    "lineitem_q1": ask("lineitem", "lineitem: TPC-H Q1", [("l_shipdate", "<=", "1998-09-02")],
                       by=("l_returnflag", "l_linestatus"),
                       compute=(("sum", "l_quantity"), ("sum", "l_extendedprice"), ("sum", PAID), ("sum", CHARGED),
                                ("mean", "l_quantity"), ("mean", "l_extendedprice"), ("mean", "l_discount"),
                                ("count", None))),
    "lineitem_prefix": ask("lineitem", "lineitem: prefix of 4.6 M comments", [("l_comment", "prefix", "carefully")]),
    "lineitem_orders": ask("lineitem", "lineitem: group by 1.5 M orders", by=("l_orderkey",),
                           compute=(("count", None), ("sum", "l_quantity"))),
    "lineitem_parts": ask("lineitem", "lineitem: group by 200 K parts", by=("l_partkey",),
                          compute=(("count", None), ("sum", "l_quantity"))),
    "groups_100": ask("groups", "H2O: sum by 100 texts", by=("id1",), compute=(("sum", "v1"),)),
    "groups_10000": ask("groups", "H2O: sum by 100 texts and 100 integers", by=("id1", "id4"),
                        compute=(("sum", "v1"),)),
    "groups_many_texts": ask("groups", "H2O: sums by rows / 100 texts", by=("id3",),
                             compute=(("sum", "v1"), ("sum", "v2"))),
    "groups_many": ask("groups", "H2O: sums by rows / 100 integers", by=("id6",),
                       compute=(("sum", "v1"), ("sum", "v2"))),
    "arrays_int": ask("arrays", "arrays: a whole int32 column as NumPy", out="whole"),
    "arrays_double": ask("arrays", "arrays: a whole double column as NumPy", out="decimals"),
    "arrays_in_file": ask("arrays", "arrays: the same, laid out as an array", out="decimals_array"),
}


def resolved(question, rows):
    """Parts of the key become row numbers."""
    where = [(column, op, tuple(int(part * rows) for part in value)) if column == "id" else (column, op, value)
             for column, op, value in question["where"]]
    return {**question, "where": where}


def literal(value):
    if isinstance(value, str) and value in DAY:
        return f"date '{value}'"
    return f"'{value}'" if isinstance(value, str) else str(value)


def condition(column, op, value):
    if op == "between":
        return f"{column} between {value[0]} and {value[1]}"
    if op == "in":
        return f"{column} in ({', '.join(map(literal, value))})"
    return f"{column} like '{value}%'" if op == "prefix" else f"{column} {op} {literal(value)}"


def where_text(question):
    return " and ".join(condition(*one) for one in question["where"])


# ---- engines ----

class Colonnade:
    KINDS = {"count": 0, "sum": 2, "min": 3, "max": 4, "mean": 5, "distinct": 10}

    class Definition(ctypes.Structure):
        _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_int), ("flags", ctypes.c_int),
                    ("width", ctypes.c_uint32)]

    class Aggregate(ctypes.Structure):
        _fields_ = [("kind", ctypes.c_int), ("column", ctypes.c_char_p)]

    class Value(ctypes.Structure):
        _fields_ = [("type", ctypes.c_int), ("is_null", ctypes.c_int), ("low", ctypes.c_int64),
                    ("high", ctypes.c_int64)]

        def number(self):
            if self.type == 11:
                return ctypes.c_double.from_buffer(ctypes.c_int64(self.low)).value
            return self.high << 64 | self.low & 2 ** 64 - 1 if self.type == 13 else self.low

    class Order(ctypes.Structure):
        _fields_ = [("column", ctypes.c_char_p), ("flags", ctypes.c_int)]

    class Stream(ctypes.Structure):
        _fields_ = [("pointers", ctypes.c_void_p * 5)]

    class Array(ctypes.Structure):
        _fields_ = [("values", ctypes.c_void_p), ("valid", ctypes.c_void_p), ("in_file", ctypes.c_int)]

    class Piece(ctypes.Structure):
        _fields_ = [("row_count", ctypes.c_uint64), ("live", ctypes.c_void_p), ("arrays", ctypes.c_void_p)]

    class View(ctypes.Structure):
        _fields_ = [("struct_size", ctypes.c_size_t), ("row_count", ctypes.c_uint64),
                    ("column_count", ctypes.c_size_t), ("widths", ctypes.c_void_p), ("piece_count", ctypes.c_size_t),
                    ("pieces", ctypes.c_void_p)]

    def __init__(self, directory, library):
        self.library, self.path, self.tables = ctypes.CDLL(library), f"{directory}/real.db", {}
        self.library.kvstore_errmsg.restype = ctypes.c_char_p
        self.store = ctypes.c_void_p()
        self.check(self.library.kvstore_open(self.path.encode(), ctypes.byref(self.store), ctypes.c_int(1)))
        self.version = "this build"
        self.settings = f"ctypes, Arrow streams in and out, {THREADS} thread(s) for aggregates, one for groups and rows"

    def check(self, code):
        if code:
            raise RuntimeError(self.library.kvstore_errmsg(self.store).decode())

    def definition(self, field):
        kinds = {"int32": 4, "int64": 5, "double": 11, "date32[day]": 12, "timestamp[us]": 18, "string": 19}
        flags = int(field.nullable) | 16 * field.name.endswith("_array")
        return self.Definition(field.name.encode(), kinds[str(field.type)], flags, 0)

    def load(self, name, table, key):
        columns = (self.Definition * table.num_columns)(*map(self.definition, table.schema))
        keys = (ctypes.c_char_p * 1)(key.encode()) if key else None
        made, stream, rows = ctypes.c_void_p(), self.Stream(), ctypes.c_uint64()
        self.check(self.library.kvtable_create(self.store, name.encode(), columns, ctypes.c_size_t(len(columns)), keys,
                                               ctypes.c_size_t(bool(key)), ctypes.byref(made)))
        table.to_reader()._export_to_c(ctypes.addressof(stream))
        self.check(self.library.kvtable_append_stream(made, ctypes.byref(stream), 0, ctypes.byref(rows)))
        self.tables[name] = made

    def settle(self):
        self.check(self.library.kvstore_checkpoint(self.store, 3, None, None))
        self.check(self.library.kvstore_maintain(self.store))

    def bytes(self):
        return os.path.getsize(self.path)

    def aggregates(self, pairs):
        return (self.Aggregate * len(pairs))(*[self.Aggregate(self.KINDS[kind], column and column.encode())
                                               for kind, column in pairs]), ctypes.c_size_t(len(pairs))

    def whole(self, question):
        """A list of NumPy arrays, a piece each, over the memory of a view; and what closes it."""
        view, names = ctypes.c_void_p(), (ctypes.c_char_p * 1)(question["out"].encode())
        self.check(self.library.kvtable_view(self.tables[question["table"]], names, ctypes.c_size_t(1), None,
                                             ctypes.byref(view)))
        shown, kind = self.View.from_address(view.value), numpy.int32 if question["out"] == "whole" else numpy.float64
        out = []
        for piece in (self.Piece * shown.piece_count).from_address(shown.pieces):
            memory = ctypes.c_uint8 * (piece.row_count * numpy.dtype(kind).itemsize)
            values = self.Array.from_address(piece.arrays).values
            out.append(numpy.frombuffer(memory.from_address(values), dtype=kind))
        return out, lambda: self.library.kvtable_view_close(view)

    def run(self, question):
        if question["out"]:
            return self.whole(question)
        query, library, stream = ctypes.c_void_p(), self.library, self.Stream()
        self.check(library.kvquery_create(self.tables[question["table"]], ctypes.byref(query)))
        try:
            self.check(library.kvquery_threads(query, ctypes.c_uint32(THREADS)))
            self.check(library.kvquery_where(query, where_text(question).encode(), None, ctypes.c_size_t(0)))
            if question["top"]:
                column, limit = question["top"]
                self.check(library.kvquery_order_by(query, ctypes.byref(self.Order(column.encode(), 1)),
                                                    ctypes.c_size_t(1)))
                self.check(library.kvquery_limit(query, ctypes.c_uint64(0), ctypes.c_uint64(limit)))
            elif question["compute"] == COUNT and not question["by"] and not question["distinct"]:
                count = ctypes.c_uint64()
                self.check(library.kvquery_count(query, ctypes.byref(count)))
                return (count.value,)
            elif not question["by"] and not question["distinct"]:
                values = (self.Value * len(question["compute"]))()
                self.check(library.kvquery_aggregate(query, *self.aggregates(question["compute"]), values))
                return tuple(value.number() for value in values)
            else:
                by = (ctypes.c_char_p * max(1, len(question["by"])))(*[name.encode() for name in question["by"]])
                self.check(library.kvquery_group_by(query, by, ctypes.c_size_t(len(question["by"]))))
                pairs = [("distinct", question["distinct"])] if question["distinct"] else question["compute"]
                self.check(library.kvquery_compute(query, *self.aggregates(pairs)))
            self.check(library.kvquery_open_stream(query, ctypes.byref(stream)))
            return pyarrow.RecordBatchReader._import_from_c(ctypes.addressof(stream)).read_all()
        finally:
            library.kvquery_close(query)


class DuckDB:
    NAMES = {"mean": "avg"}

    def __init__(self, directory, _):
        import duckdb
        self.path = f"{directory}/real.duckdb"
        self.connection = duckdb.connect(self.path, config={"threads": THREADS})
        self.version, self.settings = duckdb.__version__, f"file database, {THREADS} thread(s), results as Arrow"

    def load(self, name, table, key):
        self.connection.register("arrow", table)
        self.connection.execute(f"create table {name} as select * from arrow")
        self.connection.unregister("arrow")

    def settle(self):
        self.connection.execute("checkpoint")

    def bytes(self):
        return os.path.getsize(self.path)

    def text(self, question):
        where = f" where {where_text(question)}" if question["where"] else ""
        if question["top"]:
            column, limit = question["top"]
            return f"select * from {question['table']} order by {column} desc limit {limit}"
        if question["out"]:
            return f"select {question['out']} from {question['table']}"
        if question["distinct"]:
            return f"select count(distinct {question['distinct']}) from {question['table']}"
        asked = [f"{self.NAMES.get(kind, kind)}({column or '*'})" for kind, column in question["compute"]]
        by = ", ".join(question["by"])
        return f"select {', '.join([*question['by'], *asked])} from {question['table']}{where}" + (
            f" group by {by}" if by else "")

    def run(self, question):
        done = self.connection.execute(self.text(question))
        return ([done.fetchnumpy()[question["out"]]], None) if question["out"] else done.to_arrow_table()


class Polars:
    def __init__(self, _, __):
        os.environ["POLARS_MAX_THREADS"] = str(THREADS)
        import polars
        self.polars, self.tables = polars, {}
        self.version, self.settings = polars.__version__, f"in memory, {THREADS} thread(s), lazy, results as Arrow"

    def load(self, name, table, key):
        self.tables[name] = self.polars.from_arrow(table)

    def run(self, question):
        if question["out"]:
            return [self.tables[question["table"]][question["out"]].to_numpy()], None
        pl, frame = self.polars, self.tables[question["table"]].lazy()
        for one in question["where"]:
            frame = frame.filter(self.test(*one))
        if question["top"]:
            column, limit = question["top"]
            return frame.top_k(limit, by=column).collect().to_arrow()
        if question["distinct"]:
            return frame.select(pl.col(question["distinct"]).n_unique()).collect().to_arrow()
        asked = [pl.len().alias("n") if kind == "count" else getattr(self.value(column), kind)().alias(
            f"{kind}{column}") for kind, column in question["compute"]]
        done = frame.group_by(question["by"]).agg(asked) if question["by"] else frame.select(asked)
        return done.collect().to_arrow()

    def test(self, column, op, value):
        name = self.polars.col(column)
        if op == "between":
            return name.is_between(*value)
        if op == "in":
            return name.is_in(value)
        if op == "prefix":
            return name.str.starts_with(value)
        if value in DAY:
            value = self.polars.lit(DAY[value]).cast(self.polars.Date)
        return {"=": name.__eq__, "<": name.__lt__, "<=": name.__le__, ">": name.__gt__, ">=": name.__ge__}[op](value)

    def value(self, text):
        """A column, or what is computed: polars reads the text itself."""
        pl = self.polars
        return pl.col(text).cast(pl.Int64) if text.isidentifier() else pl.sql_expr(text)


class PyArrow:
    NAMES = {"count": "count_all"}

    def __init__(self, _, __):
        pyarrow.set_cpu_count(THREADS)
        self.tables, self.version = {}, pyarrow.__version__
        self.settings = f"in memory, {THREADS} thread(s), compute functions and Table.group_by"

    def load(self, name, table, key):
        self.tables[name] = table

    def run(self, question):
        table = self.tables[question["table"]]
        if question["out"]:
            return [table[question["out"]].to_numpy()], None
        for one in question["where"]:
            table = table.filter(self.test(table, *one))
        if question["top"]:
            column, limit = question["top"]
            return table.take(pc.select_k_unstable(table, limit, [(column, "descending")]))
        if question["distinct"]:
            return (pc.count_distinct(table[question["distinct"]]).as_py(),)
        for text in sorted({column for _, column in question["compute"] if column and not column.isidentifier()}):
            table = table.append_column(text, self.computed(table, text))
        asked = [([] if column is None else column, self.NAMES.get(kind, kind)) for kind, column in question["compute"]]
        return table.group_by(list(question["by"]), use_threads=THREADS > 1).aggregate(asked)

    def test(self, table, column, op, value):
        values = table[column]
        if op == "between":
            return pc.and_(pc.greater_equal(values, value[0]), pc.less_equal(values, value[1]))
        if op == "in":
            return pc.is_in(values, pyarrow.array(value))
        if op == "prefix":
            return pc.starts_with(values, value)
        if value in DAY:
            value = pyarrow.scalar(DAY[value], pyarrow.int32()).cast(pyarrow.date32())
        return {"=": pc.equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}[op](
            values, value)

    def computed(self, table, text):
        """Products and differences of columns and numbers, as Python reads them."""
        class Operand:
            def __init__(self, array):
                self.array = array

            def __mul__(self, other):
                return Operand(pc.multiply(self.array, other.array))

            def __radd__(self, number):
                return Operand(pc.add(number, self.array))

            def __rsub__(self, number):
                return Operand(pc.subtract(number, self.array))

        columns = {name: Operand(table[name]) for name in table.column_names}
        return eval(text, {"__builtins__": {}}, columns).array


class NumPy:
    """Numbers alone, without groups: what one would write by hand."""

    def __init__(self, _, __):
        self.tables, self.version, self.settings = {}, numpy.__version__, "arrays in memory, one thread"

    def load(self, name, table, key):
        self.tables[name] = {field.name: table[field.name].to_numpy() for field in table.schema
                             if pyarrow.types.is_integer(field.type)}

    def run(self, question):
        if question["out"]:
            return None  # it is one
        arrays = self.tables[question["table"]]
        if question["by"] or question["distinct"] or question["top"] or any(
                one[0] not in arrays for one in question["where"]):
            return None
        mask = None
        for one in question["where"]:
            mask = self.test(arrays, *one) if mask is None else mask & self.test(arrays, *one)
        return self.aggregates(arrays, mask, question["compute"])

    def test(self, arrays, column, op, value):
        values = arrays[column]
        if op == "between":
            return (values >= value[0]) & (values <= value[1])
        return {"<": values < value, ">": values > value}[op]

    def aggregates(self, arrays, mask, asked):
        out = []
        for kind, column in asked:
            if kind == "count":
                out.append(numpy.count_nonzero(mask))
                continue
            values = arrays[column] if mask is None else arrays[column][mask]
            out.append(values.sum(dtype=numpy.int64) if kind == "sum" else getattr(values, kind)())
        return pyarrow.table({str(i): [value] for i, value in enumerate(out)})


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


def timed(engine, question):
    """The median of up to 200 runs within 0.3 seconds, at least five."""
    times, begun = [], time.perf_counter()
    while len(times) < 5 or (len(times) < 200 and time.perf_counter() - begun < 0.3):
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
        self.engine, self.data, self.rows, self.loaded = engine, data, rows, {}

    def load(self, name):
        make, key = TABLES[name]
        table = make(self.data, self.rows)
        self.loaded[name] = table.num_rows
        before = self.engine.bytes() if hasattr(self.engine, "bytes") else 0
        begun = time.perf_counter()
        self.engine.load(name, table, key)
        seconds = time.perf_counter() - begun
        figures = []
        if not isinstance(self.engine, (PyArrow, NumPy)):  # they keep the table itself
            figures.append({"row": f"{name}: load from Arrow", "unit": "rows/s", "better": "higher",
                            "value": table.num_rows / seconds})
        if hasattr(self.engine, "bytes"):
            self.engine.settle()
            taken = self.engine.bytes() - before
        elif isinstance(self.engine, PyArrow):  # the peer of what lies in a file
            path = pathlib.Path(f"{name}.parquet")
            pyarrow.parquet.write_table(table, path, compression="zstd")
            taken = path.stat().st_size
        else:
            return figures, seconds
        figures.append({"row": f"{name}: bytes per row in the file (pyarrow: Parquet, zstd)", "unit": "bytes",
                        "better": "lower", "value": taken / table.num_rows})
        return figures, seconds

    def question(self, name):
        question = QUESTIONS[name]
        question = resolved(question, self.loaded[question["table"]])
        seconds, answer = timed(self.engine, question)
        if seconds is None:
            return [], 0
        return [{"row": question["name"], "unit": "us", "better": "lower", "value": 1e6 * seconds,
                 "answer": f"{answer % 2**64:016x}"}], seconds

    def work(self, name):
        cpu = time.process_time()
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
