"""Random tables, the same in this library and in DuckDB, for test_against_duckdb.py; and what counts the cases."""

import collections
import csv
import math
import os
import random
import time
import uuid
from decimal import Decimal

import colonnade_library as lib

SQL_TYPES = {"bool": "BOOLEAN", "i8": "TINYINT", "i16": "SMALLINT", "i32": "INTEGER", "i64": "BIGINT", "u8": "UTINYINT",
             "u16": "USMALLINT", "u32": "UINTEGER", "u64": "UBIGINT", "f32": "FLOAT", "f64": "DOUBLE", "date": "DATE",
             "timestamp": "TIMESTAMP", "string": "VARCHAR", "bytes": "BLOB", "decimal0": "DECIMAL(18, 0)",
             "decimal2": "DECIMAL(18, 2)", "decimal9": "DECIMAL(18, 9)", "time": "TIME", "duration": "BIGINT",
             "uuid": "UUID", "fixed3": "BLOB", "fixed16": "BLOB"}
INTEGERS = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
FLOATS = ("f32", "f64")
DECIMALS = ("decimal0", "decimal2", "decimal9")
FIXED = ("fixed3", "fixed16")
TEXTS = ("string", "bytes", "uuid") + FIXED  # what is no number, or time
STORED_AS_INTEGERS = INTEGERS + DECIMALS + ("date", "time", "timestamp", "duration")
DAY_US = 86_400_000_000
SEGMENT_ROWS = 65_536
RANGES = {f"{sign}{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if sign == "i" else (0, 2**bits - 1)
          for sign in "iu" for bits in (8, 16, 32, 64)}
WORDS = ["", "a", "b", "ab", "abc", "abcd", "B", "Z", "zz", "é", "Ä", "it's", "null", "%", "a%", "x" * 300, "\x7f",
         "日本"]
ENCODINGS = {"constant": (1, None), "stride": (2, STORED_AS_INTEGERS), "plain": (3, None),
             "bits": (4, ("bool",)), "packed": (5, STORED_AS_INTEGERS + ("bool",)), "dictionary": (6, None),
             "run_length": (7, STORED_AS_INTEGERS + FLOATS + ("bool",)),
             "delta": (8, STORED_AS_INTEGERS), "alp": (9, FLOATS), "alp_rd": (10, FLOATS),
             "fsst": (11, ("string", "bytes")), "zstd": (12, ("string", "bytes")),
             "front_coded": (13, ("string", "bytes"))}
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
        self.sql = name  # DuckDB's
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


def decimal_value(scale, style):
    if style == "few":
        units = source.randrange(-3, 12) * source.choice((1, 10 ** min(scale, 16)))
    elif style == "tame":
        units = source.randrange(-10**6, 10**6) * source.choice((1, 10 ** min(scale, 3)))
    else:
        units = source.choice((10**18 - 1, 1 - 10**18, 0, source.randrange(1 - 10**18, 10**18)))
    return Decimal(units).scaleb(-scale)


def random_value(kind, style):
    if kind.startswith("decimal"):
        return decimal_value(lib.width_of(kind), style)
    if kind == "time":
        return source.choice((0, DAY_US - 1, source.randrange(24) * 3_600_000_000,
                              source.randrange(DAY_US) if style != "few" else 43_200_000_000))
    if kind == "duration":
        wide = 2**62 if style == "wild" else 10 * DAY_US if style == "tame" else 5
        return source.randrange(-wide, wide)
    if kind == "uuid":
        number = source.randrange(5) << 64 if style == "few" else source.getrandbits(128)
        return str(uuid.UUID(int=number))
    if kind in FIXED:
        width = lib.width_of(kind)
        return (bytes(width - 1) + bytes([source.randrange(3)]) if style == "few" else
                source.choice((b"\0", b"a", b"\xff")) * (width - 2) + source.randbytes(2))
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
        if chance(0.8 if kind in ("string", "bytes") else 0.5):
            allowed = [name for name, (_, kinds) in ENCODINGS.items() if not kinds or kind in kinds]
            encoding = source.choice(allowed)
            column.flags |= ENCODINGS[encoding][0] << 8
            note("encoding " + encoding)
            if chance(0.3):
                forbidden = source.choice(allowed)
                if forbidden != encoding:
                    column.flags |= 1 << (16 + ENCODINGS[forbidden][0])
                    note("no encoding " + forbidden)
        elif kind not in ("string", "bytes"):
            column.flags |= lib.ARRAY * chance(0.3)
            note("laid out as an array", column.flags & lib.ARRAY)
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
        if name == "t100":
            count = SEGMENT_ROWS + source.choice((-1, 0, 1, 5000))
            note("table of several segments")
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


def time_text(microseconds):
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"


def sql_type(kind):
    return f"DECIMAL(18, {lib.width_of(kind)})" if kind.startswith("decimal") else SQL_TYPES[kind]


def told(kind, value):
    if value is None:
        return "-"
    if kind.startswith("decimal"):
        return f"{value:f}"
    if kind == "time":
        return time_text(value)
    if kind == "uuid":
        return value
    if kind == "string":
        return "x" + value.encode().hex()
    return "x" + value.hex() if kind == "bytes" or kind in FIXED else repr(value)


def heard(column):
    name, kind = column.name, column.kind
    if kind == "string":
        return f"decode(unhex(substr({name}, 2)))"
    if kind == "bytes" or kind in FIXED:
        return f"unhex(substr({name}, 2))"
    if kind == "date":
        return f"DATE '1970-01-01' + CAST({name} AS INTEGER)"
    if kind == "timestamp":
        return f"make_timestamp(CAST({name} AS BIGINT))"
    if kind == "f32":
        return f"CAST(CAST({name} AS DOUBLE) AS FLOAT)"
    return f"CAST({name} AS {SQL_TYPES[kind]})"
