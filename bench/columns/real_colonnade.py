"""Colonnade, through ctypes, as an engine of real.py."""

import ctypes
import os

import numpy
import pyarrow

from real_questions import COUNT, Q3, THREADS, where_text


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
            return self.high << 64 | self.low & 2 ** 64 - 1 if self.type == 22 else self.low

    class Data(ctypes.Structure):
        _fields_ = [("type", ctypes.c_int), ("form", ctypes.c_int), ("values", ctypes.c_void_p),
                    ("nulls", ctypes.c_void_p), ("offsets", ctypes.c_void_p), ("lengths", ctypes.c_void_p)]

    class Rows(ctypes.Structure):
        _fields_ = [("struct_size", ctypes.c_size_t), ("row_count", ctypes.c_uint64), ("found_count", ctypes.c_uint64),
                    ("found", ctypes.c_void_p), ("expire_ms", ctypes.c_void_p), ("column_count", ctypes.c_size_t),
                    ("columns", ctypes.c_void_p)]

    class Join(ctypes.Structure):
        _fields_ = [("struct_size", ctypes.c_size_t), ("table", ctypes.c_void_p), ("kind", ctypes.c_int),
                    ("left", ctypes.c_void_p), ("right", ctypes.c_void_p), ("count", ctypes.c_size_t),
                    ("prefix", ctypes.c_char_p), ("where", ctypes.c_char_p), ("parameters", ctypes.c_void_p),
                    ("parameter_count", ctypes.c_size_t)]

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
        self.last_rows = ctypes.c_void_p()
        self.library.kvstore_errmsg.restype = ctypes.c_char_p
        self.store = ctypes.c_void_p()
        self.check(self.library.kvstore_open(self.path.encode(), ctypes.byref(self.store), ctypes.c_int(1)))
        self.check(self.library.kvtable_load_threads(self.store, ctypes.c_uint32(THREADS)))
        self.version = "this build"
        self.settings = f"ctypes, Arrow streams in and out, {THREADS} thread(s) for what is appended and asked"

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

    def shut(self):
        for table in self.tables.values():
            self.library.kvtable_close(table)
        self.check(self.library.kvstore_close(self.store))

    def open(self):
        self.check(self.library.kvstore_open(self.path.encode(), ctypes.byref(self.store), ctypes.c_int(1)))
        self.check(self.library.kvtable_load_threads(self.store, ctypes.c_uint32(THREADS)))
        for name, table in self.tables.items():
            self.check(self.library.kvtable_open(self.store, name.encode(), ctypes.byref(table)))

    def settle(self):
        self.check(self.library.kvstore_checkpoint(self.store, 1, None, None))
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

    # ---- by key: the flights, whose key is an int64 ----

    def row(self, number):
        key, row, held = self.Value(5, 0, number, 0), (self.Value * 6)(), ctypes.c_void_p()
        self.check(self.library.kvtable_get(self.tables["flights"], ctypes.byref(key), ctypes.c_size_t(1), row,
                                            ctypes.c_size_t(6), None, ctypes.byref(held)))
        out = tuple(ctypes.string_at(value.low, value.high) if value.type == 19 else value.low for value in row)
        self.library.kvtable_row_free(held)
        return out

    def keys(self, ids):
        return self.Data(5, 0, ids.ctypes.data, None, None, None)

    def rows(self, ids, columns):
        """Arrays over the memory of the answer, which goes with the next one."""
        keys, rows, names = self.keys(ids), ctypes.c_void_p(), (ctypes.c_char_p * len(columns))(
            *[name.encode() for name in columns])
        self.check(self.library.kvtable_get_many(self.tables["flights"], ctypes.byref(keys), ctypes.c_size_t(1),
                                                 ctypes.c_uint64(len(ids)), names, ctypes.c_size_t(len(columns)), None,
                                                 ctypes.byref(rows)))
        self.library.kvtable_rows_free(self.last_rows)
        self.last_rows, out = rows, []
        for data in (self.Data * len(columns)).from_address(self.Rows.from_address(rows.value).columns):
            kind, size = {4: (numpy.int32, 4), 19: (numpy.uint64, 16)}[data.type]
            out.append(numpy.frombuffer((ctypes.c_uint8 * (size * len(ids))).from_address(data.values), dtype=kind))
        return out

    def made_rows(self, rows):
        """A KVValue for each column, a row each."""
        kinds = {"int32": 4, "int64": 5, "timestamp[us]": 18}
        self.kept, out = [], []
        for row in zip(*[column.cast(pyarrow.int64()).to_pylist() if str(column.type) in kinds else column.to_pylist()
                         for column in rows.columns]):
            values = (self.Value * len(row))()
            for field, value, given in zip(rows.schema, values, row):
                value.type = kinds.get(str(field.type), 19)
                if value.type == 19:
                    self.kept.append(ctypes.c_char_p(given.encode()))
                    value.low, value.high = ctypes.cast(self.kept[-1], ctypes.c_void_p).value, len(given.encode())
                else:
                    value.low = given
            out.append(values)
        return out

    def put_each(self, made):
        upsert, table, count, never = (self.library.kvtable_upsert, self.tables["flights"], ctypes.c_size_t(6),
                                       ctypes.c_int64(0))
        for row in made:
            self.check(upsert(table, row, count, never))

    def put(self, rows):
        stream, count = self.Stream(), ctypes.c_uint64()
        rows.to_reader()._export_to_c(ctypes.addressof(stream))
        self.check(self.library.kvtable_append_stream(self.tables["flights"], ctypes.byref(stream), 1,
                                                      ctypes.byref(count)))

    def delete(self, ids):
        keys, deleted = self.keys(ids), ctypes.c_uint64()
        self.check(self.library.kvtable_delete_many(self.tables["flights"], ctypes.byref(keys), ctypes.c_size_t(1),
                                                    ctypes.c_uint64(len(ids)), ctypes.byref(deleted)))

    # ---- questions ----

    def join(self, query, table, left, right, where, kind=0):
        names = [(ctypes.c_char_p * 1)(name.encode()) for name in (left, right)]
        places = [ctypes.cast(name, ctypes.c_void_p) for name in names]
        join = self.Join(ctypes.sizeof(self.Join), self.tables[table], kind, *places, 1, None,
                         where.encode(), None, 0)
        self.check(self.library.kvquery_join(query, ctypes.byref(join)))

    def q3(self):
        library, query, stream, day = self.library, ctypes.c_void_p(), self.Stream(), f"date '{Q3['day']}'"
        self.check(library.kvquery_create(self.tables["lineitem"], ctypes.byref(query)))
        try:
            self.check(library.kvquery_threads(query, ctypes.c_uint32(THREADS)))
            self.join(query, "orders", "l_orderkey", "o_orderkey", f"o_orderdate < {day}")
            self.join(query, "customer", "o_custkey", "c_custkey", f"c_mktsegment = '{Q3['segment']}'", 2)
            self.check(library.kvquery_where(query, f"l_shipdate > {day}".encode(), None, ctypes.c_size_t(0)))
            by = (ctypes.c_char_p * len(Q3["by"]))(*[name.encode() for name in Q3["by"]])
            self.check(library.kvquery_group_by(query, by, ctypes.c_size_t(len(by))))
            self.check(library.kvquery_compute(query, *self.aggregates([("sum", Q3["sum"])])))
            order = self.Order(f"sum({Q3['sum']})".encode(), 1)
            self.check(library.kvquery_order_by(query, ctypes.byref(order), ctypes.c_size_t(1)))
            self.check(library.kvquery_limit(query, ctypes.c_uint64(0), ctypes.c_uint64(Q3["limit"])))
            self.check(library.kvquery_open_stream(query, ctypes.byref(stream)))
            return pyarrow.RecordBatchReader._import_from_c(ctypes.addressof(stream)).read_all()
        finally:
            library.kvquery_close(query)

    def run(self, question):
        if question["out"]:
            return self.whole(question)
        query, library, stream = ctypes.c_void_p(), self.library, self.Stream()
        self.check(library.kvquery_create(self.tables[question["table"]], ctypes.byref(query)))
        try:
            self.check(library.kvquery_threads(query, ctypes.c_uint32(THREADS)))
            self.check(library.kvquery_where(query, where_text(question).encode(), None, ctypes.c_size_t(0)))
            if question["select"]:
                names = (ctypes.c_char_p * len(question["select"]))(*[name.encode() for name in question["select"]])
                self.check(library.kvquery_select(query, names, ctypes.c_size_t(len(names))))
            elif question["top"]:
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
