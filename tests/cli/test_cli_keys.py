#!/usr/bin/env python3
"""Keys and values from the command line: put, get, del, exists, scan, count."""

import random
import signal
import subprocess
import time

import cli_program
from cli_program import CliTest


class Keys(CliTest):
    def test_a_value_comes_back(self):
        self.assertEqual(self.text("put", "greeting", "hello"), "")
        self.assertEqual(self.text("get", "greeting"), "hello\n")
        self.assertEqual(self.text("get", "greeting", "--raw"), "hello")
        self.assertEqual(self.json("get", "greeting"), {"key": "greeting", "value": "hello", "expires_in_ms": None})
        self.run_tool("put", "greeting", "")
        self.assertEqual(self.text("get", "greeting"), "\n")
        self.assertEqual(self.json("put", "greeting", "-5"), {"stored": True})
        self.assertEqual(self.text("get", "greeting"), "-5\n")
        self.run_tool("put", "--", "--odd", "--key")
        self.assertEqual(self.text("get", "--", "--odd"), "--key\n")

    def test_what_is_missing_exits_with_2(self):
        self.run_tool("put", "a", "1")
        self.refuses("get", "b", code=2, saying="there is no key b")
        self.refuses("del", "b", code=2, saying="there is no key b")
        self.refuses("get", "a", "--cf", "nowhere", code=2, saying="there is no family nowhere")
        self.assertEqual(self.text("exists", "b", code=2), "false\n")
        self.assertEqual(self.json("exists", "b", code=2), {"exists": False})
        self.assertEqual(self.text("exists", "a"), "true\n")
        self.assertEqual(self.json("del", "a"), {"deleted": True})
        self.assertEqual(self.text("exists", "a", code=2), "false\n")

    def test_keys_that_cannot_be_are_refused(self):
        self.run_tool("put", "a", "1")
        self.refuses("put", "", "x", saying="a key has 1 to 65536 bytes")
        self.refuses("put", "k" * 65537, "x", saying="65537")
        self.run_tool("put", "k" * 65536, "x")
        self.assertEqual(self.text("get", "k" * 65536), "x\n")
        self.refuses("put", "a", "b", "--cf", "__hidden", saying="__")
        self.assertEqual(self.text("count"), "2\n")

    def test_families_keep_their_keys_apart(self):
        self.run_tool("put", "k", "default")
        self.run_tool("put", "k", "one", "--cf", "one")
        self.assertEqual(self.text("get", "k"), "default\n")
        self.assertEqual(self.text("get", "k", "--cf", "one"), "one\n")
        self.assertEqual(self.json("info")["families"], ["default", "one"])

    def test_a_table_is_no_family(self):
        self.run_tool("import", self.write("t.csv", "a\n1\n"), "--table", "t")
        self.refuses("put", "k", "v", "--cf", "t", saying="t is a table")
        self.refuses("scan", "--cf", "t", saying="t is a table")

    def test_scans_walk_in_order_both_ways_and_by_prefix(self):
        source = random.Random(7)
        pairs = {f"{source.choice('abc')}:{source.randrange(10**6)}": f"v{i}" for i in range(3000)}
        stdin = "".join(f"{key}\t{value}\n" for key, value in pairs.items()).encode()
        self.assertEqual(self.text("put", "--stdin", "--batch", "128", stdin=stdin),
                         f"{len(pairs)} stored\n")
        ordered = sorted(pairs.items())
        self.assertEqual(self.text("scan"), "".join(f"{key}\t{value}\n" for key, value in ordered))
        self.assertEqual(self.json("scan", "--reverse"), [{"key": k, "value": v} for k, v in reversed(ordered)])
        with_b = [pair for pair in ordered if pair[0].startswith("b:")]
        self.assertEqual(self.json("scan", "--prefix", "b:", "--limit", "5"),
                         [{"key": k, "value": v} for k, v in with_b[:5]])
        self.assertEqual(self.text("scan", "--prefix", "b:", "--limit", "3", "--reverse", "--keys"),
                         "".join(f"{key}\n" for key, _ in with_b[:-4:-1]))
        self.assertEqual(self.text("count", "--prefix", "b:"), f"{len(with_b)}\n")
        self.assertEqual(self.json("count"), {"count": len(ordered)})
        self.assertEqual(self.json("scan", "--prefix", "nothing"), [])
        self.assertEqual(self.text("scan", "--limit", "0"), "")

    def test_bytes_that_are_no_text_print_as_hex_and_stay_valid_json(self):
        stdin = b"bin\t\xff\x00\xaa\nctl\ta\x1b[31mb\rc\nquote\t\"back\\slash\"\n" \
                b"uni\t\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n"
        self.run_tool("put", "--stdin", stdin=stdin)
        self.assertEqual(self.text("get", "bin"), "<hex:FF00AA>\n")
        self.assertEqual(self.run_tool("get", "bin", "--raw"), b"\xff\x00\xaa")
        found = {row["key"]: row["value"] for row in self.json("scan")}
        self.assertEqual(found, {"bin": "<hex:FF00AA>", "ctl": "a\x1b[31mb\rc", "quote": '"back\\slash"',
                                 "uni": "ä€😀"})
        self.assertEqual(self.text("scan", "--prefix", "ctl"), "ctl\ta\\x1B[31mb\\rc\n")

    def test_a_key_with_a_time_to_live_expires(self):
        self.run_tool("put", "stays", "1", "--ttl", "1000")
        left = self.json("get", "stays")["expires_in_ms"]
        self.assertTrue(900_000 < left <= 1_000_000, left)
        self.run_tool("put", "--stdin", "--ttl", "1", stdin=b"s:1\ta\ns:2\tb\n")
        self.run_tool("put", "s:3", "c")
        limit = time.monotonic() + 30
        while self.text("count", "--prefix", "s:") != "1\n":
            self.assertLess(time.monotonic(), limit)
        self.refuses("get", "s:1", code=2, saying="there is no key s:1")
        self.assertEqual([row["key"] for row in self.json("scan")], ["s:3", "stays"])
        self.run_tool("put", "stays", "2")
        self.assertIsNone(self.json("get", "stays")["expires_in_ms"])

    def test_lines_that_are_no_pairs_end_the_reading(self):
        self.refuses("put", "--stdin", stdin=b"a\t1\nno tab here\nc\t3\n", saying="line 2 has no tab")
        self.assertEqual([row["key"] for row in self.json("scan")], ["a"])
        self.refuses("put", "--stdin", "--batch", "100", stdin=b"x\t1\ny\t2\nno tab\n", saying="line 3 has no tab")
        self.assertEqual([row["key"] for row in self.json("scan")], ["a"])
        self.refuses("put", "--stdin", stdin=b"\tempty key\n", saying="a key has 1 to")

    def test_a_read_only_store_refuses_writes(self):
        self.run_tool("put", "a", "1")
        self.assertEqual(self.text("--read-only", "get", "a"), "1\n")
        self.refuses("--read-only", "put", "a", "2", saying="for reading only")
        self.assertEqual(self.text("get", "a"), "1\n")

    def test_a_killed_writer_loses_nothing_that_it_echoed(self):
        for batch, acknowledged_before_kill in ((1, 1), (1, 777), (1, 5000), (64, 4000)):
            lines = self.write("lines", "".join(f"{batch}-{i:06}\tvalue {i}\n" for i in range(100_000)))
            words = self.words("put", "--stdin", "--echo", "--batch", batch, "--cf", f"cf{acknowledged_before_kill}")
            echoed = []
            with open(lines, "rb") as source, subprocess.Popen(words, stdin=source, stdout=subprocess.PIPE) as writer:
                for line in writer.stdout:
                    echoed.append(line.decode().rstrip("\n"))
                    if len(echoed) == acknowledged_before_kill:
                        writer.kill()
            self.assertEqual(writer.returncode, -signal.SIGKILL)
            found = {row["key"]: row["value"] for row in self.json("scan", "--cf", f"cf{acknowledged_before_kill}")}
            self.assertGreaterEqual(len(echoed), acknowledged_before_kill)
            for i, key in enumerate(echoed):
                self.assertEqual((key, found.get(key)), (f"{batch}-{i:06}", f"value {i}"))
            self.assertEqual(len(found) % batch, 0)  # whole transactions only
            self.assertEqual(sorted(found), [f"{batch}-{i:06}" for i in range(len(found))])
            self.assertEqual(self.text("check"), "ok\n")


if __name__ == "__main__":
    cli_program.main()
