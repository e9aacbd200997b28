#!/usr/bin/env python3
"""Random queries over random tables, answered by this library and by DuckDB.

    test_against_duckdb.py LIBRARY [SEED [SHARE]]

2,000 queries at COLONNADE_TEST_SCALE=1, or a share of them. What must be rewritten for DuckDB so that both are asked
the same is in docs/semantics.md: constants are cast to what the column's comparison is made in. Floats agree to 1e-12
of what was added up, everything else exactly. At the end it says how often each case came, and fails when one never did
in 2,000 or more."""

import os
import re
import sys
import tempfile

import colonnade_library as lib
from compared_answers import SQL_AGGREGATES, agree, scale_of, sortable
from random_constants import BETWEEN_DECIMALS, constant, sql_text
from random_tables import (DECIMALS, FLOATS, INTEGERS, SEGMENT_ROWS, SQL_TYPES, TEXTS, WORDS, Column, Tables, cases,
                           chance, note, source, sql_type)

AGGREGATES = ("count", "sum", "min", "max", "avg", "variance", "variance_pop", "stddev", "stddev_pop", "count(distinct",
              "first", "last", "quantile")

# ---- filters: pairs of our text and DuckDB's ----

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
        if a in DECIMALS + INTEGERS and b in DECIMALS + INTEGERS:
            return True
        return a == b or {a, b} == {"date", "timestamp"}

    others = [c for c in columns if compares(c)]
    if column.kind in DECIMALS and chance(0.5):  # else hardly ever one of another scale
        others = [c for c in others if c.kind in DECIMALS and c.kind != column.kind] or others
    other = source.choice(others)
    operator = source.choice(tuple(MIRRORED))
    kinds = {column.kind, other.kind}
    kind = ("HUGEINT" if kinds <= set(INTEGERS) else BETWEEN_DECIMALS if kinds & set(DECIMALS) else
            "DOUBLE" if kinds & set(FLOATS) else "TIMESTAMP" if "timestamp" in kinds else SQL_TYPES[column.kind])
    note("column beside column")
    if kinds & set(DECIMALS):
        note("decimals of two scales", len(kinds) == 2 and kinds <= set(DECIMALS))
        note("decimals beside integers", kinds & set(INTEGERS))
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
    if depth < 2 and chance(0.12):
        return computed_test(columns)
    kind = source.choices((comparison, between, in_list, prefix, test_of_null, truth, bits), (8, 2, 2, 2, 1, 0.3, 1))[0]
    return kind(column)


# ---- values to be computed: our text, DuckDB's, and a Column of their own ----

def numbers(columns, floats=False):
    return [c for c in columns if c.kind in (FLOATS if floats else SMALL) and (c.tame or not floats)]


def integer_value(columns, depth=0):
    """HUGEINT for DuckDB; what does not fit an i64 is null for both."""
    choices = numbers(columns)
    if depth > 2 or not choices or chance(0.3):
        number = source.choice((0, 1, 2, 3, 7, -5, 100))
        if choices and chance(0.75):
            column = source.choice(choices)
            return column.name, cast(column, "HUGEINT")
        return str(number), f"CAST({number} AS HUGEINT)"
    kind = source.choice(("try_add", "try_subtract", "try_multiply", "try_divide", "try_modulo", "case", "coalesce",
                          "abs", "plain"))
    note("computed " + kind)
    a, sql_a = integer_value(columns, depth + 1)
    b, sql_b = integer_value(columns, depth + 1)
    tried = "CAST(TRY_CAST(({}) AS BIGINT) AS HUGEINT)"
    if kind in ("try_add", "try_subtract", "try_multiply"):
        operator = {"try_add": "+", "try_subtract": "-", "try_multiply": "*"}[kind]
        return f"{kind}({a}, {b})", tried.format(f"{sql_a} {operator} {sql_b}")
    if kind == "plain":  # of columns of at most 32 bits: always fits, but for products of u32
        x, y = source.choice(choices), source.choice(choices)
        operator = source.choice("+-" if "u32" in (x.kind, y.kind) else "+-*")
        return f"({x.name} {operator} {y.name})", f"({cast(x, 'HUGEINT')} {operator} {cast(y, 'HUGEINT')})"
    if kind in ("try_divide", "try_modulo"):
        operator = "//" if kind == "try_divide" else "%"
        sign = f"(sign({sql_a}) * sign({sql_b}))" if kind == "try_divide" else f"sign({sql_a})"
        return f"{kind}({a}, {b})", tried.format(f"(abs({sql_a}) {operator} nullif(abs({sql_b}), 0)) * {sign}")
    if kind == "abs":
        return f"abs({a})", f"abs({sql_a})"
    if kind == "coalesce":
        return f"coalesce({a}, {b})", f"coalesce({sql_a}, {sql_b})"
    test, sql_test = filter_of(columns, 3)
    return f"case when {test} then {a} else {b} end", f"CASE WHEN {sql_test} THEN {sql_a} ELSE {sql_b} END"


def float_value(columns, depth=0):
    choices = numbers(columns, True)
    if depth > 2 or not choices or chance(0.3):
        if choices and chance(0.8):
            column = source.choice(choices)
            return column.name, cast(column, "DOUBLE")
        number = source.choice(("2.5", "0.1", "1.0", "-3.25"))
        return number, f"CAST('{number}' AS DOUBLE)"
    a, sql_a = float_value(columns, depth + 1)
    kind = source.choice(("+", "-", "*", "try_divide", "floor", "ceil", "round", "abs", "mixed"))
    note("computed float " + kind)
    if kind in ("+", "-", "*"):
        b, sql_b = float_value(columns, depth + 1)
        return f"({a} {kind} {b})", f"({sql_a} {kind} {sql_b})"
    if kind == "mixed":
        b, sql_b = integer_value(columns, 3)
        return f"({a} + {b})", f"({sql_a} + CAST({sql_b} AS DOUBLE))"
    if kind == "try_divide":
        b, sql_b = float_value(columns, depth + 1)
        return f"try_divide({a}, {b})", f"({sql_a} / nullif({sql_b}, 0))"
    return f"{kind}({a})", f"{kind}({sql_a})"


def date_value(columns):
    choices = [c for c in columns if c.kind in ("date", "timestamp")]
    if not choices:
        return None
    column = source.choice(choices)
    part = source.choice(("year", "quarter", "month", "day", "dow", "doy", "hour", "minute", "second", "date_trunc",
                          "cast of a date", "days"))
    note("computed " + part)
    name = column.name
    if part == "date_trunc":
        unit = source.choice(("year", "quarter", "month", "week", "day", "hour"))
        return (f"date_trunc('{unit}', {name})", f"CAST(date_trunc('{unit}', {name}) AS {SQL_TYPES[column.kind]})",
                column.kind)
    if part == "days":
        return f"cast({name} as date) + 7", f"CAST(CAST({name} AS DATE) + 7 AS DATE)", "date"
    if part == "cast of a date":
        return f"cast({name} as date)", f"CAST({name} AS DATE)", "date"
    return f"{part}({name})", f"CAST(date_part('{part}', CAST({name} AS TIMESTAMP)) AS BIGINT)", "i64"


def computed_decimal(columns):
    choices = [c for c in columns if c.kind in DECIMALS]
    if not choices:
        return None
    a, b = source.choice(choices), source.choice(choices + numbers(columns))
    scale, other = lib.width_of(a.kind), lib.width_of(b.kind)
    kind = source.choice(("try_add", "try_subtract", "try_multiply", "cast", "negate", "round" if a.tame else "negate"))
    note(f"computed {kind} of a decimal")
    if kind == "cast":
        to = source.choice((0, 2, 9))
        return f"try_cast({a.name} as decimal(18, {to}))", f"TRY_CAST({a.name} AS DECIMAL(18, {to}))", f"decimal{to}"
    if kind == "negate":
        return f"-{a.name}", f"-{a.name}", a.kind
    if kind == "round":
        return f"round({a.name}, 1)", f"CAST(round({a.name}, 1) AS {sql_type(a.kind)})", a.kind
    if kind == "try_multiply":
        made = f"decimal{scale + other}"
        product = f"CAST({a.name} AS DECIMAL(19, {scale})) * CAST({b.name} AS DECIMAL(19, {other}))"
        return f"try_multiply({a.name}, {b.name})", f"TRY_CAST(({product}) AS {sql_type(made)})", made
    made, sign = f"decimal{max(scale, other)}", "+" if kind == "try_add" else "-"
    return (f"{kind}({a.name}, {b.name})",
            f"TRY_CAST(({cast(a, 'DECIMAL(37, 9)')} {sign} {cast(b, 'DECIMAL(37, 9)')}) AS {sql_type(made)})", made)


def computed_time(columns):
    moments, times = ([c for c in columns if c.kind == kind] for kind in ("timestamp", "time"))
    if not moments and not times:
        return None
    if times and chance(0.5):
        part = source.choice(("hour", "minute", "second"))
        note("computed part of a time")
        return f"{part}({times[0].name})", f"CAST(date_part('{part}', {times[0].name}) AS BIGINT)", "i64"
    if not moments:
        return None
    a, b = source.choice(moments).name, source.choice(moments).name
    if chance(0.5):
        note("computed difference of timestamps")
        return f"({a} - {b})", f"(epoch_us({a}) - epoch_us({b}))", "duration"
    note("computed timestamp and duration")
    return f"{a} + interval '90 seconds'", f"({a} + INTERVAL 90 SECOND)", "timestamp"


def string_value(columns):
    choices = [c for c in columns if c.kind == "string"]
    if not choices:
        return None
    name = source.choice(choices).name
    kind = source.choice(("length", "lower", "upper", "substr", "coalesce"))
    note(f"computed {kind} of a string")
    if kind == "length":
        return f"length({name})", f"length({name})", "i64"
    if kind == "substr":
        start, length = source.randrange(1, 5), source.randrange(0, 5)
        part = f"array_to_string(string_split({name}, '')[{start}:{start + length - 1}], '')"
        return f"substr({name}, {start}, {length})", part, "string"
    if kind == "coalesce":
        return f"coalesce({name}, 'none')", f"coalesce({name}, 'none')", "string"
    letters = ("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    from_to = letters if kind == "upper" else letters[::-1]
    return f"{kind}({name})", f"translate({name}, '{from_to[0]}', '{from_to[1]}')", "string"


def cast_value(columns):
    column = source.choice(numbers(columns) or columns)
    if column.kind not in INTEGERS:
        return None
    note("computed cast")
    if chance(0.3):
        return f"cast({column.name} as string)", f"CAST({column.name} AS VARCHAR)", "string"
    kind = source.choice(INTEGERS)
    return f"try_cast({column.name} as {kind})", f"TRY_CAST({column.name} AS {SQL_TYPES[kind]})", kind


def truth_value(columns):
    note("computed condition")
    ours, theirs = filter_of(columns, 2)
    return f"coalesce({ours}, false)", f"coalesce({theirs}, false)", "bool"


def integer_column(columns):
    ours, theirs = integer_value(columns)
    return ours, f"CAST({theirs} AS BIGINT)", "i64"


def float_column(columns):
    return *float_value(columns), "f64"


def computed(columns):
    """A Column whose name is our text and whose `sql` is DuckDB's."""
    names = [c.name for c in columns]
    while True:
        made = source.choice((integer_column, integer_column, float_column, date_value, string_value, cast_value,
                              truth_value, computed_decimal, computed_decimal, computed_time))(columns)
        if made and made[0] not in names and any(name in made[0] for name in names):
            break
    column = Column(made[0], made[2])
    column.sql = made[1]
    return column


def computed_test(columns):
    column = computed(columns)
    note("filter of a computed " + column.kind)
    if column.kind == "bool":
        return column.name, column.sql
    ours, theirs, kind = constant(column, False)
    operator = source.choice(tuple(MIRRORED))
    if chance(0.3) and column.kind == "i64":
        note("a computed value beside a column")
        other = source.choice([c for c in columns if c.kind in INTEGERS])
        return (f"{column.name} {operator} {other.name}",
                f"CAST({column.sql} AS HUGEINT) {operator} {cast(other, 'HUGEINT')}")
    return f"{column.name} {operator} {ours}", f"CAST({column.sql} AS {kind}) {operator} {theirs}"


# ---- what is asked ----

def shown(column, expression=None):
    """A column in DuckDB's answer, as our values are."""
    expression = expression or column.sql
    if column.kind == "date":
        return f"({expression}) - DATE '1970-01-01'"
    if column.kind == "timestamp":
        return f"epoch_us({expression})"
    if column.kind == "time":
        seconds = f"(date_part('hour', {expression}) * 60 + date_part('minute', {expression}))"
        return f"CAST({seconds} * 60000000 + date_part('microseconds', {expression}) AS BIGINT)"
    if column.kind == "uuid":
        return f"CAST({expression} AS VARCHAR)"
    return f"CAST({expression} AS DOUBLE)" if column.kind == "f32" else expression


def aggregate(columns):
    """Our aggregate, DuckDB's expression, its column."""
    if chance(0.15):
        note("aggregate count(*)")
        return ("count(*)", None), "count(*)", None
    for _ in range(100):
        kind, column = source.choice(AGGREGATES), source.choice(columns)
        if chance(0.25):
            column = computed(columns)
            if kind == "avg" or kind in SQL_AGGREGATES:
                kind = "sum"
        number = column.kind in INTEGERS + FLOATS + ("bool", "duration") or column.kind.startswith("decimal")
        if kind in ("sum", "avg") and not (number and (column.tame or column.kind not in FLOATS)):
            continue
        if kind in SQL_AGGREGATES and not (number and column.tame):
            continue
        break
    else:
        return ("count(*)", None), "count(*)", None
    note(f"aggregate {kind.replace('(', ' ')}")
    if kind == "quantile":
        note("quantile of " + column.kind)
    note("aggregate of a computed value", column.sql != column.name)
    name = column.sql
    counted = f"CAST({name} AS HUGEINT)" if column.kind in INTEGERS + ("bool", "duration") else name
    if kind == "count(distinct":
        sql = f"count(DISTINCT {name})"
    elif kind in ("first", "last"):
        sql = shown(column, f"{kind}({name} ORDER BY id)")
    elif kind in ("min", "max"):
        sql = shown(column, f"{kind}({name})")
    elif kind == "quantile":
        part = source.choice((0, 0.000001, 0.001, 0.25, 0.333333, 0.5, 0.5, 0.9, 0.999, 0.9995, 1))
        kind, sql = f"quantile {part}", shown(column, f"quantile_disc({name}, {part:f})")
    elif kind in SQL_AGGREGATES:
        sql = f"{SQL_AGGREGATES[kind]}(CAST({name} AS DOUBLE))"
    elif kind == "sum":
        sql = f"sum({counted})" if column.kind not in FLOATS else f"sum(CAST({name} AS DOUBLE))"
    elif kind == "avg":
        exact = column.kind not in FLOATS and not column.kind.startswith("decimal")
        sql = f"avg({counted})" if exact else f"avg(CAST({name} AS DOUBLE))"
    else:
        sql = f"count({name})"
    return (kind, column.name), sql, column


def order_of(columns):
    """Pairs for our query, and DuckDB's text."""
    ours, theirs = [], []
    for column in columns:
        flags = source.choice((0, lib.DESCENDING)) | source.choice((0, lib.NULLS_LAST))
        ours.append((column.name, flags))
        theirs.append(f"{column.sql} {'DESC' if flags & lib.DESCENDING else 'ASC'} "
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
        self.limited, self.answer = False, self.query.rows

    def ask(self):
        kind = source.choice((self.aggregates, self.rows, self.groups, self.distinct))
        note("question: " + kind.__name__)
        threads = source.choice((1, 1, 2, 3, 4))
        self.query.threads(threads)
        if chance(0.8 if self.is_large() else 0.1):
            self.query.memory_limit(1 << 20)
        kind()
        ours = self.answer()
        run = self.query.last_run()
        helped, spilled = threads > 1 and run["helped"], run["bytes_spilled"]
        self.note_help(kind.__name__, helped)
        if spilled or self.is_large():  # what must come is said where it can
            note("question that did not fit into memory", spilled)
        theirs = self.duck.execute(self.sql).fetchall()
        self.compare(ours, theirs)
        if kind == self.aggregates:  # asked again, of what the query has kept
            assert repr(self.answer()) == repr(ours), self.told(f"{ours[:3]} at first")
        if helped and not (spilled and not self.ordered):  # to the bit, and in the same order
            self.query.threads(1)
            alone = self.answer()
            assert repr(ours) == repr(alone), self.told(f"{threads} threads: {ours[:3]}..., one: {alone[:3]}...")
        self.query.close()

    def is_large(self):
        return len(self.tables.rows) > SEGMENT_ROWS // 2

    def note_help(self, kind, helped):
        if kind != "rows":  # different rows are groups that nothing is asked of
            note(f"{kind.replace('distinct', 'groups')} by several threads", helped)
        else:
            note("rows as they lie by several threads", helped and not self.ordered)
            note("rows in an order by several threads", helped and self.ordered and not self.limited)
            note("first rows in an order by several threads", helped and self.limited)

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
            if column and name not in position:
                total = f"SELECT sum(abs(CAST({column.sql} AS DOUBLE))) FROM {self.tables.name}"
                out.append(1e-12 * (self.duck.execute(total).fetchone()[0] or 0) if column.kind in FLOATS else 0)
                continue
            rows = [row[position[name]] for row in self.tables.rows.values()] if column else []
            out.append(scale_of(kind, column, rows) if column and column.kind not in TEXTS else 0)
        return out

    def aggregates(self):
        chosen = [aggregate(self.columns) for _ in range(source.randrange(1, 5))]
        self.sql = f"SELECT {', '.join(c[1] for c in chosen)} FROM {self.tables.name} WHERE {self.sql_where}"
        self.slacks = self.slack(chosen)
        self.answer = lambda: [self.query.aggregate([c[0] for c in chosen])]

    def rows(self):
        chosen = source.sample(self.columns, source.randrange(1, len(self.columns) + 1))
        chosen = self.with_computed(chosen, "selected")
        self.query.select([c.name for c in chosen])
        self.sql = (f"SELECT {', '.join(shown(c) for c in chosen)} FROM {self.tables.name} WHERE {self.sql_where}")
        self.slacks, self.keys = [0] * len(chosen), len(chosen)
        if chance(0.4) or self.is_large():
            others = [c for c in self.columns if c.name != "id"]
            by = self.with_computed(source.sample(others, min(len(others), source.randrange(3))), "ordered by")
            by.append(self.columns[0])
            ours, theirs = order_of(by)
            self.query.order_by(ours)
            self.sql += " ORDER BY " + theirs
            self.ordered = True
            note("ordered rows")
            self.limit()

    def with_computed(self, columns, where):
        """Some of the columns are computed."""
        if not chance(0.3):
            return columns
        made = computed(self.columns)
        note(f"computed and {where}")
        return columns + [made]

    def limit(self):
        if chance(0.8 if self.is_large() else 0.5):
            offset, limit = source.choice((0, 0, 3, 2000)), source.choice((0, 1, 10, 1500))
            self.query.limit(offset, limit)
            self.sql += f" LIMIT {limit} OFFSET {offset}"
            self.limited = True
            note("limit")
            note("offset", offset)

    def groups(self):
        by = source.sample(self.columns, min(len(self.columns), source.randrange(1, 4)))
        by = self.with_computed(by, "grouped by")
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
                    f"WHERE {self.sql_where} GROUP BY {', '.join(c.sql for c in by)}")
        self.slacks, self.keys = [0] * len(by) + self.slack(chosen), len(by)
        if any(c[0][0] == "count(*)" for c in chosen) and chance(0.5):
            least = source.choice((1, 2, 10))
            computes = chance(0.5)
            self.query.having(f"count(*) * 2 + 1 >= {least}" if computes else f'"count(*)" >= {least}')
            self.sql += f" HAVING count(*) * 2 + 1 >= {least}" if computes else f" HAVING count(*) >= {least}"
            note("having")
            note("having of a computed value", computes)
        if chance(0.5):
            ours, theirs = order_of(by)
            self.query.order_by(ours)
            self.sql += " ORDER BY " + theirs
            self.ordered = True
            note("ordered groups")
            self.limit()

    def distinct(self):
        chosen = source.sample(self.columns, min(len(self.columns), source.randrange(1, 3)))
        chosen = self.with_computed(chosen, "distinct")
        self.query.select([c.name for c in chosen])
        self.query.distinct()
        self.sql = (f"SELECT DISTINCT {', '.join(shown(c) for c in chosen)} FROM {self.tables.name} "
                    f"WHERE {self.sql_where}")
        self.slacks, self.keys = [0] * len(chosen), len(chosen)

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


class JoinQuestion:
    """Rows of two tables; what an answer is wrong by is told as of one."""

    def __init__(self, tables, other, duck):
        self.tables, self.other, self.duck = tables, other, duck
        self.query = tables.table.query()

    def pair(self):
        """Columns of the two that compare, and how DuckDB compares them."""
        for _ in range(200):
            left, right = source.choice(self.tables.columns), source.choice(self.other.columns)
            kinds = {left.kind, right.kind}
            if left.kind == right.kind or kinds <= set(INTEGERS):
                return left, right, "HUGEINT" if kinds <= set(INTEGERS) else None
            if kinds <= set(INTEGERS + DECIMALS):
                return left, right, BETWEEN_DECIMALS
            if kinds <= set(FLOATS):
                return left, right, "DOUBLE"
            if kinds == {"date", "timestamp"}:
                return left, right, "TIMESTAMP"
        return self.tables.columns[0], self.other.columns[0], "HUGEINT"

    def ask(self):
        kind = source.choice(lib.JOINS)
        pairs = [self.pair() for _ in range(source.choice((1, 1, 2)))]
        on = " AND ".join(f"CAST(l.{a.name} AS {kind_of}) = CAST(r.{b.name} AS {kind_of})" if kind_of
                          else f"l.{a.name} = r.{b.name}" for a, b, kind_of in pairs)
        where, sql_where = filter_of(self.tables.columns) if chance(0.5) else ("", "TRUE")
        of_other, sql_of_other = filter_of(self.other.columns) if chance(0.5) else ("", "TRUE")
        note(f"join {kind}")
        note(f"join by {len(pairs)}")
        for a, b, _ in pairs:
            note("join by " + a.kind, True)
            note("join by two types", a.kind != b.kind)
        self.query.join(self.other.table, kind, [(a.name, b.name) for a, b, _ in pairs], of_other)
        self.query.where(where)
        if chance(0.3):
            self.query.memory_limit(1 << 20)
            note("join within little memory")
            if chance(0.5):  # tables that change nothing take their shares of it
                for i in range(source.randrange(8, 14)):
                    self.query.join(self.other.table, "left", [("id", "id")], "", f"x{i}_")
        gives = kind in ("inner", "left")
        chosen = [Column("id", "i64")] + source.sample(self.tables.columns, 1)
        others = source.sample(self.other.columns, min(2, len(self.other.columns))) if gives else []
        self.query.select([c.name for c in chosen] + ["o_" + c.name for c in others])
        shown_all = [shown(c, "l." + c.name) for c in chosen] + [shown(c, "r." + c.name) for c in others]
        sql = (f"SELECT {', '.join(shown_all)} FROM (SELECT * FROM {self.tables.name} WHERE {sql_where}) l {kind} JOIN "
               f"(SELECT * FROM {self.other.name} WHERE {sql_of_other}) r ON {on}")
        total = self.duck.execute(f"SELECT count(*) FROM ({sql})").fetchone()[0]
        note("join without rows", not total)
        self.query.threads(source.choice((1, 2, 3, 4)))
        if chance(0.5):
            self.query.order_by([("id", 0)])
        ours = self.query.aggregate([("count(*)", None)])[0]
        assert ours == total, f"{ours} rows, but {total}\n  {sql}"
        note("join by partitions", any(join["bytes_spilled"] for join in self.query.explained()["joins"]))
        if total <= 20_000:
            key = lambda row: [sortable(value) for value in row]
            rows = self.query.rows()
            note("join by several threads", self.query.last_run()["helped"])
            mine = sorted(rows, key=key)
            theirs = sorted(self.duck.execute(sql).fetchall(), key=key)
            for a, b in zip(mine, theirs):
                assert len(a) == len(b) and all(agree(x, y) for x, y in zip(a, b)), f"{a} is not {b}\n  {sql}"
        self.query.close()


def run(make_tables, make_question, make_join=None):
    import duckdb

    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    scale = float(os.environ.get("COLONNADE_TEST_SCALE", "1")) * (float(sys.argv[3]) if len(sys.argv) > 3 else 1)
    source.seed(seed)
    queries, per_table = max(int(2000 * scale), 100), 25
    duck = duckdb.connect()
    duck.execute("SET threads = 1")
    with tempfile.TemporaryDirectory(prefix="colonnade-duckdb-") as directory:
        store = lib.Store(sys.argv[1], os.path.join(directory, "store"))
        before = None
        for number in range(0, queries, per_table):
            tables = make_tables(store, duck, f"t{number}", directory)
            for i in range(per_table // 5 if make_join and before else 0):
                try:
                    make_join(tables, before, duck).ask()
                except BaseException:
                    print(f"seed {seed}, tables {tables.name} and {before.name}, join {i}", file=sys.stderr)
                    raise
            for i in range(per_table if len(tables.rows) < SEGMENT_ROWS // 2 else per_table // 2):
                try:
                    make_question(tables, duck).ask()
                except BaseException:
                    print(f"seed {seed}, table {tables.name}, question {i}", file=sys.stderr)
                    raise
            gone, before = (before, tables) if make_join else (tables, None)  # to join with the next ones
            if gone:
                gone.close()
                duck.execute(f"DROP TABLE {gone.name}")
        if before:
            before.close()
        store.close()
    for case, count in sorted(cases.items()):
        print(f"{count:7} {case}")
    never = [case for case, count in cases.items() if not count]
    assert scale < 1 or not never, f"never came: {never}"
    print(f"{queries} queries, the same answers")


if __name__ == "__main__":
    run(Tables, Question, JoinQuestion)
