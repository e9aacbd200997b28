#!/usr/bin/env python3
"""Tables out of the store and back: export and import in both forms, JSON lines and their refusals."""

import csv
import io
import json
import os
import pathlib
import random
import signal
import subprocess

import cli_program
from cli_program import CliTest

COLUMNS = {"id": "i64", "flag": "bool", "small": "i8", "wide": "u64", "half": "f32", "real": "f64", "day": "date",
           "at": "timestamp", "name": "string", "raw": "bytes", "four": "fixed_bytes"}
TEXTS = ["", "plain", 'with "quotes", commas', "two\nlines\r\n", " spaces ", "NA", "null", "1", "true", "é€😀",
         "<hex:41>",
         "2013-01-01", "-", "tab\there"]


class Files(CliTest):
    def random_rows(self, count, seed):
        source = random.Random(seed)
        pick = lambda *values: source.choice(values)
        rows = []
        for number in range(count):
            raw = source.randbytes(source.randrange(6))
            row = {"id": number * 3 - 50, "flag": pick(True, False), "small": pick(-128, 127, 0, 5),
                   "wide": pick(0, 2**64 - 1, 2**63, 12), "half": pick(0.5, -1.25, 3e38),
                   "real": pick(0.1, -2.5e-300, 1e22, source.random(), 3.0),
                   "day": pick("1970-01-01", "2024-02-29", "1912-06-23"),
                   "at": pick("2013-01-01 00:00:00", "1969-12-31 23:59:59.999999"),
                   "name": pick(*TEXTS),
                   "raw": pick("<hex:" + raw.hex().upper() + ">", "text", "<hex:3C6865783A34313E>"),
                   "four": pick("<hex:00FF00FF>", "abcd")}
            for name in COLUMNS:
                if name != "id" and source.random() < 0.15:
                    row[name] = None
            rows.append(row)
        return rows

    def types(self):
        return ",".join(f"{name}={kind}" + (":4" if kind == "fixed_bytes" else "") for name, kind in COLUMNS.items())

    def lines(self, rows):
        return "".join(json.dumps(row) + "\n" for row in rows)

    def make(self, rows, table="t"):
        path = self.write("made.jsonl", self.lines(rows))
        return self.json("import", path, "--table", table, "--key", "id", "--types", self.types())

    def exported(self, table, *options):
        return self.text("export", table, *options)

    def rows(self, table):
        return self.json("query", table, "--order-by-key")["rows"]

    # ---- there and back ----

    def test_what_is_exported_reads_back_the_same_in_both_forms(self):
        rows = self.random_rows(700, 1)
        self.assertEqual(self.make(rows)["rows"], 700)
        for form, options in (("jsonl", []), ("csv", ["--null", ""])):
            path = os.path.join(self.directory, "out." + form)
            self.assertEqual(self.json("export", "t", "--to", path)["rows"], 700)
            back = "back_" + form
            self.json("import", path, "--table", back, "--key", "id", "--types", self.types(), *options)
            self.assertEqual(self.rows(back), self.rows("t"))
            again = self.exported(back, "--as", form)
            with open(path, newline="", encoding="utf-8") as file:
                self.assertEqual(again, file.read())
            self.assertEqual(list(pathlib.Path(path).parent.glob("*.part-*")), [])

    def test_both_ways_take_the_form_from_the_same_names(self):
        self.import_lines([{"id": 1, "s": "a"}, {"id": 2, "s": None}])
        for name in ("t.jsonl", "t.ndjson", "t.json", "t.csv", "t.txt", ".json"):
            path = self.directory / name
            self.run_tool("export", "t", "--to", path)
            self.assertEqual(path.read_bytes()[:1], b"i" if path.suffix in (".csv", ".txt") else b"{", name)
            self.json("import", path, "--table", "back" + name)
            self.assertEqual(self.rows("back" + name), self.rows("t"), name)

    def test_guessed_types_survive_json_lines(self):
        self.import_lines([
            {"n": 1, "f": 1.5, "b": True, "d": "2024-02-29", "u": "2024-02-29T01:02:03Z", "s": "12", "x": "nan"},
            {"n": -2, "f": 2, "b": False, "d": "1970-01-01", "u": "1970-01-01T00:00:00.5Z", "s": "true", "x": 2.5}])
        expected = {"n": "i64", "f": "f64", "b": "bool", "d": "date", "u": "timestamp", "s": "string", "x": "f64"}
        self.assertEqual(self.column_types("t"), expected)
        path = self.write("again.jsonl", self.exported("t", "--as", "jsonl"))
        self.json("import", path, "--table", "again")
        self.assertEqual(self.column_types("again"), expected)
        self.assertEqual(self.rows("again"), self.rows("t"))

    def import_lines(self, rows, *options, table="t"):
        return self.json("import", self.write("in.jsonl", self.lines(rows)), "--table", table, *options)

    def column_types(self, table):
        return {column["column"]: column["type"] for column in self.json("info", table)["columns"]}

    # ---- JSON lines ----

    def test_members_are_columns_in_any_order_and_need_not_be_there(self):
        self.import_lines([{"a": 1}, {"b": "x", "a": 2}, {"c": [1, {"d": "é"}], "b": None}, {}])
        self.assertEqual(self.rows("t"), [
            {"a": 1, "b": None, "c": None}, {"a": 2, "b": "x", "c": None},
            {"a": None, "b": None, "c": '[1,{"d":"é"}]'}, {"a": None, "b": None, "c": None}])

    def test_numbers_keep_what_they_say(self):
        pairs = ((0, 5), (-1, 2**63), (2**63 - 1, 2**64 - 1), (-2**63, 0))
        rows = [{"i": n, "u": u, "s": str(2**70)} for n, u in pairs]
        self.import_lines(rows)
        self.assertEqual(self.rows("t"), rows)
        self.assertEqual(self.column_types("t"), {"i": "i64", "u": "u64", "s": "string"})
        path = self.write("f.jsonl", '{"f": 0.1}\n{"f": 1e-320}\n{"f": 123456789.123456789}\n')
        self.json("import", path, "--table", "f")
        self.assertEqual([row["f"] for row in self.rows("f")], [0.1, 1e-320, 123456789.123456789])

    def test_numbers_that_json_does_not_know_are_read_as_others_write_them(self):
        content = '{"f": NaN}\n{"f": 1.0}\n{"f": -Infinity}\n{"f": "inf"}\n'
        self.json("import", self.write("f.jsonl", content), "--table", "f")
        self.assertEqual([row["f"] for row in self.rows("f")], ["nan", 1, "-inf", "inf"])

    def test_what_is_nested_keeps_every_number_and_name(self):
        nested = ['{"n": 123456789012345678901234567890}', '{"n": [-0, 1.50, 1E5, 1e400, -9223372036854775809]}',
                  '{"a": 1, "a": 2, "x\\u0000y": {}}', '[ "\\u0022\\u005c\\/\t\\u0009\\u0001\x7f", '
                  '{"]": "}," } , true, null ]',
                  '["\\ud83d\\ude00\\u00e9\\u20ac\\\\u00e9"]']
        content = "".join(f'{{"id": {i}, "v" : {text} , "z": -0}}\r\n' for i, text in enumerate(nested))
        self.json("import", self.write("n.jsonl", content + '{"id": 5, "z": 0.5}\n'), "--table", "n")
        keep = {"object_pairs_hook": list, "parse_int": str, "parse_float": str, "strict": False}
        kept = [row["v"] for row in self.rows("n")][:len(nested)]
        self.assertEqual([json.loads(text, **keep) for text in kept], [json.loads(text, **keep) for text in nested])
        self.assertEqual(kept[1], '{"n":[-0,1.50,1E5,1e400,-9223372036854775809]}')
        self.assertEqual(kept[4], '["😀é€\\\\u00e9"]')
        self.assertIn('"z":-0.0', self.exported("n", "--as", "jsonl", "--limit", "1"))

    def test_lines_are_added_to_a_table_by_name(self):
        self.import_lines([{"id": 1, "s": "a"}], "--key", "id")
        self.import_lines([{"s": "b", "id": 2}, {"id": 1, "s": "c"}], "--upsert")
        self.assertEqual(self.rows("t"), [{"id": 1, "s": "c"}, {"id": 2, "s": "b"}])
        self.refuses("import", self.write("x.jsonl", '{"id": 3, "other": 1}\n'), "--table", "t", "--append",
                     saying=["a column other", "t has not"])

    def test_lines_that_are_no_objects_are_refused_by_their_number(self):
        bad = {"[1]": "no object", '{"a": 1} x': "follows", '{"a": 1': "not complete",
               '{"a": 18446744073709551616}': "column a: a whole number beyond 64 bits",
               '{"b": "1\\\\", "a": -9223372036854775809}': "column a: a whole number beyond 64 bits",
               '{"a": -01}': "column a: JSON has no number", '{"a": {"b": [1.]}}': "column a: JSON has no number",
               '{"": 1}': "1 to 255", "7": "object", "x": "no JSON",
               '{\'a"\': [0, 0, 0]}': "double quotes", '{"x": {\'a"\': 1}}': "double quotes",
               "{'a': 1, 'a': 2}": "double quotes",
               '{"a": 1, "b": {"b": 2}, "a": 3}': "column a: two members", '{"a": 1, "\\u0061": 3}': "two members",
               '{"a": "\\ud83d\\ude00", "b": ["\\ud83d"]}': "column b: a text has half",
               '{"a": 1, "b": "%s", "a": 3}' % ("x" * 70000): "two members of the object have one name",
               '{"b": "\\ude00\\ud83d"}': "column b: a text has half", '{"a\\u0000b": 1}': "column a\\u0000b: the name"}
        for line, saying in bad.items():
            path = self.write("bad.jsonl", '{"a": 1}\n\n' + line + "\n")
            self.refuses("import", path, "--table", "bad", saying=["row 2 (line 3)", saying])
        self.refuses("import", self.write("none.jsonl", "{}\n{}\n"), "--table", "bad", saying="no object of")
        path = os.path.join(self.directory, "bytes.jsonl")
        with open(path, "wb") as file:
            file.write(b'{"a": "\xff"}\n')
        self.refuses("import", path, "--table", "bad", saying=["row 1", "no JSON"])
        with open(path, "wb") as file:
            file.write(b'{"a": 1}\n{"a": "\0"}\n')
        self.refuses("import", path, "--table", "bad", saying=["row 2"])
        self.assertFalse(self.store.exists())

    def test_a_wrong_value_is_named_by_row_and_member(self):
        self.refuses("import", self.write("x.jsonl", '{"a": 1}\n{"a": "two"}\n'), "--table", "t", "--types", "a=i8",
                     saying=["row 2", "column a", '"two" is no i8'])
        self.refuses("import", self.write("x.jsonl", '{"a": ""}\n'), "--table", "t", "--types", "a=i8",
                     saying=["row 1", "column a"])
        self.refuses("import", self.write("x.jsonl", '{"a": "true\\u0000"}\n'), "--table", "t", "--types", "a=bool",
                     saying=["row 1", "column a", "neither true nor false"])
        self.refuses("import", self.write("x.jsonl", '{"a": 1}\n'), "--table", "t", "--delimiter", ";",
                     saying=["--delimiter concerns CSV"])

    def test_a_table_of_very_many_members_is_refused(self):
        row = {f"m{number}": number for number in range(1024)}
        self.refuses("import", self.write("x.jsonl", self.lines([row])), "--table", "t", saying=["1023 columns"])
        del row["m0"]
        self.import_lines([row, dict(reversed(row.items()))])
        self.assertEqual(self.rows("t")[0], row)

    # ---- export ----

    def test_export_takes_a_filter_columns_and_a_limit(self):
        self.import_lines([{"id": n, "s": f"s{n}", "z": n % 3} for n in range(100)], "--key", "id")
        text = self.exported("t", "--where", "z = 1", "--select", "s,id", "--limit", "3")
        self.assertEqual(list(csv.reader(io.StringIO(text))), [["s", "id"], ["s1", "1"], ["s4", "4"], ["s7", "7"]])
        self.refuses("export", "t", "--where", "nothing = 1", saying=["nothing"])
        self.refuses("export", "t", "--as", "xml", saying=["csv or jsonl"])
        self.run_tool("export", "none", code=2)

    def test_a_mark_and_words_that_must_be_quoted_come_back(self):
        rows = [{"\ufeffa": "\ufeffx", "b": None}, {"\ufeffa": None, "b": "-"}]
        self.import_lines(rows)
        for null in ("-,-", '"', "\r\n"):
            path = self.write("n.csv", self.run_tool("export", "t", "--null", null))
            self.json("import", path, "--table", "n", "--null", null)
            self.assertEqual(self.rows("n"), rows)
            self.run_tool("drop", "n")

    def test_a_column_of_missing_values_keeps_its_rows(self):
        self.import_lines([{"a": "x"}, {"a": None}, {"a": ""}, {"a": "NA"}])
        path = self.write("one.csv", self.exported("t"))
        self.json("import", path, "--table", "back")
        self.assertEqual(self.json("query", "back", "--count")["results"]["count(*)"], 4)
        self.assertEqual([row["a"] for row in self.rows("back")], ["x", None, "", None])

    def test_a_failed_export_leaves_the_old_file(self):
        self.import_lines([{"a": "x"}, {"a": "nul\0"}])
        path = self.write("kept.csv", "old")
        self.refuses("export", "t", "--to", path, saying=["row 2, column a", "NUL", "nothing was exported"])
        self.assertEqual(self.refuses("export", "t", saying=["row 2", "the rows end here"]), b"a\r\nx\r\n")
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "old")
        self.assertEqual(list(pathlib.Path(path).parent.glob("*.part-*")), [])
        self.refuses("export", "t", "--to", self.directory / "none" / "x.csv", saying=["cannot be written"])
        self.refuses("export", "t", "--to", self.directory, saying=["cannot be written", "directory"])
        self.assertIn("nul\\u0000", self.exported("t", "--as", "jsonl"))

    def test_an_export_never_takes_the_place_of_the_store(self):
        self.import_lines([{"a": "x"}])
        link = self.directory / "link.csv"
        link.symlink_to(self.store)
        for path in (self.store, link):
            self.refuses("export", "t", "--as", "csv", "--to", path, saying=["is the store itself", str(path)])
        for ending in ("-wal", "-shm", "-journal", "-rewrite"):  # whether they are there or not
            path = self.directory / (pathlib.Path(self.store).name + ending)
            self.refuses("export", "t", "--as", "csv", "--to", path, saying=["is the store itself", str(path)])
        self.assertEqual(self.exported("t"), "a\r\nx\r\n")

    def test_a_store_named_as_a_file_that_grows_stays(self):
        self.import_lines([{"a": "x"}])
        part = self.directory / "out.csv.part"
        os.rename(self.store, part)
        self.store = part
        self.run_tool("export", "t", "--to", self.directory / "out.csv")
        self.assertEqual(self.exported("t"), "a\r\nx\r\n")

    def test_a_link_stays_and_its_file_is_replaced(self):
        self.import_lines([{"a": "x"}])
        (self.directory / "far").mkdir()
        link = self.directory / "link.csv"
        link.symlink_to("far/out.csv")
        (self.directory / "far" / "out.csv").write_text("old")
        self.run_tool("export", "t", "--to", link)
        self.assertTrue(link.is_symlink())
        self.assertEqual((self.directory / "far" / "out.csv").read_text(), "a\nx\n")

    def test_a_file_that_is_replaced_keeps_its_rights(self):
        self.import_lines([{"a": "x"}])
        hidden = os.umask(0o022)
        self.addCleanup(os.umask, hidden)
        for rights in (0o600, 0o640, 0o666):
            path = self.directory / f"{rights:o}.csv"
            path.write_text("old")
            path.chmod(rights)
            if os.getuid() == 0:
                os.chown(path, 65534, 65533)
            before = path.stat()
            self.run_tool("export", "t", "--to", path)
            self.assertEqual(path.read_text(), "a\nx\n")
            after = path.stat()
            for name in ("st_mode", "st_uid", "st_gid"):
                self.assertEqual(getattr(after, name), getattr(before, name))
        self.run_tool("export", "t", "--to", self.directory / "new.csv")
        self.assertEqual((self.directory / "new.csv").stat().st_mode & 0o777, 0o644)

    def test_an_interrupted_one_leaves_what_was_there(self):
        path = self.directory / "out.csv"
        self.import_lines([{"a": number} for number in range(200_000)])
        for chosen in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            codes = set()
            for _ in range(20):  # now and then it is faster than the signal
                path.write_text("old")
                with subprocess.Popen(self.words("export", "t", "--to", path), stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE) as process:
                    while process.poll() is None and not list(self.directory.glob("*.part-*")):
                        pass
                    process.send_signal(chosen)
                    errors = process.stderr.read()
                codes.add(process.returncode)
                self.assertEqual(list(self.directory.glob("*.part-*")), [])
                if process.returncode == 1:
                    self.assertEqual(errors, b"colonnade: nothing was exported: it was interrupted\n")
                    self.assertEqual(path.read_text(), "old")
                    break
            self.assertIn(1, codes)
            self.assertLessEqual(codes, {0, 1})

    def test_a_pipe_is_written_to_and_stays_one(self):
        self.import_lines([{"a": "x"}])
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)
        with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
            self.run_tool("export", "t", "--as", "csv", "--to", pipe)
            self.assertEqual(reader.communicate()[0], b"a\r\nx\r\n")
        self.assertTrue(pipe.is_fifo())

    def test_what_lies_where_the_new_file_grows_is_not_written_to(self):
        self.import_lines([{"a": "x"}])
        (self.directory / "precious").write_text("precious")
        (self.directory / "out.csv.part").symlink_to("precious")
        self.run_tool("export", "t", "--to", self.directory / "out.csv")
        self.assertEqual((self.directory / "precious").read_text(), "precious")
        self.assertEqual((self.directory / "out.csv").read_text(), "a\nx\n")


if __name__ == "__main__":
    cli_program.main()
