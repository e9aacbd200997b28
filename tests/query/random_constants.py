"""Random constants: our text and DuckDB's, for test_against_duckdb.py."""

import math
import time
from decimal import Decimal

import colonnade_library as lib
from random_tables import (FIXED, FLOATS, INTEGERS, RANGES, SQL_TYPES, chance, floating, integer, note, random_value,
                           source, sql_type, time_text)


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


BETWEEN_DECIMALS = "DECIMAL(38, 12)"  # holds every decimal(18, 9), every integer, and three more digits


def decimal_constant(column, known, beyond):
    number = known if known is not None else random_value(column.kind, source.choice(("few", "tame")))
    if lib.width_of(column.kind) > 12:
        return f"decimal '{number:f}'", f"CAST('{number:f}' AS {sql_type(column.kind)})", sql_type(column.kind)
    if beyond and chance(0.3):
        number += source.choice((Decimal("0.001"), Decimal("-0.0005"), Decimal(10) ** 17))
        note("decimals beside other digits")
    text = f"{number:f}"
    written = source.choice(("{}", "decimal '{}'", "'{}'"))
    if len(text.strip("-").replace(".", "")) > 18:
        written = "{}"  # an integer, or the nearest f64
        number = number.to_integral_value()
        text = f"{number:f}"
    note("decimal constant " + written)
    return written.format(text), f"CAST('{text}' AS {BETWEEN_DECIMALS})", BETWEEN_DECIMALS


def other_constant(kind, value):
    if kind == "duration":
        return f"duration '{value} us'", f"CAST({value} AS BIGINT)", "BIGINT"
    text = time_text(value) if kind == "time" else value
    word = source.choice((kind + " ", ""))
    return f"{word}'{text}'", f"CAST('{text}' AS {SQL_TYPES[kind]})", SQL_TYPES[kind]


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
    if kind.startswith("decimal"):
        return decimal_constant(column, known, beyond)
    if kind in ("time", "duration", "uuid"):
        return other_constant(kind, known if known is not None else random_value(kind, "tame"))
    if kind == "bool":
        truth = source.choice(("true", "false"))
        return truth, truth, "BOOLEAN"
    text = known if known is not None else random_value(kind, "few")
    if kind == "bytes" or kind in FIXED:
        return f"x'{text.hex()}'", f"unhex('{text.hex()}')", "BLOB"
    return sql_text(text), sql_text(text), "VARCHAR"
