#!/usr/bin/env python3
"""Transactions from the command line: all or nothing, and the operation that failed is named."""

import random
import subprocess

import cli_program
from cli_program import CliTest


class Txn(CliTest):
    def contents(self, *options):
        return {row["key"]: row["value"] for row in self.json("scan", *options)}

    def test_operations_from_arguments_happen_together(self):
        self.run_tool("txn", "put a 1", "put 'b b' \"two words\"", "put e ''", "del a", "put c \\\\")
        self.assertEqual(self.contents(), {"b b": "two words", "e": "", "c": "\\"})

    def test_operations_from_lines_with_comments_and_blank_ones(self):
        lines = b"# a comment\n\nput a 1   # and another\n  put\tb\t2\r\nput c '#3'\nput d#4 4"
        self.assertEqual(self.text("txn", stdin=lines), "")
        self.assertEqual(self.contents(), {"a": "1", "b": "2", "c": "#3", "d#4": "4"})
        self.assertEqual(self.json("txn", stdin=lines), {"operations": 4, "answers": []})

    def test_quotes_and_escapes_give_any_byte(self):
        self.run_tool("txn", stdin=rb"""put 'it\n' "it\n" """ + b"\n" + rb"""put \x00\x01 "\xff\0\t\"" """ + b"\n"
                      + rb"""put a"b"'c'\ d plain\ space""" + b"\nput \xc3\xa4 \xe2\x82\xac\n")
        self.assertEqual(self.run_tool("get", r"it\n", "--raw"), b"it\n")
        self.assertEqual(self.contents(), {r"it\n": "it\n", "\x00\x01": "<hex:FF000922>", "abc d": "plain space",
                                           "ä": "€"})

    def test_answers_are_printed_after_the_commit(self):
        self.run_tool("put", "a", "1")
        self.assertEqual(self.text("txn", "get a", "put a 2", "get a", "set-if-absent a 3", "set-if-absent b 4"),
                         "1\n2\nfalse\ntrue\n")
        self.assertEqual(self.json("txn", "get b", "set-if-absent b 5", "del b"),
                         {"operations": 3, "answers": [{"key": "b", "value": "4"}, {"key": "b", "inserted": False}]})
        self.assertEqual(self.refuses("txn", "get a", "del nope", code=2, saying="no such key"), b"")

    def test_whatever_fails_nothing_is_done_and_the_operation_is_named(self):
        self.run_tool("txn", "put a 1", "cf other", "put o 1")
        for operation, code, saying in (
                ("del nope", 2, "there is no such key"), ("get nope", 2, "there is no such key"),
                ("expect nope x", 2, "there is no such key"), ("expect a 2", 1, "the key has another value"),
                ("absent a", 1, "the key is there"), ("cf __x", 1, "__"), ("del a often", 1, "only if-there"),
                ("put x", 1, "it is put KEY VALUE [ttl SECONDS]"), ("put x y z", 1, "it is put"),
                ("put x y ttl 0", 1, "ttl needs a whole number"), ("put x y ttl soon", 1, "ttl needs"),
                ("put '' y", 1, "a key has 1 to 65536 bytes"), ("frob x", 1, "an operation is put,"),
                ("put 'x y", 1, "a quote is never closed"), ("put x \\xZZ", 1, "two hexadecimal digits"),
                ("put x y\\", 1, "a backslash ends the line"), ("a b c d e f g h i", 1, "too many words"),
                ("cf a\\0b", 1, "NUL"), ("PUT x y", 1, "an operation is put,")):
            self.refuses("txn", "put new 1", "cf new", "put n 1", "cf", operation, "put late 1", code=code,
                         saying=["nothing was done: operation 5, ", saying])
            lines = f"\nput new 1\n\n# nothing\n{operation}\n".encode()
            self.refuses("txn", stdin=lines, code=code, saying=["nothing was done: operation 2 (line 5), ", saying])
        self.assertEqual(self.contents(), {"a": "1"})
        self.assertEqual(self.json("cf", "list"), ["other"])
        self.assertEqual(self.contents("--cf", "other"), {"o": "1"})

    def test_conditions_make_a_compare_and_swap(self):
        self.run_tool("put", "balance", "10")
        self.run_tool("txn", "expect balance 10", "absent receipt:1", "put balance 7", "put receipt:1 3")
        self.refuses("txn", "expect balance 10", "put balance 4", saying="expect balance 10: the key has another value")
        self.refuses("txn", "absent receipt:1", "put balance 4", saying="absent receipt:1: the key is there")
        self.assertEqual(self.contents(), {"balance": "7", "receipt:1": "3"})
        self.run_tool("txn", "put balance ''", "expect balance ''")

    def test_families_and_times_to_live_belong_to_it(self):
        self.run_tool("txn", "--cf", "first", "put a 1 ttl 1000", "cf second", "put a 2", "cf", "put a 3",
                      "set-if-absent b 4 ttl 500", "put ttl 5", "put ttl2 ttl")
        self.assertEqual(self.contents("--cf", "first"), {"a": "1"})
        self.assertEqual(self.contents("--cf", "second"), {"a": "2"})
        self.assertEqual(self.contents(), {"a": "3", "b": "4", "ttl": "5", "ttl2": "ttl"})
        self.assertTrue(900 < float(self.text("ttl", "a", "--cf", "first")) <= 1000)
        self.assertTrue(400 < float(self.text("ttl", "b")) <= 500)
        self.assertEqual(self.text("ttl", "a", "--cf", "second"), "never\n")
        self.run_tool("txn", "clear", "del nothing if-there", "cf second", "del a if-there")
        self.assertEqual((self.contents(), self.contents("--cf", "second")), ({}, {}))

    def test_without_operations_there_is_nothing_to_do(self):
        self.refuses("txn", stdin=b"# nothing\n", saying="there is no operation")
        self.assertFalse(self.store.exists())

    def test_long_operations_are_named_by_their_beginning(self):
        self.refuses("txn", "frob " + "ä" * 100, saying="operation 1, frob ä")
        self.assertLess(len(self.errors), 250)
        self.assertNotIn("hex:", self.errors)

    def test_a_reader_sees_all_of_it_or_nothing(self):
        self.run_tool("txn", *(f"put k{i} 0" for i in range(20)))
        writers = [subprocess.Popen(self.words("txn"), stdin=subprocess.PIPE) for _ in range(4)]
        for number, writer in enumerate(writers):
            order = random.Random(number).sample(range(20), 20)
            writer.stdin.write("".join(f"put k{i} {number}\n" for i in order).encode())
            writer.stdin.close()
        for _ in range(5):
            self.assertEqual(len(set(self.contents().values())), 1)
        self.assertEqual([writer.wait() for writer in writers], [0] * 4)
        self.assertEqual(len(set(self.contents().values())), 1)


if __name__ == "__main__":
    cli_program.main()
