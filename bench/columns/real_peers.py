"""The engines that real.py sets beside Colonnade."""

import os

import numpy
import pyarrow
import pyarrow.compute as pc

from real_questions import DAY, Q3, THREADS, where_text


class DuckDB:
    NAMES = {"mean": "avg"}

    def __init__(self, directory, _):
        import duckdb
        self.path, self.names = f"{directory}/real.duckdb", {}
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

    def shut(self):
        self.connection.close()

    def open(self):
        import duckdb
        self.connection = duckdb.connect(self.path, config={"threads": THREADS})

    # ---- by key: of the flights; what is written goes to a copy that has a primary key ----

    def row(self, number):
        return self.connection.execute("select * from flights where id = ?", [number]).fetchall()[0]

    def rows(self, ids, columns):
        keys = pyarrow.table({"id": ids})  # found by its name
        found = self.connection.sql(f"select {', '.join(columns)} from keys join flights using (id)")
        return [found_column(column) for column in found.to_arrow_table().columns] if keys else None

    def prepare_keys(self):
        self.connection.execute("create table keyed (id bigint primary key, date timestamp, delay integer, "
                                "distance integer, origin varchar, destination varchar)")
        self.connection.execute("insert into keyed select * from flights")
        self.connection.execute("checkpoint")
        self.names["flights"] = "keyed"

    def made_rows(self, rows):
        return list(zip(*[column.to_pylist() for column in rows.columns]))

    def put_each(self, made):
        for row in made:
            self.connection.execute("insert or replace into keyed values (?, ?, ?, ?, ?, ?)", row)

    def put(self, rows):
        self.connection.register("arrow", rows)
        self.connection.execute("insert or replace into keyed select * from arrow")
        self.connection.unregister("arrow")

    def delete(self, ids):
        self.connection.register("arrow", pyarrow.table({"id": ids}))
        self.connection.execute("delete from keyed where id in (select id from arrow)")
        self.connection.unregister("arrow")

    # ---- questions ----

    def q3(self):
        return self.connection.sql(q3_text(f"date '{Q3['day']}'")).to_arrow_table()

    def text(self, question):
        table = self.names.get(question["table"], question["table"])
        where = f" where {where_text(question)}" if question["where"] else ""
        if question["top"]:
            column, limit = question["top"]
            return f"select * from {table} order by {column} desc limit {limit}"
        if question["out"]:
            return f"select {question['out']} from {table}"
        if question["distinct"]:
            return f"select count(distinct {question['distinct']}) from {table}"
        if question["select"]:
            return f"select {', '.join(question['select'])} from {table}{where}"
        asked = [f"{self.NAMES.get(kind, kind)}({column or '*'})" for kind, column in question["compute"]]
        by = ", ".join(question["by"])
        return f"select {', '.join([*question['by'], *asked])} from {table}{where}" + (
            f" group by {by}" if by else "")

    def run(self, question):
        done = self.connection.sql(self.text(question))
        return ([done.fetchnumpy()[question["out"]]], None) if question["out"] else done.to_arrow_table()


def q3_text(day):
    by = ", ".join(Q3["by"])
    return f"""select {by}, sum({Q3["sum"]}) as paid from lineitem join orders on o_orderkey = l_orderkey
        join customer on c_custkey = o_custkey where c_mktsegment = '{Q3["segment"]}' and o_orderdate < {day}
        and l_shipdate > {day} group by {by} order by paid desc limit {Q3["limit"]}"""


def found_column(column):
    return column if pyarrow.types.is_string(column.type) else column.to_numpy()


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
        if question["select"]:
            return frame.select(question["select"]).collect().to_arrow()
        if question["top"]:
            column, limit = question["top"]
            return frame.top_k(limit, by=column).collect().to_arrow()
        if question["distinct"]:
            return frame.select(pl.col(question["distinct"]).n_unique()).collect().to_arrow()
        asked = [pl.len().alias("n") if kind == "count" else getattr(self.value(column), kind)().alias(
            f"{kind}{column}") for kind, column in question["compute"]]
        done = frame.group_by(question["by"]).agg(asked) if question["by"] else frame.select(asked)
        return done.collect().to_arrow()

    def q3(self):
        pl, day = self.polars, self.polars.lit(Q3["day"]).str.to_date()
        customers = self.tables["customer"].lazy().filter(pl.col("c_mktsegment") == Q3["segment"])
        orders = self.tables["orders"].lazy().filter(pl.col("o_orderdate") < day)
        rows = self.tables["lineitem"].lazy().filter(pl.col("l_shipdate") > day)
        rows = rows.join(orders.join(customers, left_on="o_custkey", right_on="c_custkey", how="semi"),
                         left_on="l_orderkey", right_on="o_orderkey")
        sums = rows.group_by(Q3["by"]).agg(self.value(Q3["sum"]).sum().alias("paid"))
        return sums.top_k(Q3["limit"], by="paid").collect().to_arrow()

    def row(self, number):
        return self.tables["flights"].lazy().filter(self.polars.col("id") == number).collect().row(0)

    def rows(self, ids, columns):
        keys = self.polars.DataFrame({"id": ids}).lazy()
        found = keys.join(self.tables["flights"].lazy(), on="id", how="left").select(columns).collect().to_arrow()
        return [column.to_numpy() if pyarrow.types.is_integer(column.type) else column for column in found.columns]

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
        if question["select"]:
            return table.select(question["select"])
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
        if question["by"] or question["distinct"] or question["top"] or question["select"] or any(
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
