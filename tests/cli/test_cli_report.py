#!/usr/bin/env python3
"""report: questions to families of keys and values, against SQLite over the same pairs."""

import itertools
import json
import random
import re
import sqlite3

import cli_program
from cli_program import CliTest


class Reports(CliTest):
    def setUp(self):
        super().setUp()
        source = random.Random(5)
        self.pairs = {}
        for i in range(1500):
            key = f"{source.choice(['sensor', 'site'])}/{source.randrange(9)}/{i:04}"
            value = {"temp": source.choice([None, 20, 20.5, -3, "warm"]), "n": i,
                     "at": {"city": source.choice(["Oslo", "Tromsø"])}}
            self.pairs[key] = source.choice([json.dumps(value), json.dumps(value), "no json", ""])
        lines = "".join(f"{key}\t{value}\n" for key, value in self.pairs.items())
        self.run_tool("put", "--stdin", "--batch", "500", "--cf", "f", stdin=lines.encode())
        self.sqlite = sqlite3.connect(":memory:")
        self.addCleanup(self.sqlite.close)
        self.sqlite.execute("create table f (key text, value text, kind text, number text, temp real, city text)")
        for key, value in self.pairs.items():
            kind, number, _ = key.split("/")
            found = json.loads(value) if value.startswith("{") else {}
            temp = found.get("temp")
            self.sqlite.execute("insert into f values (?, ?, ?, ?, ?, ?)",
                                (key, value, kind, number, temp if isinstance(temp, (int, float)) else None,
                                 found["at"]["city"] if found else None))

    def sql(self, text):
        return [tuple(row) for row in self.sqlite.execute(text).fetchall()]

    def rows(self, *arguments):
        return [tuple(row.values()) for row in self.json("report", "f", *arguments)["rows"]]

    def test_groups_by_a_part_of_the_key_are_those_of_sqlite(self):
        found = self.rows("--prefix", "sensor/", "--by", "part(1)", "--avg", "json(temp)", "--count", "--order-by",
                          "part(1)")
        self.assertEqual(found, self.sql("select number, avg(temp), count(*) from f where kind = 'sensor' "
                                         "group by 1 order by 1"))
        found = self.rows("--by", "part(0),json(at.city)", "--count", "--max", "json(n):i64", "--order-by",
                          "part(0),json(at.city)")
        self.assertEqual([row[:3] for row in found],
                         self.sql("select kind, city, count(*) from f group by 1, 2 order by 1, 2 nulls first"))
        self.assertEqual(max(row[3] for row in found if row[3] is not None),
                         max(json.loads(v)["n"] for v in self.pairs.values() if v.startswith("{")))

    def test_aggregates_and_filters_read_the_range_alone(self):
        answer = self.json("report", "f", "--from", "sensor/3", "--to", "sensor/5", "--count", "--sum", "value_length",
                           "--min", "json(temp)", "--count-distinct", "json(at.city):string")
        expected = self.sql("select count(*), sum(length(cast(value as blob))), min(temp), count(distinct city) from f "
                            "where key >= 'sensor/3' and key < 'sensor/5'")[0]
        self.assertEqual(tuple(answer["results"].values()), expected)
        for where, same in (("\"json(temp)\" > 20", "temp > 20"), ("\"part(1):i64\" in (2, 3)", "number in ('2', '3')"),
                            ("value_length = 0", "value = ''"), ("\"json(temp):f64\" is null", "temp is null"),
                            ("\"part(0)\" like 'se%'", "kind = 'sensor'")):
            self.assertEqual(self.text("report", "f", "--where", where, "--count"),
                             f"{self.sql('select count(*) from f where ' + same)[0][0]}\n", where)

    def test_dates_and_moments_are_read_from_keys_and_json_kept_or_not(self):
        lines = "log/2024-02-30/x\t{}\n"
        for month, day, hour in itertools.product((2, 3), range(5), range(0, 24, 6)):
            value = {"at": f"2024-0{month}-1{day}T{hour:02}:30:00+01:00", "took": f"00:0{day}:00"}
            lines += f"log/2024-0{month}-1{day}/{hour:02}\t{json.dumps(value)}\n"
        self.run_tool("put", "--stdin", "--batch", "500", "--cf", "log", stdin=lines.encode())
        for day, at, took in (("part(1):date", "json(at):timestamp", "json(took):duration"), ("day", "at", "took")):
            if day == "day":
                self.run_tool("columns", "log", "day=part(1):date", "at=json(at):timestamp", "took=json(took):duration")
            rows = self.json("report", "log", "--by", day, "--count", "--min", at, "--sum", took,
                             "--order-by", day)["rows"]
            rows = [tuple(row.values()) for row in rows]
            self.assertEqual(rows[0], (None, 1, None, None))
            self.assertEqual(rows[1:], [(f"2024-0{month}-1{n}", 4, f"2024-0{month}-{9 + n:02} 23:30:00",
                                         4 * n * 60_000_000) for month in (2, 3) for n in range(5)])
            late = f"\"{at}\" >= '2024-03-01T00:00:00Z'"
            self.assertEqual(self.text("report", "log", "--where", late, "--count"), "20\n")

    def test_named_columns_stand_anywhere(self):
        found = self.rows("--column", "t=json(temp)", "--column", "who=part(1, '/')", "--where", "t < 21", "--select",
                          "who,t", "--order-by", "t desc,who", "--limit", "20")
        self.assertEqual(found, self.sql("select number, temp from f where temp < 21 order by temp desc, number "
                                         "limit 20"))
        answer = self.json("report", "f", "--select", "key", "--order-by-key", "--limit", "2")
        self.assertEqual([row["key"] for row in answer["rows"]], sorted(self.pairs)[:2])
        self.assertIn("json(temp)", self.text("report", "f", "--avg", "json(temp)", "--explain"))
        plan = self.json("report", "f", "--avg", "json(temp)", "--explain")["plan"]
        self.assertEqual([step["step"] for step in plan["run"]["steps"]], ["pairs", "aggregates", "output"])
        temps = sorted(row[0] for row in self.sql("select temp from f where temp is not null"))
        self.assertEqual(self.text("report", "f", "--quantile", "json(temp),1", "--count-values", "json(temp)"),
                         f"quantile(json(temp), 1)\t{temps[-1]}\ncount(json(temp))\t{len(temps)}\n")

    def test_sources_stand_within_expressions(self):
        for where, same in (("json(temp) > 20 and part(0) = 'sensor'", "temp > 20 and kind = 'sensor'"),
                            ("json(at.city) in ('Oslo', 'x')", "city in ('Oslo', 'x')"),
                            ("not json(at.city) like 'O%'", "not city like 'O%'"),
                            ("json(temp) * 2 + 1 > 41", "temp * 2 + 1 > 41"),
                            ("'Oslo' = json(at.city) and 20 < json(temp)", "'Oslo' = city and 20 < temp"),
                            ("part(1):i64 in (2, 3)", "number in ('2', '3')"),
                            ("key <> 'json(temp)' and json(temp) is null", "temp is null and value not like '%warm%'"),
                            ("json(temp):f64 is null", "temp is null"),
                            ("json(temp) > 0 or json(temp) is not null", "temp is not null or value like '%warm%'"),
                            ("json(temp) is not null and json(temp) > 0", "temp > 0"),
                            ("json(at.city) is not null", "city is not null"),
                            ("not json(at.city) is null", "city is not null"),
                            ("json(at.city) IS NOT NULL", "city is not null"),
                            ("json(at.city) is\tnull", "city is null"),
                            ("((json(at.city)) ) is null", "city is null"),
                            ("json(at.city) NOT IN ('Oslo')", "city not in ('Oslo')"),
                            ("1 + json(temp) is null", "temp is null"), ("-json(temp) is null", "temp is null"),
                            ("length(json(at.city):string) > 4", "length(city) > 4")):
            self.assertEqual(self.text("report", "f", "--where", where, "--count"),
                             f"{self.sql('select count(*) from f where ' + same)[0][0]}\n", where)
        rows = self.rows("--where", "json(temp) > 20", "--select", "key,json(temp), upper(part(0)) as kind",
                         "--order-by", "json(temp):f64 desc,key", "--limit", "5")
        self.assertEqual(rows, [(key, repr(temp), kind.upper()) for key, temp, kind in self.sql(
            "select key, temp, kind from f where temp > 20 order by temp desc, key limit 5")])
        self.assertEqual(self.rows("--select", "json(temp) + 1 as more", "--where", "json(temp) > 20", "--order-by",
                                   "more", "--limit", "1"),
                         self.sql("select min(temp) + 1 from f where temp > 20"))
        twice = self.rows("--by", "upper(part(0))", "--avg", "json(temp) * 2", "--order-by", "upper(part(0))",
                          "--where", "json(temp) is not null")
        expected = self.sql("select upper(kind), avg(temp * 2) from f where temp is not null group by 1 order by 1")
        self.assertEqual([row[0] for row in twice], [row[0] for row in expected])
        for (_, ours), (_, theirs) in zip(twice, expected):
            self.assertAlmostEqual(ours, theirs, places=9)

    def test_filters_over_groups_name_any_source(self):
        lines = "".join(f'{site}:x/{i}\t{{"a": {{"b": {i}}}, "n": [{i}]}}\n' for i in range(30) for site in "pq"[i % 2])
        self.run_tool("put", "--stdin", "--batch", "50", "--cf", "deep", stdin=lines.encode())
        for column in ("json(a.b)", "json(n[0])", "json($.a.b):i64", 'json(a."b")', "part(1):i64"):
            rows = self.json("report", "deep", "--by", "part(0, ':')", "--avg", column, "--having",
                             f"avg({column}) > 14 and part(0, ':') <> 'json(a.b)'")["rows"]
            self.assertEqual([list(row.values()) for row in rows], [["q", 15]], column)  # of 1, 3, ... 29; p: 14
        doubled = self.json("report", "deep", "--by", "part(0, ':')", "--sum", "json(n[0]) * 2", "--having",
                            "sum(json(n[0]) * 2) > 420")["rows"]
        self.assertEqual([list(row.values()) for row in doubled], [["q", 450]])  # twice 1 + 3 + ... + 29; p: 420
        for column, values in (("json(a.b)", "('7', '8')"), ("json(n[0]):i64", "(7, 8)"), ("part(0, ':')", "('q')")):
            rows = self.json("report", "deep", "--by", column, "--order-by", column, "--having",
                             f"{column} in {values} and {column} is not null")["rows"]
            self.assertEqual([str(row[column]) for row in rows], re.findall(r"\w", values), column)
        self.refuses("report", "deep", "--by", "part(0)", "--having", "json(a.c) > 3", saying="no column, function")

    def test_json_is_read_as_what_it_is_compared_with(self):
        values = [{"ok": True, "day": "2024-05-06", "took": "01:00:00", "price": 12.5},
                  {"ok": False, "day": "2024-05-06T12:00:00", "took": "00:10:00", "price": 3},
                  {"ok": True, "day": "2024-05-07", "took": "x"}, {"ok": 1}, {}]
        for i, value in enumerate(values):
            self.run_tool("put", f"k{i}", json.dumps(value), "--cf", "mixed")
        for where, count in (("json(ok) = true", 2), ("false = json(ok)", 1), ("json(ok) in (TRUE, false)", 3),
                             ("json(ok) <> true or json(ok) > 0", 2), ("json(ok) = true and json(ok) is not null", 2),
                             ("json(day) > date '2024-05-06'", 2), ("date '2024-05-06' = json(day)", 1),
                             ("json(day) between timestamp '2024-05-06 01:00' and timestamp '2024-05-06 13:00'", 1),
                             ("json(took) >= interval '00:30:00'", 1), ("duration '1 hour' = json(took)", 1)):
            self.assertEqual(self.text("report", "mixed", "--where", where, "--count"), f"{count}\n", where)
        rows = self.json("report", "mixed", "--select", "json(price):decimal:1,at(0):fixed_bytes:2 as two",
                         "--order-by-key", "--limit", "2")["rows"]
        self.assertEqual([tuple(row.values()) for row in rows], [(12.5, '{"'), (3.0, '{"')])

    def test_rows_in_the_order_of_json_come_by_numbers_then_by_texts(self):
        for i, value in enumerate(({"t": 9.5}, {"t": 10}, {"t": -2}, {"t": "warm"}, {"t": "hot"}, {})):
            self.run_tool("put", f"k{i}", json.dumps(value), "--cf", "mixed")
        numbers, texts, missing = ["k2", "k0", "k1"], ["k4", "k3"], ["k5"]
        shown = {"k0": "9.5", "k1": "10", "k2": "-2", "k3": "warm", "k4": "hot", "k5": None}
        for select in ("key,json(t)", "key, json(t)", "json(t) , key"):
            for order, keys in (("json(t)", missing + texts + numbers), (" json(t) , key", missing + texts + numbers),
                                ("json(t) desc", missing + texts[::-1] + numbers[::-1]),
                                ("json(t) DESC NULLS LAST", numbers[::-1] + texts[::-1] + missing),
                                ("json(t) nulls last,key desc", numbers + texts + missing),
                                ("coalesce(json(t):f64, 0), json(t)", ["k2"] + missing + texts + ["k0", "k1"])):
                for words in (("--select", select, "--order-by", order), ("--order-by", order, "--select", select)):
                    rows = self.json("report", "mixed", *words)["rows"]
                    self.assertEqual([row["key"] for row in rows], keys, words)
                    self.assertEqual({row["key"]: row["json(t)"] for row in rows}, shown, words)
        self.assertEqual(self.text("report", "mixed", "--select", "upper(json(t)) as most", "--order-by",
                                   "json(t) desc nulls last", "--limit", "1"), "most\n10\n")
        self.assertEqual(self.text("report", "mixed", "--where", "json(t) is not nan", "--count"), "3\n")

    def test_json_is_text_where_it_is_grouped_by_and_a_number_in_aggregates(self):
        for i, value in enumerate(({"t": 9.5}, {"t": 10}, {"t": 9.5}, {"t": "hot"}, {})):
            self.run_tool("put", f"k{i}", json.dumps(value), "--cf", "mixed")
        groups = {None: (None, 0, 1), "10": (10, 1, 1), "9.5": (9.5, 2, 2), "hot": (None, 0, 1)}
        for by in ("json(t)", "part(0), json(t)", "json(t) ,part(0)"):
            rows = self.json("report", "mixed", "--by", by, "--max", "json(t)", "--count-values", " json(t)", "--count",
                             "--quantile", "json(t) , 0.9")["rows"]
            self.assertEqual(len(rows), 4 if by == "json(t)" else 5)  # the parts are different ones
            for row in rows:
                greatest, values, pairs = groups[row["json(t)"]]
                self.assertEqual((row["max(json(t):f64)"], row["quantile(json(t):f64, 0.9)"]), (greatest,) * 2, by)
                if by == "json(t)":
                    self.assertEqual((row["count(json(t):f64)"], row["count(*)"]), (values, pairs))
        rows = self.json("report", "mixed", "--by", "json(t)", "--avg", "json(t)", "--having", "avg(json(t):f64) > 9.6")
        self.assertEqual([list(row.values()) for row in rows["rows"]], [["10", 10]])

    def test_the_default_family_is_one_too(self):
        self.run_tool("put", "a:1", "\x01\x02")
        self.assertEqual(self.text("report", "--sum", "at(0, big):u16", "--count"), "sum(at(0, big):u16)\t258\n"
                                                                                    "count(*)\t1\n")
        self.assertEqual(self.text("report", "--by", "part(1, ':')", "--count"), "part(1, ':')\tcount(*)\n1\t1\n")
        self.assertEqual(self.text("report", "--cf", "f", "--count"), f"{len(self.pairs)}\n")

    def test_columns_that_are_kept_answer_the_same(self):
        asked = ("--by", "part(1)", "--avg", "json(temp)", "--max", "json(n):i64", "--count", "--order-by", "part(1)")
        walked = self.rows(*asked)
        told = self.json("columns", "f", "site=part(1)", "temp=json(temp)", "n=json(n):i64")
        self.assertTrue(told["kept"] and told["built"])
        self.assertEqual(told["pairs"], len(self.pairs))
        self.assertEqual([(c["name"], c["type"], c["source"]) for c in told["columns"]],
                         [("site", "string", "part(1)"), ("temp", "f64", "json(temp)"), ("n", "i64", "json(n)")])
        self.assertEqual(told["columns"][1]["nulls"], self.sql("select count(*) from f where temp is null")[0][0])
        self.assertEqual(self.rows(*asked), walked)
        self.assertEqual(self.rows("--by", "site", "--avg", "temp", "--max", "n", "--count", "--order-by", "site"),
                         walked)
        warm = self.sql("select count(*) from f where key like 'sensor/3/%' and temp > 20")[0][0]
        self.assertEqual(self.text("report", "f", "--prefix", "sensor/3/", "--where", "temp > 20", "--count"),
                         f"{warm}\n")
        self.assertEqual(self.text("columns", "f").splitlines()[1].split("\t")[:3], ["site", "string", "part(1)"])
        self.run_tool("put", "sensor/3/new", '{"temp": 21}', "--cf", "f")
        self.assertEqual(self.json("columns", "f")["pairs"], len(self.pairs) + 1)
        self.assertFalse(self.json("columns", "f", "--none")["kept"])
        self.assertTrue(self.json("columns", "f", "--counted")["built"])
        self.refuses("columns", "f", "--none", "a=part(1)", saying="--none")
        self.refuses("columns", "f", "a", saying="NAME=")
        self.refuses("columns", "f", "value=part(1)", saying="value")
        self.refuses("columns", "f", "a=part(1)", "a=part(2)", saying="there is a column a already")
        self.refuses("columns", "nowhere", code=2, saying="no family nowhere")

    def test_kept_columns_have_their_names_beside_their_sources(self):
        self.run_tool("columns", "f", "site=part(1)", "temp=json(temp)")
        by_site, not_2 = ("--order-by", "site", "--by", "site"), "number <> '2'"
        for asked, sql in (
                ((*by_site, "--avg", "json(temp)", "--where", "temp > 20"),
                 "select number, avg(temp) from f where temp > 20 group by 1 order by 1"),
                (("--by", "part(1)", "--order-by", "part(1)", "--max", "temp", "--where", "\"site\" <> '2'"),
                 f"select number, max(temp) from f where {not_2} group by 1 order by 1"),
                ((*by_site, "--max", "json(temp)", "--having", "max(json(temp)) > 20 and site <> '2'"),
                 f"select number, max(temp) from f where {not_2} group by 1 having max(temp) > 20 order by 1"),
                (("--select", "json(temp):f64 as temp, upper(part(1)) AS site", "--order-by", "temp,key", "--limit", 3),
                 "select temp, number from f order by temp, key limit 3"),
                (("--select", "key,json(temp):f64", "--order-by", "key", "--where",
                  "key <> 'temp' and json(temp) is not null and temp < 0"),
                 "select key, temp from f where temp < 0 order by key")):
            found = self.rows(*asked)
            self.assertTrue(found)
            self.assertEqual(found, self.sql(sql), asked)
        answer = self.json("report", "f", "--min", "temp", "--max", "json(temp)", "--column", "other=json(temp)",
                           "--sum", "other")["results"]
        self.assertEqual(tuple(answer.values()), self.sql("select min(temp), max(temp), sum(temp) from f")[0])

    def test_what_cannot_be_asked_is_refused(self):
        for options, saying in ((("--avg", "json(temp"), "ends with )"), (("--avg", "at(0)"), "at(0):i64"),
                                (("--avg", "json(temp):money"), "no type money"),
                                (("--avg", "json(a..b)"), "name is missing"),
                                (("--sum", "temp"), "temp"), (("--column", "t"), "NAME="),
                                (("--column", "t=temp"), "NAME="),
                                (("--column", "t=part(0)", "--column", "t=part(1)"), "a column t already"),
                                (("--prefix", "a", "--from", "b"), "--prefix"),
                                (("--having", "x > 1"), "--by"), (("--avg", "json(temp):date"), "date")):
            self.refuses("report", "f", *options, saying=saying)
        self.refuses("report", "nowhere", "--count", code=2, saying="no family nowhere")


if __name__ == "__main__":
    cli_program.main()
