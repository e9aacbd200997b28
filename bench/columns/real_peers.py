"""The engines that real.py sets beside Colonnade."""

import os

import numpy
import pyarrow
import pyarrow.compute as pc

from real_questions import DAY, THREADS, where_text


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
