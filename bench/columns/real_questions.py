"""The tables of real.py, the questions to them, and these as text."""

import os

import numpy
import pyarrow
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

THREADS = int(os.environ.get("COLONNADE_BENCH_THREADS", "1"))
AIRPORTS = ["ABQ", "ALB", "AUS", "BNA", "BOS", "BUF", "CLE", "CMH", "DAL", "ELP", "GEG", "HNL", "IND", "JAX", "LIT",
            "MCI", "MSY", "OAK", "OKC", "ONT"]
DAY = {"1994-01-01": 8766, "1995-01-01": 9131, "1996-01-01": 9496, "1998-09-02": 10471}


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


def nyc(data, rows):
    """As a reader of the CSV file has it: integers of 64 bits, a timestamp, nulls where a flight has no value."""
    options = pyarrow.csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    table = pyarrow.csv.read_csv(data.parent / "data" / "flights.csv", convert_options=options).slice(0, rows)
    at = table.schema.get_field_index("time_hour")
    return required(table.set_column(at, "time_hour", table["time_hour"].cast(pyarrow.timestamp("us"))))


def tpch(data, name, rows):
    table = pyarrow.parquet.read_table(data / f"{name}.parquet").slice(0, rows)
    columns = {}
    for field in table.schema:
        column = table[field.name]
        if pyarrow.types.is_decimal(field.type):
            column = pc.round(pc.multiply(column.cast(pyarrow.float64()), 100)).cast(pyarrow.int64())
        elif not pyarrow.types.is_integer(field.type) and not pyarrow.types.is_date(field.type):
            column = column.cast(pyarrow.string())
        columns[field.name] = column
    return required(pyarrow.table(columns))


def lineitem(data, rows):
    return tpch(data, "lineitem", rows)


def orders(data, rows):
    return tpch(data, "orders", rows)


def customer(data, rows):
    return tpch(data, "customer", rows)


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


FACTS_WHOLE_MOST = 20_000_000  # of more rows five engines would hold more than most machines have


def facts(_, rows):
    """As the table of columns_main.c: 20 and 7 random bits, one of 16 texts, a number of 30 bits."""
    random = numpy.random.default_rng(7)
    columns = {"id": numpy.arange(rows, dtype=numpy.int64)}
    few = rows > FACTS_WHOLE_MOST
    for name, bits in (("a", 20), ("b", 7)) if few else (("a", 20), ("b", 7), ("c", 20), ("d", 20), ("v", 30)):
        columns[name] = random.integers(0, 1 << bits, rows, dtype=numpy.int32)
    if not few:
        texts = pyarrow.array([f"text-{i}-{i * 0x9e3779:x}" for i in range(16)])
        columns["s"] = texts.take(pyarrow.array(random.integers(0, 16, rows)))
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


TABLES = {"flights": (flights, "id"), "nyc": (nyc, None), "lineitem": (lineitem, None),
          "orders": (orders, "o_orderkey"), "customer": (customer, "c_custkey"), "groups": (groups, None),
          "arrays": (arrays, None), "facts": (facts, "id")}


# ---- questions: conditions (column, operator, constant), all of which hold; groups; aggregates ----

def ask(table, name, where=(), by=(), compute=(("count", None),), top=None, distinct=None, out=None,
        select=None):
    return {"table": table, "name": name, "where": where, "by": by, "compute": compute, "top": top,
            "distinct": distinct, "out": out, "select": select}


PAID = "l_extendedprice * (100 - l_discount)"
CHARGED = "l_extendedprice * (100 - l_discount) * (100 + l_tax)"
Q3 = {"segment": "BUILDING", "day": "1995-03-15",
      "by": ("l_orderkey", "o_orderdate", "o_shippriority"), "sum": PAID, "limit": 10}
COUNT, THREE = (("count", None),), (("count", None), ("sum", "delay"))
SUMS = (("count", None), ("sum", "v"))
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
    "flights_few": ask("flights", "flights: three columns of the 0.1 % that a filter finds", [("delay", ">", 280)],
                       select=("delay", "distance", "origin")),
    "nyc_late": ask("nyc", "nyc: count, integer with nulls and text = constant",
                    [("dep_delay", ">", 60), ("carrier", "=", "UA")]),
    "lineitem_three": ask("lineitem", "lineitem: count, three predicates, 4 % match",
                          [("l_shipdate", ">=", "1994-01-01"), ("l_shipdate", "<", "1996-01-01"),
                           ("l_discount", "between", (5, 7)), ("l_quantity", "<", 2500)]),
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
    "facts_20bit": ask("facts", "facts: count, a < x, 20 bits, 10 % match", [("a", "<", 104857)]),
    "facts_7bit": ask("facts", "facts: count, b < x, 7 bits, 10 % match", [("b", "<", 13)]),
    "facts_three": ask("facts", "facts: count, three predicates ANDed, 20 bits, 12 % match",
                       [("a", "<", 524288), ("c", "<", 524288), ("d", "<", 524288)]),
    "facts_sum": ask("facts", "facts: sum of a, 20 bits", compute=(("sum", "a"),)),
    "facts_text": ask("facts", "facts: count, text = constant, 16 distinct", [("s", "=", f"text-5-{5 * 0x9e3779:x}")]),
    "facts_excluded": ask("facts", "facts: count, every block excluded by its zone map", [("a", ">", 1048576)]),
    "facts_by_text": ask("facts", "facts: group by 16 texts: count, sum", by=("s",), compute=SUMS),
    "facts_by_number": ask("facts", "facts: group by 128 integers: count, sum", by=("b",), compute=SUMS),
    "facts_by_many": ask("facts", "facts: group by up to a million integers: count, sum", by=("a",), compute=SUMS),
    "arrays_int": ask("arrays", "arrays: a whole int32 column as NumPy", out="whole"),
    "arrays_double": ask("arrays", "arrays: a whole double column as NumPy", out="decimals"),
    "arrays_in_file": ask("arrays", "arrays: the same, laid out as an array", out="decimals_array"),
}


def columns_of(question):
    """The names of the columns that it is about, computed values left out."""
    asked = [column for _, column in question["compute"] if column and column.isidentifier()]
    return {*(one[0] for one in question["where"]), *question["by"], *asked}


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
