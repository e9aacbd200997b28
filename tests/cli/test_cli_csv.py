#!/usr/bin/env python3
"""CSV files: what is read, what is refused with its row and column, and that nothing is ever half-imported."""

import csv
import io
import os
import random
import string

import cli_program
from cli_program import CliTest


class Imports(CliTest):
    def rows(self, table, *options):
        return self.json("query", table, *options)["rows"]

    def types(self, table):
        return {column["column"]: column["type"] for column in self.json("info", table)["columns"]}

    def imported(self, content, *options, table="t"):
        report = self.json("import", self.write("file.csv", content), "--table", table, *options)
        return report

    # ---- what is read ----

    def test_clocks_that_say_how_far_they_are_from_utc_are_of_timestamps_in_utc(self):
        self.imported("at\n2013-01-01T02:00:00+02:00\n2012-12-31 19:00-05\n2013-01-01T00:00:00Z\n")
        self.assertEqual(self.types("t"), {"at": "timestamp"})
        self.assertEqual([row["at"] for row in self.rows("t")], ["2013-01-01 00:00:00"] * 3)
        self.imported("at\n2013-01-01T02:00:00+02:00\n2013-01-01T02:00:00\n", table="mixed")
        self.assertEqual(self.types("mixed"), {"at": "string"})
        self.imported("at\n+1234-10-11\n-0044-03-15 12:00:00\n", table="signs")
        self.assertEqual(self.types("signs"), {"at": "string"})
        self.imported("at\n+1234-10-11\n-0044-03-15\n", "--types", "at=date", table="dates")
        self.assertEqual([row["at"] for row in self.rows("dates")], ["1234-10-11", "-0044-03-15"])
        self.imported("at\n 2013-01-01\n2013-01-01 00:00:00+2\n", table="text")
        self.assertEqual(self.types("text"), {"at": "string"})

    def test_types_are_those_that_every_row_fits(self):
        self.imported("i,u,f,d,s,z,utc,b,text,postcode,long,mixed,none\n"
                      "1,1,1,2013-01-01,2013-01-01,2013-01-01T00:00:00Z,2013-01-01T10:00:00Z,true,a,01234,1,1,\n"
                      "-5,18446744073709551615,2.5,2013-12-31,2013-01-01 10:00,2013-01-01,2014-02-03T04:05:06.5Z,FALSE,"
                      "2,1,123456789012345678901,1.5,NA\n"
                      ",,1e3,,,,,,3,2,3,9007199254740993,\n")
        self.assertEqual(self.types("t"), {
            "i": "i64", "u": "u64", "f": "f64", "d": "date", "s": "timestamp", "z": "string", "utc": "timestamp",
            "b": "bool", "text": "string", "postcode": "string", "long": "string", "mixed": "string", "none": "string"})
        rows = self.rows("t")
        self.assertEqual(rows[1]["u"], 2**64 - 1)
        self.assertEqual([row["f"] for row in rows], [1, 2.5, 1000])
        self.assertEqual([row["s"] for row in rows], ["2013-01-01 00:00:00", "2013-01-01 10:00:00", None])
        self.assertEqual(rows[1]["utc"], "2014-02-03 04:05:06.5")
        self.assertEqual([row["b"] for row in rows], [True, False, None])
        self.assertEqual([row["postcode"] for row in rows], ["01234", "1", "2"])
        self.assertEqual([row["mixed"] for row in rows], ["1", "1.5", "9007199254740993"])
        self.assertEqual([row["none"] for row in rows], [None] * 3)

    def test_a_late_row_widens_the_type_of_all(self):
        content = "n\n" + "".join(f"{i}\n" for i in range(70_000))
        self.imported(content + "0.5\n", table="floats")
        self.imported(content + "end\n", table="texts")
        self.assertEqual(self.types("floats"), {"n": "f64"})
        self.assertEqual(self.types("texts"), {"n": "string"})
        answer = self.json("query", "floats", "--count", "--sum", "n")["results"]
        self.assertEqual(answer, {"count(*)": 70_001, "sum(n)": sum(range(70_000)) + 0.5})

    def test_a_field_may_be_long(self):
        """Of this length it takes minutes where its bytes are copied again for every few of them."""
        text = "say \"no\",\r\n" * 700_000
        self.imported("id,text\n1,\"" + text.replace('"', '""') + "\"\n2," + "x" * 4_000_000 + "\n")
        self.assertEqual(self.rows("t"), [{"id": 1, "text": text}, {"id": 2, "text": "x" * 4_000_000}])

    def test_given_types_are_taken(self):
        self.imported("a,b,c,d\n1,2,3,xyz\n007,-2,4,abc\n", "--types", "a=i16,b=f32", "--types",
                      "c=string,d=fixed_bytes:3")
        self.assertEqual(self.types("t"), {"a": "i16", "b": "f32", "c": "string", "d": "fixed_bytes:3"})
        self.assertEqual(self.rows("t")[1], {"a": 7, "b": -2.0, "c": "4", "d": "abc"})

    def test_encodings_are_wished_forbidden_and_refused(self):
        content = "id,x,s\n" + "".join(f"{i},{i / 2},city {i % 7}\n" for i in range(3000))
        encodings = {}
        for wishes in "id=packed,x=alp_rd,s=fsst", "id=no-stride,id=no-packed,s=no-dictionary", "id=array":
            table = f"t{len(encodings)}"
            self.imported(content, "--encodings", wishes, table=table)
            columns = self.json("info", table)["columns"]
            encodings[table] = {column["column"]: column["encodings"].split()[0].split("/")[0] for column in columns}
            self.assertEqual(self.json("query", table, "--count", "--where", "x = 750")["results"]["count(*)"], 1)
        self.assertEqual(encodings["t0"], {"id": "packed", "x": "alp_rd", "s": "fsst"})
        self.assertNotIn(encodings["t1"]["id"], ("stride", "packed"))
        self.assertNotEqual(encodings["t1"]["s"], "dictionary")
        self.assertEqual(encodings["t2"]["id"], "array")
        self.assertGreaterEqual(self.json("info", "t2")["columns"][0]["bytes"], 3000 * 8)
        for wrong, saying in (("id=zip", "there is no encoding zip"), ("id=no-array", "there is no encoding no-array"),
                              ("id", "write column=encoding"), ("other=plain", "has no column other"),
                              ("id=alp", "of type i64 cannot have the encoding 9 (alp)"),
                              ("s=array", "of type string cannot be an array"),
                              ("id=run_length,id=constant", "id cannot have constant and another one"),
                              ("id=array,id=plain", "id cannot have plain and another one"),
                              ("id=plain,id=no-plain", "wants and forbids the encoding plain")):
            self.refuses("import", self.write("bad.csv", content), "--table", "bad", "--encodings", wrong,
                         saying=saying)

    def test_decimals_times_durations_and_uuids_come_and_go(self):
        types = "price=decimal:2,rate=decimal(9,3),at=time,lasted=duration,who=uuid"
        content = ("id,price,rate,at,lasted,who\n"
                   "1,12.3,1,12:34:56.5,90 seconds,00112233-4455-6677-8899-AAbbccddeeff\n"
                   "2,-0.05,2.5,00:00,-36:00:00,10112233445566778899aabbccddeeff\n3,,0,,,\n")
        self.imported(content, "--key", "id", "--types", types)
        kinds = {"id": "i64", "price": "decimal(18,2)", "rate": "decimal(18,3)", "at": "time", "lasted": "duration",
                 "who": "uuid"}
        self.assertEqual(self.types("t"), kinds)
        rows = self.rows("t")
        self.assertEqual(rows[0], {"id": 1, "price": 12.3, "rate": 1, "at": "12:34:56.5", "lasted": "00:01:30",
                                   "who": "00112233-4455-6677-8899-aabbccddeeff"})
        self.assertEqual(rows[2], {"id": 3, "price": None, "rate": 0, "at": None, "lasted": None, "who": None})
        for name in "out.csv", "out.jsonl":
            path = os.path.join(self.directory, name)
            self.run_tool("export", "t", "--to", path)
            with open(path, encoding="utf-8", newline="") as file:
                text = file.read()
            self.assertIn("12.30", text)
            self.assertIn("-36:00:00", text)
            table = name.replace(".", "_")
            self.json("import", path, "--table", table, "--key", "id", "--types", types)
            self.assertEqual(self.types(table), kinds)
            self.assertEqual(self.rows(table), rows)
        for text, kind, saying in (("1.234", "decimal:2", "is no decimal"), ("24:00", "time", "is no time"),
                                   ("1 month", "duration", "is no duration"), ("0011", "uuid", "is no uuid")):
            self.refuses("import", self.write("bad.csv", f"p\n{text}\n"), "--table", "bad", "--types", "p=" + kind,
                         saying=saying)
        for wrong in "decimal", "decimal:19", "decimal(19,2)", "decimal(3,4)", "uuid:16":
            self.refuses("import", self.write("bad.csv", "p\n1\n"), "--table", "bad", "--types", "p=" + wrong,
                         saying="there is no type")

    def test_values_at_the_ends_of_their_types_survive(self):
        ends = {"i8": (-128, 127), "i16": (-2**15, 2**15 - 1), "i32": (-2**31, 2**31 - 1), "i64": (-2**63, 2**63 - 1),
                "u8": (0, 255), "u16": (0, 2**16 - 1), "u32": (0, 2**32 - 1), "u64": (0, 2**64 - 1)}
        lines = [ends, *([str(pair[i]) for pair in ends.values()] for i in (0, 1))]
        content = "".join(",".join(line) + "\n" for line in lines)
        self.imported(content, "--types", ",".join(f"{name}={name}" for name in ends))
        self.assertEqual(self.rows("t"), [{name: pair[i] for name, pair in ends.items()} for i in (0, 1)])
        for name, (low, high) in ends.items():
            for beyond in (low - 1, high + 1):
                self.refuses("import", self.write("x.csv", f"c\n{beyond}\n"), "--table", "x", "--types", f"c={name}",
                             saying=["row 2, column c", f'"{beyond}" is no {name}'])

    def test_quoting_is_that_of_rfc_4180(self):
        source = random.Random(5)
        letters = string.ascii_letters + ' ,"\n\r\'é€'
        table = [["".join(source.choices(letters, k=source.randrange(1, 30))) for _ in range(3)] for _ in range(500)]
        text = io.StringIO(newline="")
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow(["a", "b,\"c\"", "d"])
        writer.writerows(table)
        self.imported(text.getvalue(), "--null", "never")
        self.assertEqual([list(row.values()) for row in self.rows("t")], table)
        self.assertEqual(list(self.types("t")), ["a", 'b,"c"', "d"])

    def test_missing_values(self):
        self.imported('n,t\n1,""\n,\nNA,NA\n"",x\n')
        self.assertEqual(self.rows("t"), [{"n": 1, "t": ""}, {"n": None, "t": None}, {"n": None, "t": None},
                                          {"n": None, "t": "x"}])
        self.imported("n,t\n-,NA\n2,-\n", "--null", "-", "--null", "?", table="u")
        self.assertEqual(self.rows("u"), [{"n": None, "t": "NA"}, {"n": 2, "t": None}])
        self.imported('n,d,t\n,"",\n2,2024-02-29,x\n"",,""\n', "--null", "-", table="v")
        self.assertEqual(self.rows("v"), [{"n": None, "d": None, "t": ""}, {"n": 2, "d": "2024-02-29", "t": "x"},
                                          {"n": None, "d": None, "t": ""}])

    def test_delimiters_quotes_headers_line_ends_and_marks(self):
        self.imported("a;b\n1;'x;y'\n", "--delimiter", ";", "--quote", "'")
        self.assertEqual(self.rows("t"), [{"a": 1, "b": "x;y"}])
        self.imported("1\tx\n2\ty", "--delimiter", "tab", "--no-header", table="tabs")
        self.assertEqual(self.rows("tabs"), [{"column_1": 1, "column_2": "x"}, {"column_1": 2, "column_2": "y"}])
        self.imported(b"\xef\xbb\xbfa,\r\n 1 ,2\r\n\r\n 3,4\r\n", table="windows")
        self.assertEqual(self.rows("windows"), [{"a": " 1 ", "column_2": 2}, {"a": " 3", "column_2": 4}])

    def test_only_a_header_makes_an_empty_table(self):
        self.assertEqual(self.imported("a,b\n", "--key", "a")["rows"], 0)
        self.assertEqual(self.types("t"), {"a": "string", "b": "string"})
        self.assertEqual(self.text("query", "t", "--count"), "0\n")
        self.assertEqual(self.rows("t"), [])

    def test_a_thousand_columns(self):
        names = [f"c{i}" for i in range(1000)]
        table = [[str(i * 1000 + j) if j % 3 else f"text {i} {j}" for j in range(1000)] for i in range(300)]
        self.imported("\n".join(",".join(row) for row in [names, *table]) + "\n", "--key", "c1")
        rows = self.rows("t", "--order-by-key")
        self.assertEqual([[str(value) for value in row.values()] for row in rows], table)
        wide = ",".join(f"c{i}" for i in range(1025))
        self.refuses("import", self.write("w.csv", wide + "\n"), "--table", "w",
                     saying=["row 1", "1025 fields", "at most"])

    def test_a_field_of_a_hundred_kilobytes(self):
        long = [letter * 100_000 for letter in "äxy"]
        self.imported("id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(long)), "--key", "id")
        self.assertEqual([row["text"] for row in self.rows("t")], long)
        self.assertEqual(self.json("get-row", "t", "id=2")["text"], long[2])

    def test_more_rows_arrive_by_append_and_upsert(self):
        self.imported("k,v,w\n1,a,\n2,b,x\n", "--key", "k")
        self.imported("w,k,v\ny,3,c\n", "--append")
        self.imported("k,v\n2,B\n4,D\n", "--upsert")
        self.assertEqual(self.rows("t", "--order-by-key"),
                         [{"k": 1, "v": "a", "w": None}, {"k": 2, "v": "B", "w": None}, {"k": 3, "v": "c", "w": "y"},
                          {"k": 4, "v": "D", "w": None}])
        before = self.rows("t", "--order-by-key")
        for content, options, saying in [
            ("k,v\n5,e\n3,again\n6,f\n", ["--append"],
             ["row 3", "a row with this key is there already", "(k = 3)"]),
            ("v\nx\n", ["--append"], ["no column k"]),
            ("k,other\n5,e\n", ["--append"], ["a column other", "t has not"]),
            ("k,v\n5,e\nsix,f\n", ["--upsert"], ["row 3, column k", '"six" is no i64']),
            ("k,v\n5,e\n,f\n", ["--upsert"], ["row 3, column k", "missing"]),
            ("k,v\n5,e\n", ["--append", "--key", "k"], ["--key, --types and --encodings belong to a new table"]),
            ("k,v\n5,e\n", ["--append", "--encodings", "k=plain"], ["belong to a new table; t has its own"]),
            ("k,v\n5,e\n", [], ["there is something named t already"]),
        ]:
            self.refuses("import", self.write("more.csv", content), "--table", "t", *options, saying=saying)
            self.assertEqual(self.rows("t", "--order-by-key"), before)
        self.refuses("import", self.write("more.csv", "k\n1\n"), "--table", "nowhere", "--append", code=2,
                     saying="there is no table nowhere")

    def test_threads_change_nothing(self):
        content = "id,word\n" + "".join(f"{i},word {i * 7 % 1000}\n" for i in range(70000))
        for threads in [[], ["--threads", "1"], ["--threads", "3"]]:
            self.imported(content, *threads, table="t" + "".join(threads[1:]))
        for table in ["t", "t1", "t3"]:
            found = self.json("query", table, "--count", "--where", "word = 'word 21'")
            self.assertEqual(found["results"]["count(*)"], 70)

    def test_a_terminal_gets_a_bar_and_aligned_columns(self):
        path = self.write("file.csv", "a,long name\n1,x\n22,yy\n")
        shown = self.on_a_terminal("import", path, "--table", "t")
        self.assertRegex(shown, r"t \[[#.]{40}\] +\d+%")
        self.assertIn("t: 2 rows of 2 columns in ", shown)
        self.assertEqual(self.on_a_terminal("query", "t").split("\n"),
                         [" a  long name", "--  ---------", " 1  x", "22  yy", ""])

    # ---- what is refused ----

    def assert_refused(self, content, *options, saying):
        """Nothing of the file is there afterwards, and what was there still is."""
        self.refuses("import", self.write("bad.csv", content), "--table", "bad", *options, saying=saying)
        self.assertIn("bad.csv", self.errors)
        self.assertEqual([table["table"] for table in self.json("tables")], ["good"])
        self.assertEqual(self.rows("good"), [{"a": 1}])
        self.assertEqual(self.text("check"), "ok\n")

    def test_bad_files_are_refused_by_row_and_column(self):
        self.imported("a\n1\n", table="good")
        rows = "".join(f"{i},x{i}\n" for i in range(70_000))
        self.assert_refused("n,t\n" + rows + "seven,x\n", "--types", "n=i32",
                            saying=["row 70002, column n", '"seven" is no i32'])
        self.assert_refused("n,t\n1,x\n\n\n2.5,y\n", "--types", "n=i64", saying=["row 3 (line 5), column n", '"2.5"'])
        self.assert_refused("n,t\n" + rows + "5\n",
                            saying=["row 70002", "the row has 1 fields, but the first row has 2"])
        self.assert_refused("n,t\n1,x\n2,y,z\n", saying=["row 3", "3 fields"])
        self.assert_refused('n,t\n1,"two\nlines"\n2,"open\n3,z\n', saying=["row 3 (line 4)", "never closed"])
        self.assert_refused('n,t\n1,a"b\n', saying=["row 2", "a quote stands inside a field"])
        self.assert_refused('n,t\n1,"a"b\n', saying=["row 2", "a quote stands inside a field"])
        self.assert_refused(b"n,t\n1,a\n2,b\x00c\n", saying=["row 3", "a NUL byte"])
        self.assert_refused("n,t\n1,a\n".encode("utf-16"), saying=["row 1"])
        self.assert_refused(b"n,t\n1,a\n2,M\xfcnchen\n", saying=["row 3, column t", "is not UTF-8", "bytes"])
        self.assert_refused(b"n,M\xfcnchen\n1,a\n", saying=["row 1", "column 2", "UTF-8"])
        self.assert_refused("n,t\n1,2013-02-30\n", "--types", "t=date",
                            saying=["row 2, column t", '"2013-02-30" is no date'])
        self.assert_refused("n,t\n1,x\n", "--types", "t=bool", saying=["column t", "neither true nor false"])
        self.assert_refused("n,t\n1," + "x" * 100_000 + "\n", "--types", "t=f64", saying=["xxx...", "is no number"])
        self.assert_refused("n,t\n1,2\n2,-1e400\n", saying=["row 3, column t", '"-1e400" is too large for an f64'])
        self.assert_refused("n,t\n1,inf\n2,1e39\n", "--types", "t=f32", saying=['"1e39" is too large for an f32'])
        self.assert_refused("k,v\nshort,1\n\n" + "x" * 70_000 + ",2\n", "--key", "k",
                            saying=["row 3, column k: an encoded key of 70002 bytes, the limit is 65536: k = 'xxx"])
        self.assert_refused("", saying="is empty")
        self.assert_refused("\n\n\n", saying="is empty")
        self.assert_refused("a,b,a\n1,2,3\n", saying=["row 1, column a", "columns 1 and 3 have the same name"])
        self.assert_refused("a,b\n1,2\n", "--key", "c", saying="no column c")
        self.assert_refused("k,v\n1,a\n2,b\n1,c\n", "--key", "k",
                            saying=["row 4", "an earlier row has the same key", "(k = 1)"])
        self.assert_refused("k,l,v\n1,a,2\n1,b,2\n1,a,3\n", "--key", "k,l", saying=["row 4", "(k, l = 1, 'a')"])
        self.assert_refused("k,v\n1,a\n,b\n", "--key", "k", saying=["row 3, column k", "missing"])

    def test_bytes_columns_take_what_is_no_text(self):
        self.imported(b"n,t\n1,a\n2,M\xfcnchen\n", "--types", "t=bytes")
        self.assertEqual([row["t"] for row in self.rows("t")], ["a", "<hex:4DFC6E6368656E>"])

    def test_options_that_cannot_be_are_refused(self):
        self.imported("a\n1\n", table="good")
        path = self.write("file.csv", "a,b\n1,2\n")
        for options, saying in [(["--types", "a"], "column=type"), (["--types", "x=i64"], "no column x"),
                                (["--types", "a=integer"], "no type integer"), (["--types", "a=decimal"], "no type"),
                                (["--types", "a=fixed_bytes"], "no type"), (["--delimiter", "ab"], "one character"),
                                (["--quote", ""], "one character"),
                                (["--quote", ";", "--delimiter", ";"], "the same character"),
                                (["--table", "__hidden"], "__"),
                                (["--threads", "0"], "from 1 to 64"), (["--threads", "two"], "from 1 to 64"),
                                (["--table", ""], "")]:
            self.refuses("import", path, "--table", "bad", *options, saying=saying)
            self.assertEqual([table["table"] for table in self.json("tables")], ["good"])
        self.refuses("import", self.directory / "nothing.csv", "--table", "bad",
                     saying=["nothing.csv cannot be opened"])
        self.refuses("import", self.directory, "--table", "bad", saying="no regular file")
        self.refuses("import", "/dev/stdin", "--table", "bad", saying="no regular file", stdin=b"a\n1\n")


if __name__ == "__main__":
    cli_program.main()
