#!/usr/bin/env python3
"""Random queries over random tables, answered by this library and by DuckDB.

    test_against_duckdb.py LIBRARY [SEED]

2,000 queries at COLONNADE_TEST_SCALE=1. What must be rewritten for DuckDB so that both are asked the same is in
docs/semantics.md: constants are cast to what the column's comparison is made in. Floats agree to 1e-12 of what was
added up, everything else exactly. At the end it says how often each case came, and fails when one never did."""

import collections
import csv
import math
import os
import random
import re
import sys
import tempfile
import time

import colonnade_library as lib

SQL_TYPES = {"bool": "BOOLEAN", "i8": "TINYINT", "i16": "SMALLINT", "i32": "INTEGER", "i64": "BIGINT", "u8": "UTINYINT",
             "u16": "USMALLINT", "u32": "UINTEGER", "u64": "UBIGINT", "f32": "FLOAT", "f64": "DOUBLE", "date": "DATE",
             "timestamp": "TIMESTAMP", "string": "VARCHAR", "bytes": "BLOB"}
INTEGERS = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
FLOATS = ("f32", "f64")
RANGES = {f"{sign}{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if sign == "i" else (0, 2**bits - 1)
          for sign in "iu" for bits in (8, 16, 32, 64)}
WORDS = ["", "a", "b", "ab", "abc", "abcd", "B", "Z", "zz", "é", "Ä", "it's", "null", "%", "a%", "x" * 300, "\x7f",
         "日本"]
ENCODINGS = {"constant": (1, None), "stride": (2, INTEGERS + ("date", "timestamp")), "plain": (3, None),
             "bits": (4, ("bool",)), "packed": (5, INTEGERS + ("bool", "date", "timestamp")), "dictionary": (6, None),
             "run_length": (7, INTEGERS + FLOATS + ("bool", "date", "timestamp")),
             "delta": (8, INTEGERS + ("date", "timestamp")), "alp": (9, FLOATS), "alp_rd": (10, FLOATS)}
AGGREGATES = ("count", "sum", "min", "max", "avg", "variance", "variance_pop", "stddev", "stddev_pop", "count(distinct",
              "first", "last")
SQL_AGGREGATES = {"variance": "var_samp", "variance_pop": "var_pop", "stddev": "stddev_samp",
                  "stddev_pop": "stddev_pop"}
TAME = 1e6  # what is averaged and squared stays below, or both lose their digits in their own ways
HOUR_MS = 3600 * 1000

cases = collections.Counter()
source = random.Random()


def chance(share):
    return source.random() < share


def note(case, happened=True):
    cases[case] += bool(happened)


# ---- tables ----

class Column:
    def __init__(self, name, kind, flags=0):
        self.name, self.kind, self.flags = name, kind, flags
        self.values = set()  # what its filters compare with
        self.tame = True


def integer(kind, style):
    low, high = RANGES[kind]
    if style == "few":
        return source.randrange(max(low, -3), min(high, 12) + 1)
    if style == "tame":
        return source.randrange(max(low, -1000), min(high, 100_000) + 1)
    return source.choice((low, low + 1, high - 1, high, 0, source.randrange(low, high + 1)))


def floating(kind, style):
    if style == "few":
        number = source.choice((0.0, -0.0, 1.0, 2.5, -3.25, 100.0))
    elif style == "tame":
        number = source.choice((round(source.uniform(-1000, 1000), 2), source.uniform(-TAME, TAME)))
    else:
        number = source.choice((0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf, 5e-324, 1.7e308, -1e-30, 1e300,
                                2.0**53 + 2, source.gauss(0, 1e10)))
    try:
        return lib.as_f32(number) if kind == "f32" else number
    except OverflowError:
        return math.inf


def random_value(kind, style):
    if kind == "bool":
        return chance(0.5)
    if kind in INTEGERS:
        return integer(kind, style)
    if kind in FLOATS:
        return floating(kind, style)
    if kind == "date":
        return source.randrange(0, 20) if style == "few" else source.randrange(-40_000, 40_000)
    if kind == "timestamp":
        return source.randrange(0, 5) * 86_400_000_000 if style == "few" else source.randrange(-2**51, 2**51)
    if kind == "string":
        return source.choice(WORDS) if style != "tame" else "k" + str(source.randrange(5000))
    return source.choice(WORDS).encode() + (bytes([source.randrange(256)]) if style == "wild" else b"")


def make_columns():
    columns = [Column("id", "i64")]
    for i in range(source.randrange(2, 8)):
        kind = source.choice(list(SQL_TYPES))
        column = Column(f"c{i}", kind, lib.NULLABLE)
        if chance(0.5):
            encoding = source.choice([name for name, (_, kinds) in ENCODINGS.items() if not kinds or kind in kinds])
            column.flags |= ENCODINGS[encoding][0] << 8
            note("encoding " + encoding)
        note("type " + kind)
        columns.append(column)
    return columns


def make_values(column, count):
    """A column's values with a character of its own."""
    style = source.choice(("few", "tame", "tame", "wild"))
    nulls = source.choice((0, 0, 0.1, 0.9, 1 if chance(0.2) else 0.3))
    repeat = source.choice((1, 1, 1, 50, 5000))
    constant = chance(0.08)
    column.tame &= style != "wild"
    values, left, value = [], 0, random_value(column.kind, style)
    for _ in range(count):
        if left == 0 and not constant:
            value, left = random_value(column.kind, style), source.randrange(1, repeat + 1)
        left -= 1
        values.append(None if chance(nulls) else value)
    if chance(0.2) and not constant:
        values.sort(key=lambda v: (v is not None, math.inf if v != v else v if v is not None else 0))
    for value in source.sample(values, min(len(values), 12)):
        if value is not None:
            column.values.add(value)
    note("null", any(value is None for value in values))
    if column.kind in FLOATS:
        note("nan", any(v is not None and v != v for v in values))
        note("negative zero", any(v == 0 and math.copysign(1, v) < 0 for v in values if v is not None))
        note("positive zero", any(v == 0 and math.copysign(1, v) > 0 for v in values if v is not None))
        note("infinity", any(v is not None and math.isinf(v) for v in values))
    if column.kind in INTEGERS:
        note("least and greatest", any(v in RANGES[column.kind] for v in values if v is not None))
    note("empty string", any(v in ("", b"") for v in values if v is not None and not isinstance(v, float)))
    return values


def make_rows(columns, ids):
    made = [ids] + [make_values(column, len(ids)) for column in columns[1:]]
    return [list(row) for row in zip(*made)]


class Tables:
    """One table in both systems."""

    def __init__(self, store, duck, name, directory):
        self.columns = make_columns()
        self.name, self.rows = name, {}
        self.table = store.create(name, [(c.name, c.kind, c.flags) for c in self.columns], ["id"])
        count = source.choice((0, 1, 2, 100, 1023, 1024, 1025, 3000, 3000, 20_000 if chance(0.3) else 500))
        note("table without rows", count == 0)
        self.put(list(range(0, 2 * count, 2)))
        if chance(0.7):
            store.maintain()
        self.change(count)
        if chance(0.3):
            store.maintain()
            self.change(count // 3)
        self.tell(duck, directory)

    def close(self):
        self.table.close()

    def put(self, ids):
        rows = make_rows(self.columns, ids)
        expired = chance(0.3)
        now = int(time.time() * 1000)
        expiries = [source.choice((0, now - HOUR_MS, now + 24 * HOUR_MS)) if expired else 0 for _ in rows]
        self.table.upsert(rows, expiries)
        for row, expiry in zip(rows, expiries):
            self.rows.pop(row[0], None)
            if not expiry or expiry > now:
                self.rows[row[0]] = row
        note("expired rows", any(0 < expiry < now for expiry in expiries))

    def change(self, count):
        """What lies in the delta, and what it replaces in runs."""
        if chance(0.3) or not count:
            return
        self.put(source.sample(range(2 * count), source.randrange(1, count + 1)))
        note("rows in memory")
        for key in source.sample(sorted(self.rows), min(len(self.rows), source.randrange(30))):
            self.table.delete(key)
            del self.rows[key]
            note("deleted rows")

    def tell(self, duck, directory):
        path = os.path.join(directory, self.name + ".csv")
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([c.name for c in self.columns])
            for row in self.rows.values():
                writer.writerow([told(c.kind, value) for c, value in zip(self.columns, row)])
        duck.execute(f"CREATE TABLE {self.name} (" +
                     ", ".join(f"{c.name} {SQL_TYPES[c.kind]}" for c in self.columns) + ")")
        names = ", ".join(f"'{c.name}': 'VARCHAR'" for c in self.columns)
        duck.execute(f"INSERT INTO {self.name} SELECT " + ", ".join(heard(c) for c in self.columns) +
                     f" FROM read_csv('{path}', header = true, nullstr = '-', columns = {{{names}}})")
        os.unlink(path)


def told(kind, value):
    if value is None:
        return "-"
    if kind == "string":
        return "x" + value.encode().hex()
    return "x" + value.hex() if kind == "bytes" else repr(value)


def heard(column):
    name, kind = column.name, column.kind
    if kind == "string":
        return f"decode(unhex(substr({name}, 2)))"
    if kind == "bytes":
        return f"unhex(substr({name}, 2))"
    if kind == "date":
        return f"DATE '1970-01-01' + CAST({name} AS INTEGER)"
    if kind == "timestamp":
        return f"make_timestamp(CAST({name} AS BIGINT))"
    if kind == "f32":
        return f"CAST(CAST({name} AS DOUBLE) AS FLOAT)"
    return f"CAST({name} AS {SQL_TYPES[kind]})"


# ---- filters: pairs of our text and DuckDB's ----

def sql_text(text):
    return "'" + text.replace("'", "''") + "'"


def date_text(days):
    return time.strftime("%Y-%m-%d", time.gmtime(days * 86_400))


def timestamp_text(microseconds):
    days, rest = divmod(microseconds, 86_400_000_000)
    seconds, fraction = divmod(rest, 1_000_000)
    return f"{date_text(days)} {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"


def float_text(number):
    if number != number:
        return "nan"
    if math.isinf(number):
        return "infinity" if number > 0 else "-infinity"
    return repr(number)


def constant(column, beyond=True):
    """Ours, DuckDB's, and in what type DuckDB compares."""
    kind = column.kind
    known = source.choice(sorted(column.values, key=repr)) if column.values and chance(0.7) else None
    if kind in INTEGERS:
        number = known if known is not None else integer(kind, source.choice(("few", "tame", "wild")))
        number += source.choice((0, 0, 1, -1))
        if beyond and chance(0.1):
            number = source.choice((-1, 300, 70_000, 2**64, -(2**63) - 1, 10**19))
            note("constant beyond the type", not RANGES[kind][0] <= number <= RANGES[kind][1])
        if beyond and chance(0.15) and abs(number) < 2**50:  # a decimal is the nearest f64
            note("integers beside a fraction")
            text = str(number) + source.choice((".5", ".25", ".0"))
            return text, f"CAST('{text}' AS DECIMAL(38, 4))", "DECIMAL(38, 4)"
        return str(number), f"CAST('{number}' AS HUGEINT)", "HUGEINT"
    if kind in FLOATS:
        number = known if known is not None else floating("f64", source.choice(("few", "tame", "wild")))
        note("float constant nan", number != number)
        return float_text(number), f"CAST('{float_text(number)}' AS DOUBLE)", "DOUBLE"
    if kind == "date":
        days = known if known is not None else source.randrange(-30_000, 30_000)
        if beyond and chance(0.3):
            note("date beside a timestamp")
            text = timestamp_text(days * 86_400_000_000 + source.choice((0, 1, 43_200_000_000)))
            return f"timestamp '{text}'", f"TIMESTAMP '{text}'", "TIMESTAMP"
        return f"date '{date_text(days)}'", f"DATE '{date_text(days)}'", "DATE"
    if kind == "timestamp":
        moment = known if known is not None else source.randrange(-2**51, 2**51)
        if beyond and chance(0.2):
            note("timestamp beside a date")
            text = date_text(moment // 86_400_000_000)
            return f"date '{text}'", f"CAST(DATE '{text}' AS TIMESTAMP)", "TIMESTAMP"
        return f"timestamp '{timestamp_text(moment)}'", f"TIMESTAMP '{timestamp_text(moment)}'", "TIMESTAMP"
    if kind == "bool":
        truth = source.choice(("true", "false"))
        return truth, truth, "BOOLEAN"
    text = known if known is not None else random_value(kind, "few")
    if kind == "bytes":
        return f"x'{text.hex()}'", f"unhex('{text.hex()}')", "BLOB"
    return sql_text(text), sql_text(text), "VARCHAR"


def cast(column, kind):
    return f"CAST({column.name} AS {kind})"


MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "<>": "<>"}


def comparison(column):
    ours, theirs, kind = constant(column)
    operator = source.choice(tuple(MIRRORED))
    note(f"{operator} {column.kind}")
    if chance(0.15):
        return f"{ours} {MIRRORED[operator]} {column.name}", f"{cast(column, kind)} {operator} {theirs}"
    return f"{column.name} {operator} {ours}", f"{cast(column, kind)} {operator} {theirs}"


def between(column):
    (low, sql_low, kind), (high, sql_high, _) = constant(column, False), constant(column, False)
    negated = source.choice(("", "not "))
    note(f"{negated}between {column.kind}")
    return (f"{column.name} {negated}between {low} and {high}",
            f"{cast(column, kind)} {negated}between {sql_low} and {sql_high}")


def in_list(column):
    constants = [constant(column, False) for _ in range(source.choice((0, 1, 2, 5, 40)))]
    negated = source.choice(("", "not "))
    note(f"{negated}in {column.kind}")
    note("in an empty list", not constants)
    if not constants:
        truth = "true" if negated else "false"
        return f"{column.name} {negated}in ()", f"CASE WHEN {column.name} IS NULL THEN NULL ELSE {truth} END"
    kind, ours, theirs = constants[0][2], [c[0] for c in constants], [c[1] for c in constants]
    if chance(0.2):
        note("in a list with null")
        ours.append("null")
        theirs.append("NULL")
    return (f"{column.name} {negated}in ({', '.join(ours)})",
            f"{cast(column, kind)} {negated}in ({', '.join(theirs)})")


SMALL = INTEGERS[:3] + INTEGERS[4:7]


def pair(column, columns):
    """A column beside a column."""
    def compares(other):
        a, b = column.kind, other.kind
        if a in FLOATS + INTEGERS and b in FLOATS + INTEGERS:
            beside = (a in FLOATS) != (b in FLOATS)  # DuckDB would round the integers
            return not beside or (a if a in INTEGERS else b) in SMALL
        return a == b or {a, b} == {"date", "timestamp"}

    other = source.choice([c for c in columns if compares(c)])
    operator = source.choice(tuple(MIRRORED))
    kinds = {column.kind, other.kind}
    kind = ("HUGEINT" if kinds <= set(INTEGERS) else "DOUBLE" if kinds & set(FLOATS) else
            "TIMESTAMP" if "timestamp" in kinds else SQL_TYPES[column.kind])
    note("column beside column")
    note("columns of two types", len(kinds) == 2)
    note(f"column {operator} column")
    return f"{column.name} {operator} {other.name}", f"{cast(column, kind)} {operator} {cast(other, kind)}"


def bits(column):
    if column.kind not in INTEGERS:
        return comparison(column)
    known = source.choice(sorted(column.values)) if column.values else 5
    mask = source.choice((1, 2, 3, 6, 255, 2**31, known & (2**62 - 1)))
    wanted = source.choice((0, mask, known & mask, 1))
    operator = source.choice(("=", "<>"))
    note(f"bits {operator}")
    kind = "UBIGINT" if column.kind.startswith("u") else "BIGINT"
    ours = source.choice(("({} & {}) {} {}", "{} & {} {} {}")).format(column.name, mask, operator, wanted)
    return ours, f"({cast(column, kind)} & CAST({mask} AS {kind})) {operator} CAST({wanted} AS {kind})"


def prefix(column):
    if column.kind != "string":
        return comparison(column)
    words = sorted(column.values) or WORDS
    text = re.sub("[%_].*", "", source.choice(words))[:source.randrange(4)]
    negated = source.choice(("", "not "))
    note(f"{negated}like")
    note("like everything", not text)
    return (f"{column.name} {negated}like {sql_text(text + '%')}",
            f"{negated}starts_with({column.name}, {sql_text(text)})")


def test_of_null(column):
    negated = source.choice(("", "not "))
    if column.kind in FLOATS and chance(0.5):
        note(f"is {negated}nan")
        return f"{column.name} is {negated}nan", f"{negated}isnan({column.name})"
    note(f"is {negated}null")
    return f"{column.name} is {negated}null", f"{column.name} is {negated}null"


def truth(column):
    if column.kind != "bool":
        word = source.choice(("true", "false", "null"))
        note(f"the filter {word}")
        return word, f"CAST({word} AS BOOLEAN)"
    note("a bool column alone")
    return column.name, column.name


def filter_of(columns, depth=0):
    if depth < 3 and chance(0.45):
        kind = source.choice(("and", "or", "not"))
        note(kind)
        if kind == "not":
            ours, theirs = filter_of(columns, depth + 1)
            return f"not ({ours})", f"NOT ({theirs})"
        parts = [filter_of(columns, depth + 1) for _ in range(source.randrange(2, 4))]
        return tuple(f" {kind} ".join(f"({part[i]})" for part in parts) for i in (0, 1))
    column = source.choice(columns)
    if chance(0.12):
        return pair(column, columns)
    kind = source.choices((comparison, between, in_list, prefix, test_of_null, truth, bits), (8, 2, 2, 2, 1, 0.3, 1))[0]
    return kind(column)


# ---- what is asked ----

def shown(column, expression=None):
    """A column in DuckDB's answer, as our values are."""
    expression = expression or column.name
    if column.kind == "date":
        return f"({expression}) - DATE '1970-01-01'"
    if column.kind == "timestamp":
        return f"epoch_us({expression})"
    return f"CAST({expression} AS DOUBLE)" if column.kind == "f32" else expression


def aggregate(columns):
    """Our aggregate, DuckDB's expression, its column."""
    if chance(0.15):
        note("aggregate count(*)")
        return ("count(*)", None), "count(*)", None
    for _ in range(100):
        kind, column = source.choice(AGGREGATES), source.choice(columns)
        number = column.kind in INTEGERS + FLOATS + ("bool",)
        if kind in ("sum", "avg") and not (number and (column.tame or column.kind not in FLOATS)):
            continue
        if kind in SQL_AGGREGATES and not (number and column.tame):
            continue
        break
    else:
        return ("count(*)", None), "count(*)", None
    note(f"aggregate {kind.replace('(', ' ')}")
    name = column.name
    counted = f"CAST({name} AS HUGEINT)" if column.kind in INTEGERS + ("bool",) else name
    if kind == "count(distinct":
        sql = f"count(DISTINCT {name})"
    elif kind in ("first", "last"):
        sql = shown(column, f"{kind}({name} ORDER BY id)")
    elif kind in ("min", "max"):
        sql = shown(column, f"{kind}({name})")
    elif kind in SQL_AGGREGATES:
        sql = f"{SQL_AGGREGATES[kind]}(CAST({name} AS DOUBLE))"
    elif kind == "sum":
        sql = f"sum({counted})" if column.kind not in FLOATS else f"sum(CAST({name} AS DOUBLE))"
    elif kind == "avg":
        sql = f"avg({counted})" if column.kind not in FLOATS else f"avg(CAST({name} AS DOUBLE))"
    else:
        sql = f"count({name})"
    return (kind, name), sql, column


def scale_of(kind, column, rows):
    """What an f64 answer may be wrong by."""
    if kind not in ("sum", "avg") and kind not in SQL_AGGREGATES:
        return 0
    largest = max((abs(row) for row in rows if row is not None and not isinstance(row, str)), default=0)
    if kind == "sum":
        return 1e-12 * (largest or 1) * max(len(rows), 1)
    return 1e-12 * (largest if kind == "avg" else largest * largest if "variance" in kind else largest * 2) + 1e-300


def agree(ours, theirs, slack=0):
    if isinstance(ours, float) or isinstance(theirs, float):
        if ours is None or theirs is None:
            return ours is theirs
        if ours != ours or theirs != theirs:
            return ours != ours and theirs != theirs
        return ours == theirs or (slack > 0 and abs(ours - theirs) <= max(slack, 1e-12 * max(abs(ours), abs(theirs))))
    return ours == theirs and (ours is None) == (theirs is None)


def sortable(value):
    """An order of its own for answers that have none: groups by what they are grouped by."""
    if value is None:
        return (0, "")
    if isinstance(value, float):
        return (1, "nan") if value != value else (2, repr(value + 0.0))
    return (3, repr(value))


def order_of(columns):
    """Pairs for our query, and DuckDB's text."""
    ours, theirs = [], []
    for column in columns:
        flags = source.choice((0, lib.DESCENDING)) | source.choice((0, lib.NULLS_LAST))
        ours.append((column.name, flags))
        theirs.append(f"{column.name} {'DESC' if flags & lib.DESCENDING else 'ASC'} "
                      f"NULLS {'LAST' if flags & lib.NULLS_LAST else 'FIRST'}")
    return ours, ", ".join(theirs)


class Question:
    def __init__(self, tables, duck):
        self.tables, self.duck, self.columns = tables, duck, tables.columns
        self.where, self.sql_where = filter_of(self.columns) if chance(0.85) else ("", "TRUE")
        self.query = tables.table.query()
        self.query.where(self.where)
        if chance(0.25):
            self.key_range()
        self.sql, self.ordered, self.slacks, self.keys = "", False, [], 0

    def ask(self):
        kind = source.choice((self.aggregates, self.rows, self.groups, self.distinct))
        note("question: " + kind.__name__)
        ours = kind()
        theirs = self.duck.execute(self.sql).fetchall()
        self.compare(ours, theirs)
        self.query.close()

    def key_range(self):
        """Ends among the keys, or beyond them."""
        most = max(self.tables.rows, default=10)
        low, high = (source.choice((None, -5, source.randrange(most + 2), source.randrange(most + 2), most + 9))
                     for _ in range(2))
        flags = source.randrange(4)
        self.query.key_range(low, high, flags)
        parts = [self.sql_where]
        if low is not None:
            parts.append(f"id {'>' if flags & lib.FROM_EXCLUDED else '>='} {low}")
        if high is not None:
            parts.append(f"id {'<=' if flags & lib.TO_INCLUDED else '<'} {high}")
        self.sql_where = " AND ".join(f"({part})" for part in parts)
        note("range of keys", len(parts) > 1)
        note("range of keys beside a filter", len(parts) > 1 and self.where)

    def slack(self, chosen):
        """A tolerance for each of the aggregates."""
        position = {c.name: i for i, c in enumerate(self.columns)}
        out = []
        for (kind, name), _, column in chosen:
            rows = [row[position[name]] for row in self.tables.rows.values()] if column else []
            out.append(scale_of(kind, column, rows) if column and column.kind in INTEGERS + FLOATS + ("bool",) else 0)
        return out

    def aggregates(self):
        chosen = [aggregate(self.columns) for _ in range(source.randrange(1, 5))]
        self.sql = f"SELECT {', '.join(c[1] for c in chosen)} FROM {self.tables.name} WHERE {self.sql_where}"
        self.slacks = self.slack(chosen)
        return [self.query.aggregate([c[0] for c in chosen])]

    def rows(self):
        chosen = source.sample(self.columns, source.randrange(1, len(self.columns) + 1))
        self.query.select([c.name for c in chosen])
        self.sql = (f"SELECT {', '.join(shown(c) for c in chosen)} FROM {self.tables.name} WHERE {self.sql_where}")
        self.slacks, self.keys = [0] * len(chosen), len(chosen)
        if chance(0.7):
            others = [c for c in self.columns if c.name != "id"]
            by = source.sample(others, min(len(others), source.randrange(3))) + [self.columns[0]]
            ours, theirs = order_of(by)
            self.query.order_by(ours)
            self.sql += " ORDER BY " + theirs
            self.ordered = True
            note("ordered rows")
            self.limit()
        return self.query.rows()

    def limit(self):
        if chance(0.5):
            offset, limit = source.choice((0, 0, 3, 2000)), source.choice((0, 1, 10, 1500))
            self.query.limit(offset, limit)
            self.sql += f" LIMIT {limit} OFFSET {offset}"
            note("limit")
            note("offset", offset)

    def groups(self):
        by = source.sample(self.columns, min(len(self.columns), source.randrange(1, 4)))
        note(f"grouped by {len(by)}")
        for column in by:
            note("grouped by " + column.kind)
        chosen = {}
        for _ in range(source.randrange(0, 4)):
            one = aggregate(self.columns)
            chosen[one[0]] = one
        chosen = list(chosen.values())
        self.query.group_by([c.name for c in by])
        self.query.compute([c[0] for c in chosen])
        self.sql = (f"SELECT {', '.join([shown(c) for c in by] + [c[1] for c in chosen])} FROM {self.tables.name} "
                    f"WHERE {self.sql_where} GROUP BY {', '.join(c.name for c in by)}")
        self.slacks, self.keys = [0] * len(by) + self.slack(chosen), len(by)
        if any(c[0][0] == "count(*)" for c in chosen) and chance(0.5):
            least = source.choice((1, 2, 10))
            self.query.having(f'"count(*)" >= {least}')
            self.sql += f" HAVING count(*) >= {least}"
            note("having")
        if chance(0.5):
            ours, theirs = order_of(by)
            self.query.order_by(ours)
            self.sql += " ORDER BY " + theirs
            self.ordered = True
            note("ordered groups")
            self.limit()
        return self.query.rows()

    def distinct(self):
        chosen = source.sample(self.columns, min(len(self.columns), source.randrange(1, 3)))
        self.query.select([c.name for c in chosen])
        self.query.distinct()
        self.sql = (f"SELECT DISTINCT {', '.join(shown(c) for c in chosen)} FROM {self.tables.name} "
                    f"WHERE {self.sql_where}")
        self.slacks, self.keys = [0] * len(chosen), len(chosen)
        return self.query.rows()

    def compare(self, ours, theirs):
        note("answer without rows", not ours)
        note("answer of many rows", len(ours) > 1000)
        if not self.ordered and self.keys:
            key = lambda row: [sortable(value) for value in row[:self.keys]]
            ours, theirs = sorted(ours, key=key), sorted(theirs, key=key)
        assert len(ours) == len(theirs), self.told(f"{len(ours)} rows, but {len(theirs)}")
        for row, (mine, other) in enumerate(zip(ours, theirs)):
            for i, slack in enumerate(self.slacks):
                assert agree(mine[i], other[i], slack), self.told(f"row {row}: {mine} is not {other}")

    def told(self, what):
        types = ", ".join(f"{c.name} {c.kind}" for c in self.columns)
        return f"{what}\n  columns: {types}\n  filter: {self.where}\n  DuckDB: {self.sql}"


def run(make_tables, make_question):
    import duckdb

    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    scale = float(os.environ.get("COLONNADE_TEST_SCALE", "1"))
    source.seed(seed)
    queries, per_table = max(int(2000 * scale), 100), 25
    duck = duckdb.connect()
    duck.execute("SET threads = 1")
    with tempfile.TemporaryDirectory(prefix="colonnade-duckdb-") as directory:
        store = lib.Store(sys.argv[1], os.path.join(directory, "store"))
        for number in range(0, queries, per_table):
            tables = make_tables(store, duck, f"t{number}", directory)
            for i in range(per_table):
                try:
                    make_question(tables, duck).ask()
                except BaseException:
                    print(f"seed {seed}, table {tables.name}, question {i}", file=sys.stderr)
                    raise
            tables.close()
            duck.execute(f"DROP TABLE {tables.name}")
        store.close()
    for case, count in sorted(cases.items()):
        print(f"{count:7} {case}")
    never = [case for case, count in cases.items() if not count]
    assert scale < 1 or not never, f"never came: {never}"
    print(f"{queries} queries, the same answers")


if __name__ == "__main__":
    run(Tables, Question)
