#!/usr/bin/env python3
"""Random queries over random families of keys and values, answered by this library and by DuckDB.

    test_pairs_against_duckdb.py LIBRARY [SEED [SHARE]]

The questions are those of test_against_duckdb.py; the rows are pairs, whose columns (parts of keys, numbers at offsets,
values in JSON) are kept beside them, or made as the pairs are walked, or some of each. What a column holds is said here
as the pair is made, not worked out of it."""

import ctypes
import fractions
import json
import math
import re
import struct
import time

import colonnade_library as lib
import random_tables as tables_of
import test_against_duckdb as base
from random_tables import Column, chance, note, source

OWN = [("key", "bytes"), ("value", "bytes"), ("value_length", "u64"), ("expires_at", "timestamp")]
PARTS = [("site", "string", "part(0)"), ("num", "i32", "part(1)"), ("dotted", "bytes", "part(1, '.')")]
BINARY = [("n", "i64", "at(0)"), ("big", "u16", "at(0, big)"), ("b", "u8", "at(8)"), ("flag", "bool", "at(8)"),
          ("f", "f64", "at(9)"), ("rest", "bytes", "at(17)")]
JSON = [("x", "f64", "json(x)"), ("i", "i32", "json(a.i)"), ("s", "string", "json(a.\"the s\")"),
        ("truth", "bool", "json(l[1])"), ("u", "u64", "json(l[0])"), ("small", "f32", "json(x)")]
SITES = ["a", "b", "berlin", "é", "", "x" * 40]


def as_float(text, kind):
    number = float(text)
    if kind == "f32":
        try:
            number = lib.as_f32(number)
        except OverflowError:
            return None
    return None if math.isinf(number) else number


def as_integer(text, kind):
    """A JSON number of an integer column: whole, exact and within."""
    low, high = tables_of.RANGES[kind]
    try:
        number = int(text)
    except ValueError:
        number = fractions.Fraction(text)
        if abs(number) > 2**53 or number.denominator != 1:
            return None
        number = int(number)
    return number if low <= number <= high else None


def json_value():
    """A value as it stands in a text, and what columns make of it by their kinds (else null)."""
    kind = source.choice(("number", "number", "number", "integer", "string", "bool", "null", "list", "absent"))
    note("JSON " + kind)
    if kind == "number":
        text = source.choice(("0.1", "-2.5e3", "20", "20.0", "1e-3", "-0.0", "123456789012", "1e400", "7", "3e2"))
        return text, {"f64": as_float(text, "f64"), "f32": as_float(text, "f32"), "string": text,
                      "i32": as_integer(text, "i32"), "u64": as_integer(text, "u64")}
    if kind == "integer":
        text = str(source.choice((0, 1, -1, 2**31 - 1, 2**31, -2**31, 2**64 - 1, 2**64, source.randrange(100))))
        return text, {"f64": float(text), "f32": lib.as_f32(float(text)), "string": text,
                      "i32": as_integer(text, "i32"), "u64": as_integer(text, "u64")}
    if kind == "string":
        string = source.choice(tables_of.WORDS + ["tab\t\"quoted\"\\", "\U0001f600", "7"])
        return json.dumps(string, ensure_ascii=chance(0.5)), {"string": string}
    if kind == "bool":
        truth = chance(0.5)
        return str(truth).lower(), {"bool": truth, "string": str(truth).lower()}
    return {"null": "null", "list": source.choice(("[]", "{}", "[1]"))}.get(kind), {}


def member(name, text):
    return f"{json.dumps(name)}{source.choice((':', ' : '))}{text}"


def json_pair():
    """A value that is JSON, or nearly so; its columns."""
    (x, xs), (i, integers), (s, strings) = json_value(), json_value(), json_value()
    (first, firsts), (second, seconds) = json_value(), json_value()
    inner = [member("i", i)] if i else []
    inner += [member("the s", s)] if s else []
    parts = [member("x", x)] if x else []
    parts.append(member("a", "{" + ", ".join(inner) + "}"))
    if first and second:
        parts.append(member("l", f"[{first},{second}]"))
    if x and chance(0.1):
        parts.append(member("x", '"the second of a name"'))
        note("JSON member twice")
    else:
        source.shuffle(parts)
    text = " {" + ",".join(parts) + "}"
    if chance(0.1):
        note("broken JSON")
        return text[:source.randrange(1, len(text))].encode("utf-8", "ignore"), {}
    both = bool(first and second)
    return text.encode(), {"x": xs.get("f64"), "i": integers.get("i32"), "s": strings.get("string"),
                           "truth": seconds.get("bool") if both else None,
                           "u": firsts.get("u64") if both else None, "small": xs.get("f32")}


def binary_pair(tame):
    number = tables_of.integer("i64", source.choice(("few", "tame", "wild")))
    byte = source.randrange(4) if chance(0.8) else source.randrange(256)
    real = tables_of.floating("f64", "tame" if tame else "wild")
    value = struct.pack("<qBd", number, byte, real) + source.choice(tables_of.WORDS).encode()
    if chance(0.2):
        note("value too short for its columns")
        value = value[:source.randrange(len(value))]
    at = lambda size: len(value) >= size
    return value, {"n": number if at(8) else None,
                   "big": int.from_bytes(value[:2], "big") if at(2) else None, "b": byte if at(9) else None,
                   "flag": bool(byte) if at(9) and byte < 2 else None, "f": real if at(17) else None,
                   "rest": value[17:] if at(17) else None}


def make_key(number):
    """A key, and its columns: none is made twice."""
    site, middle = source.choice(SITES), source.choice((str(source.randrange(30)), "007", "-5", "x", "99999999999", ""))
    shape = source.choice((f"{site}/{middle}/{number}", f"{site}/{middle}.{number}", f"{site}{number}"))
    parts, dots = shape.split("/"), shape.split(".")
    num = None
    if len(parts) > 1 and re.fullmatch(r"-?\d+(\.\d+)?", parts[1]):
        num = as_integer(parts[1], "i32")
    note("part that is not there", len(parts) < 2)
    return shape.encode(), {"site": parts[0], "num": num, "dotted": dots[1].encode() if len(dots) > 1 else None}


class PairTable:
    """What Question wants of a table."""

    def __init__(self, store, table):
        self.store, self.library, self.table = store, store.library, table

    def query(self):
        return lib.Query(self)


class Family:
    """One family, and a table in DuckDB."""

    def __init__(self, store, duck, name, directory):
        self.store, self.library, self.name, self.rows = store, store.library, name, {}
        self.json, self.tame, self.inside = chance(0.5), chance(0.7), False
        self.family = ctypes.c_void_p()
        store.check(self.library.kvstore_cf_create(store.store, name.encode(), ctypes.byref(self.family)))
        made = source.sample(PARTS, source.randrange(1, 4)) + source.sample(JSON if self.json else BINARY, 4)
        self.kept = made[:source.randrange(len(made) + 1)]
        self.columns = [Column(column, kind) for column, kind in OWN]
        self.columns += [Column(column, kind, lib.NULLABLE) for column, kind, _ in made]
        for column in self.columns:
            column.tame = self.tame or column.kind != "f64"
            note("type " + column.kind)
        first = chance(0.5)
        if first:
            self.declare("before the pairs")
        count = source.choice((0, 1, 2, 1000, 1025, 3000, 12_000 if chance(0.3) else 500))
        note("family without pairs", count == 0)
        self.numbers = iter(range(10**9))
        self.put(count)
        if chance(0.5):
            store.maintain()
        if not first and chance(0.7):
            self.declare("over pairs")
            if chance(0.5):
                store.maintain()
        self.change(count)
        if chance(0.3):
            store.maintain()
        if chance(0.2):
            store.check(self.library.kvstore_begin(store.store, ctypes.c_int(1)))
            self.inside = True
            self.change(count)
            note("inside a transaction")
        self.open(made)
        tables_of.Tables.tell(self, duck, directory)
        duck.execute(f"ALTER TABLE {name} ADD COLUMN id BIGINT")
        duck.execute(f"UPDATE {name} SET id = r.n FROM (SELECT key, row_number() OVER (ORDER BY key) n FROM {name}) r "
                     f"WHERE r.key = {name}.key")

    def declare(self, when):
        note(f"columns declared {when}")
        note("columns that are not kept", len(self.kept) < len(self.columns) - len(OWN))
        self.store.check(self.library.kvtable_declare(self.family, *pair_columns(self.kept), ctypes.c_int(1)))

    def open(self, made):
        table = ctypes.c_void_p()
        self.store.check(self.library.kvtable_open_family(self.family, *pair_columns(made), ctypes.byref(table)))
        self.table = PairTable(self.store, table)

    def put_pair(self, key, parts):
        value, found = json_pair() if self.json else binary_pair(self.tame)
        now = int(time.time() * 1000)
        expiry = source.choice((0, 0, 0, now - tables_of.HOUR_MS, now + 24 * tables_of.HOUR_MS))
        self.store.check(self.library.kvstore_cf_put_ttl(self.family, key, len(key), value, len(value),
                                                         ctypes.c_int64(expiry)))
        self.rows.pop(key, None)
        note("expired pairs", 0 < expiry < now)
        if 0 < expiry < now:
            return
        row = [key, value, len(value), expiry * 1000 if expiry else None]
        row += [{**parts, **found}.get(column.name) for column in self.columns[len(OWN):]]
        self.rows[key] = row
        for column, held in zip(self.columns, row):
            if held is not None and chance(0.02) and len(column.values) < 12:
                column.values.add(held)
            note(f"null in {column.kind}", held is None)

    def put(self, count):
        self.parts = getattr(self, "parts", {})
        for _ in range(count):
            key, parts = make_key(next(self.numbers))
            self.parts[key] = parts
            self.put_pair(key, parts)

    def change(self, count):
        if chance(0.2) or not count:
            return
        self.put(source.randrange(count // 2 + 1))
        keys = sorted(self.parts)
        for key in source.sample(keys, min(len(keys), source.randrange(1, count + 1))):
            self.put_pair(key, self.parts[key])
            note("pairs replaced")
        for key in source.sample(keys, min(len(keys), source.randrange(30))):
            if key in self.rows:
                self.store.check(self.library.kvstore_cf_delete(self.family, key, len(key)))
                del self.rows[key]
                note("deleted pairs")

    def close(self):
        if self.inside:
            self.store.check(self.library.kvstore_rollback(self.store.store))
        self.library.kvtable_close(self.table.table)
        self.library.kvstore_cf_close(self.family)
        self.store.check(self.library.kvstore_cf_drop(self.store.store, self.name.encode()))


def pair_columns(columns):
    given = (lib.PairColumn * max(len(columns), 1))(
        *[lib.PairColumn(name.encode(), text.encode(), lib.TYPES[kind], 0) for name, kind, text in columns])
    return given, ctypes.c_size_t(len(columns))


class PairQuestion(base.Question):
    def note_help(self, kind, helped):
        """Walked pairs are one thread's; those whose columns were built are units like any."""
        note("by several threads", helped)

    def key_range(self):
        keys = sorted(self.tables.rows) or [b"a"]
        blob = lambda key: f"unhex('{key.hex()}')"
        if chance(0.5):
            prefix = source.choice(keys)[:source.randrange(1, 9)] if chance(0.9) else b"\xff\xff"
            self.query.key_prefix(prefix)
            self.sql_where = f"({self.sql_where}) AND hex(key)[:{2 * len(prefix)}] = '{prefix.hex().upper()}'"
            note("prefix of keys")
            return
        low, high = (source.choice((None, source.choice(keys), source.choice(keys), b"b")) for _ in range(2))
        flags = source.randrange(4)
        self.query.key_bytes_range(low, high, flags)
        parts = [f"({self.sql_where})"]
        if low is not None:
            parts.append(f"key {'>' if flags & lib.FROM_EXCLUDED else '>='} {blob(low)}")
        if high is not None:
            parts.append(f"key {'<=' if flags & lib.TO_INCLUDED else '<'} {blob(high)}")
        self.sql_where = " AND ".join(parts)
        note("range of keys", len(parts) > 1)


if __name__ == "__main__":
    base.run(Family, PairQuestion)
