"""Answers of this library beside DuckDB's, for test_against_duckdb.py: when two of them are the same."""

from decimal import Decimal

SQL_AGGREGATES = {"variance": "var_samp", "variance_pop": "var_pop", "stddev": "stddev_samp",
                  "stddev_pop": "stddev_pop"}


def scale_of(kind, column, rows):
    """What an f64 answer may be wrong by."""
    if kind not in ("sum", "avg") and kind not in SQL_AGGREGATES:
        return 0
    largest = max((abs(float(row)) for row in rows if row is not None and not isinstance(row, str)), default=0)
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
    if isinstance(value, Decimal):
        return (4, f"{value.normalize():f}" if value else "0")
    return (3, repr(value))
