#!/usr/bin/env python3
"""Tables from the command line, against SQLite over the same rows: queries, single rows, info, tables, drop."""

import random
import sqlite3
import subprocess

import cli_program
from cli_program import CliTest

COLUMNS = ["id", "city", "amount", "rate", "day"]


class Tables(CliTest):
    def setUp(self):
        super().setUp()
        source = random.Random(11)
        self.data = [(i, source.choice(["Oslo", "Bergen", "Tromsø", None]), source.choice([None, *range(-50, 50)]),
                      source.choice([None, 0.25, -1.5, 1e10, 3.0]), f"2024-{source.randrange(1, 13):02}-15")
                     for i in range(3000)]
        self.sqlite = sqlite3.connect(":memory:")
        self.addCleanup(self.sqlite.close)
        self.sqlite.execute("create table t (id integer primary key, city text, amount integer, rate real, day text)")
        self.sqlite.executemany("insert into t values (?, ?, ?, ?, ?)", self.data)
        lines = [",".join(COLUMNS)] + [",".join("" if v is None else str(v) for v in row) for row in self.data]
        self.run_tool("import", self.write("t.csv", "\n".join(lines) + "\n"), "--table", "t", "--key", "id")

    def sql(self, text):
        return [tuple(row) for row in self.sqlite.execute(text).fetchall()]

    def same_rows(self):
        rows = self.json("query", "t", "--order-by-key")["rows"]
        self.assertEqual([tuple(row.values()) for row in rows], self.sql("select * from t order by id"))

    # ---- questions ----

    def test_answers_are_those_of_sqlite(self):
        for where in ["amount > 10", "amount > 10 and city = 'Oslo'", "city in ('Oslo', 'Tromsø') or rate < 0",
                      "not (amount between -5 and 5)", "city is null", "city is not null and rate >= 3",
                      "city like 'Ber%'", "id < 100 and day > '2024-06-01'", "amount = 1000", "rate = 10000000000"]:
            answer = self.json("query", "t", "--where", where, "--count", "--sum", "amount", "--min", "amount", "--max",
                               "amount", "--avg", "amount", "--min", "city", "--max", "city", "--max", "day")
            expected = self.sql("select count(*), sum(amount), min(amount), max(amount), avg(amount), min(city), "
                                f"max(city), max(day) from t where {where}")[0]
            self.assertEqual(list(answer["results"]), ["count(*)", "sum(amount)", "min(amount)", "max(amount)",
                                                       "avg(amount)", "min(city)", "max(city)", "max(day)"])
            for value, expect in zip(answer["results"].values(), expected):
                if isinstance(expect, float):
                    self.assertAlmostEqual(value, expect, delta=1e-9, msg=where)
                else:
                    self.assertEqual(value, expect, where)
            self.assertEqual(answer["blocks"], answer["blocks_skipped"] + answer["blocks_certain"] +
                             answer["blocks_scanned"])
            rows = self.json("query", "t", "--where", where, "--select", "day,id", "--order-by-key")
            self.assertEqual([tuple(row.values()) for row in rows["rows"]],
                             self.sql(f"select day, id from t where {where} order by id"))
            self.assertEqual(rows["row_count"], len(rows["rows"]))
        self.same_rows()

    def test_limits_and_offsets_cut_the_rows(self):
        for limit, offset in ((0, 0), (5, 0), (5, 7), (10, 2995), (10, 5000)):
            rows = self.json("query", "t", "--order-by-key", "--select", "id", "--limit", limit, "--offset", offset)
            self.assertEqual([row["id"] for row in rows["rows"]], list(range(3000))[offset:offset + limit])

    def test_text_has_tabs_for_programs_and_columns_for_people(self):
        options = ["--select", "id,city,amount", "--where", "id < 3", "--order-by-key"]
        expected = [[str(row[0]), row[1] or "null", "null" if row[2] is None else str(row[2])] for row in self.data[:3]]
        lines = self.text("query", "t", *options).splitlines()
        self.assertEqual([line.split("\t") for line in lines], [["id", "city", "amount"], *expected])
        lines = self.text("--format", "aligned", "query", "t", *options).splitlines()
        self.assertEqual([line.split() for line in lines[:1] + lines[2:]], [["id", "city", "amount"], *expected])
        self.assertEqual(len({len(line) for line in lines}), 1)
        self.assertEqual(self.text("query", "t", "--count"), "3000\n")
        self.assertEqual(self.text("query", "t", "--count", "--sum", "id"),
                         f"count(*)\t3000\nsum(id)\t{3000 * 2999 // 2}\n")

    def test_explain_says_what_was_read(self):
        text = self.text("query", "t", "--where", "id < 5", "--count", "--explain")
        self.assertTrue(text.startswith("5\n"))
        for part in ("id < 5", "blocks", "time: "):
            self.assertIn(part, text)
        self.assertIn("id < 5", self.json("query", "t", "--where", "id < 5", "--count", "--explain")["explain"])
        self.assertIn("blocks", self.text("query", "t", "--limit", "1", "--explain"))

    def test_joined_tables_are_those_of_sqlite(self):
        towns = self.write("towns.csv", "town,land\nOslo,NO\nRom,IT\n")
        self.run_tool("import", towns, "--table", "towns", "--key", "town")
        self.sqlite.execute("create table towns (town text, land text)")
        self.sqlite.executemany("insert into towns values (?, ?)", [("Oslo", "NO"), ("Rom", "IT")])
        for kind, where in [("semi", "city in (select town from towns)"),
                            ("anti", "city is null or city not in (select town from towns)")]:
            self.assertEqual(self.text("query", "t", "--join", "towns", "--on", "city=town", "--kind", kind, "--count"),
                             f"{self.sql('select count(*) from t where ' + where)[0][0]}\n")
        rows = self.json("query", "t", "--join", "towns", "--on", "city=town", "--prefix", "in_", "--group-by",
                         "in_land", "--sum", "id", "--order-by", "in_land")["rows"]
        self.assertEqual([tuple(row.values()) for row in rows],
                         self.sql("select land, sum(id) from t join towns on city = town group by land order by land"))
        for options, saying in [(["--join", "towns"], "--on is missing"), (["--on", "city=town"], "before any --join"),
                                (["--join", "towns", "--on", "city"], "column=column"),
                                (["--join", "towns", "--on", "id=town"], "does not compare"),
                                (["--join", "towns", "--on", "city=town", "--kind", "outer"], "inner, left")]:
            self.refuses("query", "t", *options, "--count", saying=saying)

    def test_ranges_of_keys_read_nothing_else(self):
        for options, where in [(["--key-from", "100", "--key-to", "2000"], "id >= 100 and id < 2000"),
                               (["--key-from", "2990"], "id >= 2990"), (["--key-prefix", "7"], "id = 7"),
                               (["--key-to", "50", "--where", "city = 'Oslo'"], "id < 50 and city = 'Oslo'")]:
            self.assertEqual(self.json("query", "t", *options, "--count")["results"]["count(*)"],
                             self.sql(f"select count(*) from t where {where}")[0][0])
        self.assertIn("keys: from (100)", self.text("query", "t", "--key-from", "100", "--count", "--explain"))
        for options, saying in [(["--key-from", "x"], "is no i64"), (["--key-prefix", "1,2"], "2 values"),
                                (["--key-prefix", "1", "--key-to", "2"], "one or the other")]:
            self.refuses("query", "t", *options, "--count", saying=saying)

    def test_groups_are_those_of_sqlite(self):
        asks = ["--count", "--sum", "amount", "--min", "day", "--count-distinct", "rate", "--avg", "amount"]
        sql = "count(*), sum(amount), min(day), count(distinct rate), avg(amount)"
        for keys in ["city", "amount", "city,day", "rate", "day,city,amount"]:
            for having in [None, "count(*) > 40"]:
                options = ["--having", having] if having else []
                answer = self.json("query", "t", "--where", "id <> 7", "--group-by", keys, *asks, *options,
                                   "--order-by", keys)
                expected = self.sql(f"select {keys}, {sql} from t where id <> 7 group by {keys} "
                                    f"{'having ' + having if having else ''} order by {keys}")
                self.assertEqual(answer["row_count"], len(expected))
                for row, expect in zip(answer["rows"], expected):
                    for value, wanted in zip(row.values(), expect):
                        self.assertAlmostEqual(value, wanted) if isinstance(wanted, float) else \
                            self.assertEqual(value, wanted, keys)
        self.assertEqual(self.json("query", "t", "--median", "id", "--approx-distinct", "city")["results"],
                         {"median(id)": 1499, "approx_count_distinct(city)": 3})
        self.assertEqual(self.json("query", "t", "--count-values", "amount")["results"]["count(amount)"],
                         self.sql("select count(amount) from t")[0][0])
        names = list(self.json("query", "t", "--group-by", "city", "--stddev", "amount", "--last", "id")["rows"][0])
        self.assertEqual(names, ["city", "stddev(amount)", "last(id)"])

    def test_quantiles_are_the_least_values_that_so_many_are_not_above(self):
        asked = {"0": 0, "0.25": 250000, ".9": 900000, "0.999": 999000, "0.0005": 500, "0.999999": 999999, "1": 1000000,
                 "1.000000": 1000000}
        for column in ["id", "coalesce(amount, 0)"]:
            values = sorted(row[0] for row in self.sql(f"select {column} from t"))
            options = [word for p in asked for word in ("--quantile", f"{column},{p}")]
            self.assertEqual(self.json("query", "t", *options)["results"],
                             {f"quantile({column}, {millionths / 1000000:g})":
                              values[max(0, -(-millionths * len(values) // 1000000) - 1)]
                              for millionths in asked.values()})
        rows = self.json("query", "t", "--group-by", "city", "--quantile", "id, 0.5", "--median", "id")["rows"]
        for row in rows:
            self.assertEqual(list(row)[1:], ["median(id)"])
        ordered = self.json("query", "t", "--group-by", "city", "--quantile", "id,0.5", "--quantile", "id,0.9",
                            "--having", "quantile(id, 0.50) >= 0 and Quantile(id,.9) >= 0",
                            "--order-by", "quantile(id, 0.5) desc")
        self.assertEqual([row["median(id)"] for row in ordered["rows"]],
                         sorted((row["median(id)"] for row in rows), reverse=True))
        for value in ["id", "id,", "id,2", "id,1.000001", "id,0.1234567", "id,-0.5", "id,x", "id,."]:
            self.refuses("query", "t", "--quantile", value, saying="a number from 0 to 1")
        self.refuses("query", "t", "--quantile", "city2,0.5", saying="city2")

    def test_threads_and_memory_change_no_answer(self):
        ask = ["query", "t", "--group-by", "id,city", "--sum", "amount", "--quantile", "amount,0.3", "--order-by", "id"]
        rows = self.json(*ask)["rows"]
        for means in [["--threads", "1"], ["--threads", "2"], ["--memory", "1"], ["--threads", "64", "--memory", "8"]]:
            self.assertEqual(self.json(*ask, *means)["rows"], rows)
        for means, saying in [(["--threads", "0"], "from 1 to 64"), (["--threads", "65"], "from 1 to 64"),
                              (["--memory", "0"], "from 1 to"), (["--memory", "all"], "from 1 to")]:
            self.refuses(*ask, *means, saying=saying)

    def test_the_plan_is_json_where_json_is_asked_for(self):
        answer = self.json("query", "t", "--where", "id < 50", "--sum", "amount", "--explain")
        self.assertIn("id < 50", answer["explain"])
        self.assertEqual(answer["plan"]["filter"], "id < 50")
        self.assertEqual(answer["plan"]["run"]["blocks"], answer["blocks"])
        self.assertNotIn("plan", self.json("query", "t", "--count"))

    def test_rows_are_ordered_and_distinct_as_sqlite_says(self):
        for order, sql in [("amount desc,id", "amount desc nulls last, id"), ("amount desc nulls first, id", None),
                           ("city nulls last,id desc", "city nulls last, id desc"), ("rate,day,id", None)]:
            sql = sql or order
            if "desc,id" in order:
                order = order.replace("desc", "DESC nulls last")
            answer = self.json("query", "t", "--select", "id", "--order-by", order, "--limit", "50", "--offset", "7")
            self.assertEqual([tuple(row.values()) for row in answer["rows"]],
                             self.sql(f"select id from t order by {sql} limit 50 offset 7"), order)
        rows = self.json("query", "t", "--select", "city,day", "--distinct", "--order-by", "day desc,city")["rows"]
        self.assertEqual([tuple(row.values()) for row in rows],
                         self.sql("select distinct city, day from t order by day desc, city"))
        top = self.json("query", "t", "--group-by", "day", "--sum", "amount", "--order-by", "sum(amount) desc",
                        "--limit", "2")["rows"]
        self.assertEqual([row["sum(amount)"] for row in top],
                         [row[0] for row in self.sql("select sum(amount) from t group by day order by 1 desc limit 2")])

    def test_values_are_computed(self):
        rows = self.json("query", "t", "--select", "id,amount * 2 as twice,round(amount, 0)", "--where", "id + 1 > 2",
                         "--order-by", "twice desc nulls last,id", "--limit", "3")["rows"]
        self.assertEqual([row["twice"] for row in rows],
                         [row[0] for row in self.sql("select amount * 2 from t where id > 1 "
                                                     "order by 1 desc nulls last, id limit 3")])
        self.refuses("query", "t", "--sum", "1 / (id - 1)", saying="divides by zero")

    def test_commas_in_quotes_divide_no_list(self):
        path = self.write("names.csv", '"x,y","it\'s","q""t, z"\n1,2,3\n1,5,3\n')
        self.run_tool("import", path, "--table", "names")
        for options, rows in (
            (["--select", '"x,y",it\'s,"q""t, z"'], [(1, 2, 3), (1, 5, 3)]),
            (["--select", '"it\'s" , "x,y" as a, case when 1 = 1 then \'p,q\' end'], [(2, 1, "p,q"), (5, 1, "p,q")]),
            (["--group-by", '"x,y"', "--sum", "it's"], [(1, 7)]),
            (["--select", 'it\'s,"x,y"', "--order-by", '"x,y" desc, it\'s desc'], [(5, 1), (2, 1)]),
        ):
            found = self.json("query", "names", *options)["rows"]
            self.assertEqual([tuple(row.values()) for row in found], rows, options)
        self.assertEqual(self.text("export", "names", "--select", '"x,y","it\'s"'), '"x,y",it\'s\r\n1,2\r\n1,5\r\n')

    def test_wrong_questions_are_told(self):
        for options, saying in [(["--where", "amount >"], "position 9"), (["--where", "town = 'Oslo'"], "town"),
                                (["--where", "amount > 'abc'"], "amount"), (["--where", "city like '%o'"], "%o"),
                                (["--where", "amount > city"], "does not compare with city"),
                                (["--sum", "city"], "city"),
                                (["--sum", "x"], "x"),
                                (["--select", "id,x"], "x"), (["--count", "--limit", "3"], "--limit"),
                                (["--group-by", "x", "--count"], "x"), (["--having", "count(*) > 1"], "--group-by"),
                                (["--group-by", "city", "--select", "id"], "--select"),
                                (["--group-by", "city", "--having", "sum(id) > 1"], "sum(id)"),
                                (["--where", "id > 1", "--where", "id < 9", "--count"], "--where is there twice"),
                                (["--group-by", "city", "--having", "count(*) > 1", "--having", "1 = 1"], "twice"),
                                (["--order-by", "town desc"], "town"), (["--stddev", "city"], "city"),
                                (["--where", "day = '2024-13-01'"], "2024-13-01")]:
            out = self.refuses("query", "t", *options, saying=saying)
            self.assertEqual(out, b"")
        self.refuses("query", "nowhere", "--count", code=2, saying="there is no table nowhere")
        self.same_rows()

    # ---- rows ----

    def test_rows_change_by_key(self):
        self.assertEqual(self.json("get-row", "t", "id=17"), dict(zip(COLUMNS, self.data[17])))
        self.run_tool("upsert", "t", "id=17", "city=Bodø", "rate=0.5")
        self.sqlite.execute("replace into t values (17, 'Bodø', null, 0.5, null)")
        self.run_tool("upsert", "t", "id=5000", "day=2030-01-01", "city=")
        self.sqlite.execute("insert into t values (5000, '', null, null, '2030-01-01')")
        self.run_tool("update", "t", "id=18", "amount=-7", "city=-", "--null", "-")
        self.sqlite.execute("update t set amount = -7, city = null where id = 18")
        self.run_tool("insert", "t", "id=-1", "amount=1")
        self.sqlite.execute("insert into t values (-1, null, 1, null, null)")
        self.assertEqual(self.json("delete-row", "t", "id=19"), {"deleted": True})
        self.sqlite.execute("delete from t where id = 19")
        self.same_rows()
        self.assertEqual(self.json("tables"), [{"table": "t", "rows": 3001, "columns": 5, "key": ["id"]}])
        self.assertEqual(self.text("get-row", "t", "id=17"), "id\t17\ncity\tBodø\namount\tnull\nrate\t0.5\nday\tnull\n")

    def test_bytes_are_read_as_they_are_printed(self):
        path = self.write("b.csv", "k,f,v\n<hex:00FF>,<hex:00FE>,1\nabc,de,2\n")
        self.run_tool("import", path, "--table", "b", "--key", "k,f", "--types", "k=bytes,f=fixed_bytes:2")
        key = ["k=<hex:00ff>", "f=<hex:00FE>"]
        self.assertEqual(self.json("get-row", "b", *key), {"k": "<hex:00FF>", "f": "<hex:00FE>", "v": 1})
        self.run_tool("upsert", "b", *key, "v=7")
        self.run_tool("update", "b", "k=<hex:616263>", "f=de", "v=8")
        self.run_tool("insert", "b", "k=<hex:>", "f=<hex:6565>", "v=9")
        rows = [{"k": "", "f": "ee", "v": 9}, {"k": "<hex:00FF>", "f": "<hex:00FE>", "v": 7},
                {"k": "abc", "f": "de", "v": 8}]
        self.assertEqual(self.json("query", "b", "--order-by-key")["rows"], rows)
        for option, expected in (("--key-prefix", rows[1:2]), ("--key-from", rows[1:]), ("--key-to", rows[:1])):
            self.assertEqual(self.json("query", "b", option, "<hex:00FF>", "--order-by-key")["rows"], expected)
        self.refuses("get-row", "b", "k=abc", "f=<hex:00>", saying=['column f: "<hex:00>"', "length"])
        self.run_tool("upsert", "b", "k=<hex:0>", "f=de")  # no such form: these characters
        self.assertEqual(self.text("query", "b", "--where", "k = '<hex:0>'", "--count"), "1\n")
        self.run_tool("delete-row", "b", *key)
        self.assertEqual(self.text("query", "b", "--where", "k = x'00ff'", "--count"), "0\n")

    def test_what_cannot_be_written_changes_nothing(self):
        for words, code, saying in [
            (["get-row", "t", "id=9999"], 2, "no row with this key"), (["delete-row", "t", "id=9999"], 2, "no row"),
            (["update", "t", "id=9999", "amount=1"], 2, "no row"), (["update", "t", "id=1"], 1, "what changes"),
            (["insert", "t", "id=1"], 1, "colonnade: a row with this key is there already: id = 1"),
            (["upsert", "t", "city=Oslo"], 1, "colonnade: column id: the column is not nullable"),
            (["get-row", "t", "city=Oslo"], 1, "column id belongs to the key"),
            (["get-row", "t", "id="], 1, "key column id cannot be null"),
            (["upsert", "t", "id=x"], 1, '"x" is no i64'),
            (["upsert", "t", "id=1", "town=x"], 1, "no column town"), (["upsert", "t", "id=1", "id=2"], 1, "twice"),
            (["upsert", "t", "id"], 1, "column=value"), (["upsert", "t", "id=1", "day=tomorrow"], 1, "is no date"),
            (["upsert", "nowhere", "id=1"], 2, "no table nowhere"), (["drop", "nowhere"], 2, "no table nowhere"),
        ]:
            self.refuses(*words, code=code, saying=saying)
        self.same_rows()

    def test_rows_without_a_key_have_numbers(self):
        self.run_tool("import", self.write("n.csv", "name\na\nb\nc\n"), "--table", "n")
        self.assertEqual(self.json("get-row", "n", "row_id=1"), {"name": "b"})
        self.run_tool("update", "n", "row_id=1", "name=B")
        self.run_tool("delete-row", "n", "row_id=0")
        self.run_tool("insert", "n", "name=d")
        self.assertEqual([row["name"] for row in self.json("query", "n", "--order-by-key")["rows"]], ["B", "c", "d"])
        self.assertEqual(self.json("get-row", "n", "row_id=3"), {"name": "d"})
        self.refuses("get-row", "n", "row_id=0", code=2, saying="no row")
        self.refuses("delete-row", "n", "name=d", saying="row_id=")

    def test_a_row_with_a_time_to_live(self):
        self.run_tool("upsert", "t", "id=1", "--ttl", "1")
        self.run_tool("upsert", "t", "id=2", "--ttl", "100000")
        self.assertIn("expires in 99", self.text("get-row", "t", "id=2"))
        while self.json("query", "t", "--count")["results"]["count(*)"] != 2999:
            pass  # ctest's time limit ends it
        self.refuses("get-row", "t", "id=1", code=2, saying="no row")

    # ---- about the store ----

    def test_info_adds_up(self):
        info = self.json("info")
        self.assertEqual(info["file_bytes"], self.store.stat().st_size)
        self.assertEqual([table["table"] for table in info["tables"]], ["t"])
        table = self.json("info", "t")
        self.assertEqual(table["rows"], 3000)
        self.assertEqual(table["run_rows"] - table["dead_rows"] + table["delta_rows"], 3000)
        self.assertEqual([column["column"] for column in table["columns"]], COLUMNS)
        self.assertLessEqual(sum(column["bytes"] for column in table["columns"]), table["run_bytes"])
        for column in table["columns"]:
            self.assertGreater(column["bytes"], 0)
            self.assertAlmostEqual(column["ratio"], column["plain_bytes"] / column["bytes"], delta=0.001)
            self.assertTrue(column["encodings"])
        text = self.text("info")
        for part in ("table t: 3,000 rows, found by id", "column\ttype\tbytes", "families of keys: default"):
            self.assertIn(part, text)
        self.refuses("info", "nowhere", code=2, saying="no table nowhere")

    def test_a_dropped_table_is_gone(self):
        self.run_tool("drop", "t")
        self.assertEqual(self.json("tables"), [])
        self.assertEqual(self.text("tables"), "table\trows\tcolumns\tkey\n")
        self.refuses("query", "t", code=2, saying="no table t")
        self.assertEqual(self.text("check"), "ok\n")

    def test_names_and_values_send_a_terminal_no_control_characters(self):
        path = self.write("hostile.csv", "a\x1b[31m,b\n1,x\u009b2J\n2,\n")
        table = "t\x1b[1m"
        out = self.text("import", path, "--table", table)
        out += self.text("query", table, "--where", "b = 'x\x1by' or b is not null", "--explain")
        out += self.text("export", table, "--to", self.directory / "out\x07.csv")
        for words, saying in ((("import", path, "--table", table), "named t\\x1B[1m already"),
                              (("import", path, "--table", "n", "--types", "b=date"), '"x\\u009B2J" is no date'),
                              (("query", table, "--where", '"a\x1b[31m" = \'p\nq\''),
                               "column a\\x1B[31m is i64: 'p\\nq'"),
                              (("get-row", table, "no\x7f=1"), "no column no\\x7F")):
            self.refuses(*words, saying=saying)
            out += self.errors
        self.assertEqual([c for c in out if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160], [])
        for part in ("a\\x1B[31m", "x\\u009B2J", "b = 'x\\x1By'", "out\\x07.csv"):
            self.assertIn(part, out)

    def test_text_that_is_not_utf8_is_refused(self):
        words = [word if isinstance(word, bytes) else word.encode() for word in
                 [*self.words("upsert", "t", "id=1"), b"city=\xff"]]
        done = subprocess.run(words, capture_output=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"is not UTF-8", done.stderr)
        self.same_rows()


if __name__ == "__main__":
    cli_program.main()
