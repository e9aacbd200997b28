"""The table side of the library through ctypes, as little of it as the tests of queries need."""

import array
import ctypes
import decimal
import json
import struct
import uuid

decimal.getcontext().prec = 60  # sums have up to 38 digits

TYPES = {"bool": 1, "i8": 2, "i16": 3, "i32": 4, "i64": 5, "u8": 6, "u16": 7, "u32": 8, "u64": 9, "f32": 10, "f64": 11,
         "date": 12, "time": 14, "duration": 15, "uuid": 16,
         "timestamp": 18, "string": 19, "bytes": 20, "decimal128": 22}
TYPES |= {f"decimal{scale}": 13 for scale in range(19)}  # the scale is the width
TYPES |= {f"fixed{width}": 21 for width in range(1, 33)}
NAMES = {number: name for name, number in TYPES.items()} | {13: "decimal", 21: "bytes"}
ARRAY_CODES = {"bool": "B", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "u8": "B", "u16": "H", "u32": "I",
               "u64": "Q", "f32": "f", "f64": "d", "date": "i", "timestamp": "q", "time": "q", "duration": "q"}
AGGREGATES = {"count(*)": 0, "count": 1, "sum": 2, "min": 3, "max": 4, "avg": 5, "variance": 6, "variance_pop": 7,
              "stddev": 8, "stddev_pop": 9, "count(distinct": 10, "first": 11, "last": 12}
NULLABLE, UPSERT, DESCENDING, NULLS_LAST, ARRAY = 1, 1, 1, 2, 16
FROM_EXCLUDED, TO_INCLUDED = 1, 2
JOINS = ("inner", "left", "semi", "anti")
FORM_ARRAY, FORM_OFFSETS = 0, 1


def aggregate_kind(kind):
    """ "quantile 0.95" is one, too: KVQUERY_QUANTILE."""
    return 65536 + round(1e6 * float(kind.split()[1])) if kind.startswith("quantile ") else AGGREGATES[kind]


class ColumnDefinition(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_int), ("flags", ctypes.c_int), ("width", ctypes.c_uint32)]


class Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Decimal(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_int64)]


class ValueUnion(ctypes.Union):
    _fields_ = [("i64", ctypes.c_int64), ("u64", ctypes.c_uint64), ("f64", ctypes.c_double), ("bytes", Bytes),
                ("decimal", Decimal)]


def width_of(kind):
    if kind.startswith(("decimal", "fixed")):
        return int(kind.removeprefix("decimal").removeprefix("fixed"))
    return 16 if kind == "uuid" else 0


class Value(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("is_null", ctypes.c_uint8), ("scale", ctypes.c_uint8),
                ("zero", ctypes.c_uint16), ("is", ValueUnion)]

    def python(self):
        held = getattr(self, "is")
        name = NAMES.get(self.type)
        if self.is_null:
            return None
        if name in ("string", "bytes", "uuid"):
            data = ctypes.string_at(held.bytes.data, held.bytes.length) if held.bytes.length else b""
            return data.decode("utf-8") if name == "string" else str(uuid.UUID(bytes=data)) if name == "uuid" else data
        if name in ("decimal", "decimal128"):
            number = held.decimal.high << 64 | held.decimal.low
            return decimal.Decimal(number).scaleb(-self.scale) if self.scale or name == "decimal" else number
        if name in ("f32", "f64"):
            return held.f64
        if name == "bool":
            return bool(held.i64)
        return held.u64 if name in ("u8", "u16", "u32", "u64") else held.i64


class ColumnData(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("form", ctypes.c_int), ("values", ctypes.c_void_p),
                ("nulls", ctypes.c_void_p), ("offsets", ctypes.c_void_p), ("lengths", ctypes.c_void_p)]


class Join(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("table", ctypes.c_void_p), ("kind", ctypes.c_int),
                ("left", ctypes.POINTER(ctypes.c_char_p)), ("right", ctypes.POINTER(ctypes.c_char_p)),
                ("count", ctypes.c_size_t), ("prefix", ctypes.c_char_p), ("where", ctypes.c_char_p),
                ("parameters", ctypes.c_void_p), ("parameter_count", ctypes.c_size_t)]


class Aggregate(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("column", ctypes.c_char_p)]


class Order(ctypes.Structure):
    _fields_ = [("column", ctypes.c_char_p), ("flags", ctypes.c_int)]


class PairColumn(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("source", ctypes.c_char_p), ("type", ctypes.c_int),
                ("width", ctypes.c_uint32)]


class Failure(Exception):
    pass


class Store:
    """A store and the calls on it; what fails raises Failure with the library's message."""

    def __init__(self, library, path):
        self.library = ctypes.CDLL(library)
        for name in ("kvstore_errmsg", "kvstore_status_text"):
            getattr(self.library, name).restype = ctypes.c_char_p
        self.library.kvcursor_column_count.restype = ctypes.c_size_t
        self.store = ctypes.c_void_p()
        self.check(self.library.kvstore_open(path.encode(), ctypes.byref(self.store), ctypes.c_int(1)))
        self.not_found = self.find_not_found()

    def find_not_found(self):
        """The code of what is not there: asked of the library."""
        value, length = ctypes.c_void_p(), ctypes.c_int()
        return self.library.kvstore_get(self.store, b"never put", ctypes.c_int(9), ctypes.byref(value),
                                        ctypes.byref(length))

    def check(self, code):
        if code:
            text = self.library.kvstore_errmsg(self.store) if self.store else self.library.kvstore_errmsg(None)
            raise Failure(f"{code}: {text.decode(errors='replace')}")

    def close(self):
        self.check(self.library.kvstore_close(self.store))

    def maintain(self):
        self.check(self.library.kvstore_checkpoint(self.store, 1, None, None))
        self.check(self.library.kvstore_maintain(self.store))

    def create(self, name, columns, key):
        """`columns`: pairs of name and type, and flags."""
        definitions = (ColumnDefinition * len(columns))(
            *[ColumnDefinition(column.encode(), TYPES[kind], flags, width_of(kind)) for column, kind, flags in columns])
        table = ctypes.c_void_p()
        keys = (ctypes.c_char_p * len(key))(*[name.encode() for name in key])
        self.check(self.library.kvtable_create(self.store, name.encode(), definitions, ctypes.c_size_t(len(columns)),
                                               keys, ctypes.c_size_t(len(key)), ctypes.byref(table)))
        return Table(self, table, columns)


def column_data(kind, values):
    """The arrays of a column, and what must live as long."""
    nulls = bytes(value is None for value in values)
    if kind == "uuid":
        values = [None if v is None else uuid.UUID(v).bytes for v in values]
    if kind.startswith("decimal"):
        values = [None if v is None else int(v.scaleb(width_of(kind))) for v in values]
    if kind in ("string", "bytes", "uuid") or kind.startswith("fixed"):
        none = bytes(width_of(kind))
        pieces = [none if v is None else v.encode() if kind == "string" else v for v in values]
        offsets = array.array("Q", [0])
        for piece in pieces:
            offsets.append(offsets[-1] + len(piece))
        data = b"".join(pieces)
        kept = [ctypes.create_string_buffer(data, len(data) + 1), ctypes.create_string_buffer(nulls, len(nulls) + 1),
                offsets]
        return ColumnData(TYPES[kind], FORM_OFFSETS, ctypes.addressof(kept[0]), ctypes.addressof(kept[1]),
                          offsets.buffer_info()[0], None), kept
    numbers = array.array(ARRAY_CODES.get(kind, "q"), [0 if v is None else v for v in values])
    kept = [numbers, ctypes.create_string_buffer(nulls, len(nulls) + 1)]
    return ColumnData(TYPES[kind], FORM_ARRAY, numbers.buffer_info()[0], ctypes.addressof(kept[1]), None, None), kept


class Table:
    def __init__(self, store, table, columns):
        self.store, self.library, self.table, self.columns = store, store.library, table, columns

    def close(self):
        self.library.kvtable_close(self.table)

    def upsert(self, rows, expiries):
        """`rows`: lists of values in the order of the columns; `expiries`: milliseconds, 0: never."""
        if not rows:
            return
        kept, data = [], (ColumnData * len(self.columns))()
        for i, (_, kind, _) in enumerate(self.columns):
            data[i], keep = column_data(kind, [row[i] for row in rows])
            kept.append(keep)
        expire = array.array("q", expiries)
        self.store.check(self.library.kvtable_append(
            self.table, data, ctypes.c_size_t(len(self.columns)), ctypes.c_uint64(len(rows)),
            ctypes.c_void_p(expire.buffer_info()[0]), ctypes.c_int(UPSERT), None))

    def delete(self, key):
        value = Value(TYPES["i64"], 0, 0, 0, ValueUnion(i64=key))
        self.store.check(self.library.kvtable_delete(self.table, ctypes.byref(value), ctypes.c_size_t(1)))

    def query(self):
        return Query(self)


def names(strings):
    return (ctypes.c_char_p * len(strings))(*[s.encode() for s in strings]), ctypes.c_size_t(len(strings))


def aggregate_array(aggregates):
    """Pairs of an aggregate's name and its column, None for count(*)."""
    return (Aggregate * len(aggregates))(
        *[Aggregate(aggregate_kind(kind), column.encode() if column else None) for kind, column in aggregates])


def bytes_value(data):
    """A value of bytes, and what must live as long."""
    kept = ctypes.create_string_buffer(data, len(data) + 1)
    value = Value(TYPES["bytes"], 0, 0, 0, ValueUnion())
    getattr(value, "is").bytes = Bytes(ctypes.addressof(kept), len(data))
    return value, kept


class Query:
    def __init__(self, table):
        self.library, self.store, self.query = table.library, table.store, ctypes.c_void_p()
        self.check(self.library.kvquery_create(table.table, ctypes.byref(self.query)))

    def check(self, code):
        self.store.check(code)

    def close(self):
        self.library.kvquery_close(self.query)

    def where(self, text):
        self.check(self.library.kvquery_where(self.query, text.encode(), None, ctypes.c_size_t(0)))

    def join(self, other, kind, pairs, where, prefix="o_"):
        """`pairs`: names of columns on both sides. The other's columns come out with the prefix."""
        left, count = names([pair[0] for pair in pairs])
        right, _ = names([pair[1] for pair in pairs])
        join = Join(ctypes.sizeof(Join), other.table, JOINS.index(kind), left, right, count, prefix.encode(),
                    where.encode(), None, 0)
        self.check(self.library.kvquery_join(self.query, ctypes.byref(join)))

    def threads(self, count):
        self.check(self.library.kvquery_threads(self.query, ctypes.c_uint32(count)))

    def explained(self):
        text = ctypes.c_char_p()
        self.check(self.library.kvquery_explain_json(self.query, ctypes.byref(text)))
        explained = json.loads(text.value.decode())
        self.library.kvstore_free(text)
        return explained

    def last_run(self):
        """What is told of it: "helped", whether other threads were asked to, "bytes_spilled"."""
        return self.explained()["run"]

    def memory_limit(self, size):
        self.check(self.library.kvquery_memory_limit(self.query, ctypes.c_uint64(size)))

    def key_range(self, low, high, flags):
        """Of a table whose key is one i64; None: no end there."""
        ends = [(None, 0) if end is None else (ctypes.byref(Value(TYPES["i64"], 0, 0, 0, ValueUnion(i64=end))), 1)
                for end in (low, high)]
        (first, first_count), (last, last_count) = ends
        self.check(self.library.kvquery_key_range(self.query, first, ctypes.c_size_t(first_count), last,
                                                  ctypes.c_size_t(last_count), ctypes.c_int(flags)))

    def key_prefix(self, prefix):
        """Of a family."""
        value, _kept = bytes_value(prefix)
        self.check(self.library.kvquery_key_prefix(self.query, ctypes.byref(value), ctypes.c_size_t(1)))

    def key_bytes_range(self, low, high, flags):
        """Of a family; None: no end there."""
        (first, _kept), (last, _also) = ((None, None) if end is None else bytes_value(end) for end in (low, high))
        self.check(self.library.kvquery_key_range(
            self.query, ctypes.byref(first) if first else None, ctypes.c_size_t(first is not None),
            ctypes.byref(last) if last else None, ctypes.c_size_t(last is not None), ctypes.c_int(flags)))

    def having(self, text):
        self.check(self.library.kvquery_having(self.query, text.encode(), None, ctypes.c_size_t(0)))

    def select(self, columns):
        self.check(self.library.kvquery_select(self.query, *names(columns)))

    def group_by(self, columns):
        self.check(self.library.kvquery_group_by(self.query, *names(columns)))

    def compute(self, aggregates):
        self.check(self.library.kvquery_compute(self.query, aggregate_array(aggregates),
                                                ctypes.c_size_t(len(aggregates))))

    def distinct(self):
        self.check(self.library.kvquery_distinct(self.query, ctypes.c_int(1)))

    def order_by(self, order):
        """Pairs of a column and flags."""
        orders = (Order * len(order))(*[Order(column.encode(), flags) for column, flags in order])
        self.check(self.library.kvquery_order_by(self.query, orders, ctypes.c_size_t(len(order))))

    def limit(self, offset, limit):
        self.check(self.library.kvquery_limit(self.query, ctypes.c_uint64(offset), ctypes.c_uint64(limit)))

    def aggregate(self, aggregates):
        results = (Value * len(aggregates))()
        self.check(self.library.kvquery_aggregate(self.query, aggregate_array(aggregates),
                                                  ctypes.c_size_t(len(aggregates)), results))
        return tuple(value.python() for value in results)

    def rows(self):
        cursor = ctypes.c_void_p()
        self.check(self.library.kvquery_open(self.query, ctypes.byref(cursor)))
        count = self.library.kvcursor_column_count(cursor)
        out, value = [], Value()
        try:
            while True:
                code = self.library.kvcursor_next(cursor)
                if code == self.store.not_found:
                    return out
                self.check(code)
                row = []
                for i in range(count):
                    self.check(self.library.kvcursor_value(cursor, ctypes.c_size_t(i), ctypes.byref(value)))
                    row.append(value.python())
                out.append(tuple(row))
        finally:
            self.library.kvcursor_close(cursor)


def as_f32(number):
    """The nearest f32, widened."""
    return struct.unpack("f", struct.pack("f", number))[0]
