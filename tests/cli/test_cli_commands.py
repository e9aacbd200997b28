#!/usr/bin/env python3
"""From the command line: list, set-if-absent, ttl, purge, clear, cf, stats, sync, checkpoint, vacuum, backup; users
without rights; the global options."""

import os
import pathlib
import re
import signal
import subprocess
import time

import cli_program
from cli_program import CliTest


class Lists(CliTest):
    def test_keys_are_listed_in_order_by_prefix_and_backwards(self):
        self.run_tool("put", "--stdin", stdin=b"b:2\tx\na:1\ty\nb:1\tz\nc\tw\n")
        self.assertEqual(self.text("list"), "a:1\nb:1\nb:2\nc\n")
        self.assertEqual(self.json("list"), ["a:1", "b:1", "b:2", "c"])
        self.assertEqual(self.json("list", "b:"), ["b:1", "b:2"])
        self.assertEqual(self.json("list", "--prefix", "b:", "--reverse"), ["b:2", "b:1"])
        self.assertEqual(self.json("list", "--limit", "2"), ["a:1", "b:1"])
        self.assertEqual(self.json("list", "zzz"), [])
        self.assertEqual(self.text("scan", "b:"), "b:1\tz\nb:2\tx\n")
        self.assertEqual(self.text("count", "b:"), "2\n")
        self.refuses("scan", "a", "--prefix", "b", saying="one prefix is enough")

    def test_keys_that_are_no_text_are_listed_as_hex(self):
        self.run_tool("put", "--stdin", stdin=b"\xff\xaa\t1\n\xc3\xa4\t2\n")
        self.assertEqual(self.text("list"), "ä\n<hex:FFAA>\n")
        self.assertEqual(self.json("list"), ["ä", "<hex:FFAA>"])
        self.assertEqual(self.json("--format=json", "get", "ä")["value"], "2")


class Conditions(CliTest):
    def test_only_the_first_gets_a_key_that_is_absent(self):
        self.assertEqual(self.text("set-if-absent", "lock", "me"), "true\n")
        self.assertEqual(self.text("set-if-absent", "lock", "you"), "false\n")
        self.assertEqual(self.json("set-if-absent", "lock", "you"), {"inserted": False})
        self.refuses("set-if-absent", "lock", "you", "--must", saying="there is a key lock already")
        self.assertEqual(self.text("get", "lock"), "me\n")
        self.assertEqual(self.json("set-if-absent", "lock", "you", "--cf", "other"), {"inserted": True})
        self.refuses("set-if-absent", "", "x", saying="a key has 1 to 65536 bytes")
        self.refuses("set-if-absent", "k", "x", "--ttl", "soon", saying="--ttl soon")

    def test_of_many_that_ask_at_once_one_gets_it(self):
        asking = [subprocess.Popen(self.words("set-if-absent", "lock", f"p{i}"), stdout=subprocess.PIPE, text=True)
                  for i in range(6)]
        answers = [process.communicate()[0] for process in asking]
        self.assertEqual([process.returncode for process in asking], [0] * 6)
        self.assertEqual(sorted(answers), ["false\n"] * 5 + ["true\n"])
        self.assertEqual(self.text("get", "lock"), f"p{answers.index('true' + chr(10))}\n")

    def test_an_expired_key_is_absent(self):
        self.run_tool("set-if-absent", "lock", "me", "--ttl", "1")
        limit = time.monotonic() + 30
        while self.text("set-if-absent", "lock", "you") == "false\n":
            self.assertLess(time.monotonic(), limit)
        self.assertEqual(self.text("get", "lock"), "you\n")


class Expiry(CliTest):
    def test_a_time_to_live_is_asked_for_and_changed(self):
        self.run_tool("put", "k", "value")
        self.assertEqual(self.text("ttl", "k"), "never\n")
        self.assertEqual(self.json("ttl", "k"), {"key": "k", "expires_in_ms": None})
        self.assertEqual(self.json("ttl", "k", "--set", "100"), {"changed": True})
        seconds = float(self.text("ttl", "k"))
        self.assertTrue(70 < seconds <= 100, seconds)
        self.assertTrue(70_000 < self.json("ttl", "k")["expires_in_ms"] <= 100_000)
        self.assertEqual(self.text("get", "k"), "value\n")
        self.run_tool("ttl", "k", "--never")
        self.assertEqual(self.text("ttl", "k"), "never\n")
        self.assertEqual(self.text("get", "k"), "value\n")

    def test_what_is_missing_or_wrong_is_told(self):
        self.run_tool("put", "k", "v")
        self.refuses("ttl", "none", code=2, saying="there is no key none")
        self.refuses("ttl", "none", "--set", "5", code=2, saying="there is no key none")
        self.refuses("ttl", "k", "--set", "0", saying="--set 0")
        self.refuses("ttl", "k", "--set", "5", "--never", saying="exclude each other")
        self.refuses("ttl", "k", "--cf", "nowhere", code=2, saying="there is no family nowhere")
        self.refuses("--read-only", "ttl", "k", "--set", "5", saying="reading only")

    def test_a_purge_removes_what_has_expired_and_says_how_many(self):
        self.run_tool("put", "--stdin", "--ttl", "1", stdin=b"a\t1\nb\t2\n")
        self.run_tool("put", "--stdin", "--ttl", "1", "--cf", "other", stdin=b"c\t1\n")
        self.run_tool("put", "stays", "1")
        limit = time.monotonic() + 30
        while self.json("list") != ["stays"] or self.json("list", "--cf", "other") != []:
            self.assertLess(time.monotonic(), limit)
        self.refuses("ttl", "a", code=2, saying="there is no key a")
        self.assertEqual(self.text("purge"), "2\n")
        self.assertEqual(self.json("purge"), {"purged": 0})
        self.assertEqual(self.json("stats")["keys"], {"default": 1, "other": 1})
        self.assertEqual(self.json("purge", "--all"), {"purged": 1})
        self.assertEqual(self.json("stats")["keys"], {"default": 1, "other": 0})
        self.refuses("purge", "--all", "--cf", "other", saying="exclude each other")


class Families(CliTest):
    def test_families_are_made_listed_cleared_and_dropped(self):
        self.assertEqual(self.json("cf", "create", "one"), {"created": True})
        self.assertEqual(self.text("cf", "create", "two"), "")
        self.assertEqual(self.text("cf", "list"), "one\ntwo\n")
        self.assertEqual(self.json("cf", "list"), ["one", "two"])
        for family in ("one", "two"):
            self.run_tool("put", "k", "v", "--cf", family)
        self.run_tool("put", "k", "v")
        self.assertEqual(self.json("clear", "--cf", "one"), {"cleared": True})
        self.assertEqual(self.json("stats")["keys"], {"default": 1, "one": 0, "two": 1})
        self.assertEqual(self.json("cf", "drop", "one"), {"dropped": True})
        self.assertEqual(self.json("cf", "list"), ["two"])
        self.refuses("get", "k", "--cf", "one", code=2, saying="there is no family one")
        self.assertEqual(self.text("get", "k", "--cf", "two"), "v\n")
        self.assertEqual(self.text("clear"), "")
        self.assertEqual(self.text("count"), "0\n")
        self.assertEqual(self.text("get", "k", "--cf", "two"), "v\n")

    def test_what_cannot_be_is_refused(self):
        self.run_tool("cf", "create", "one")
        self.run_tool("import", self.write("t.csv", "a\n1\n"), "--table", "t")
        self.refuses("cf", "create", "one", saying="the family was not made")
        self.refuses("cf", "create", "t", saying="the family was not made")
        self.refuses("cf", "create", "__hidden", saying="__")
        self.refuses("cf", "create", "n" * 256, saying="255")
        self.refuses("cf", "drop", "nowhere", code=2, saying="there is no family nowhere")
        self.refuses("cf", "drop", "t", saying="t is a table")
        self.refuses("clear", "--cf", "nowhere", code=2, saying="there is no family nowhere")
        for words in (["cf", "create"], ["cf", "list", "x"], ["cf", "rename", "one"], ["cf", "drop"]):
            self.refuses(*words, saying="cf list, cf create NAME or cf drop NAME")
        self.assertEqual(self.json("cf", "list"), ["one"])


class Care(CliTest):
    def test_statistics_are_lines_and_one_document(self):
        self.run_tool("put", "--stdin", stdin=b"".join(b"k%d\tv\n" % i for i in range(100)))
        stats = self.json("stats")
        self.assertEqual(stats["keys"], {"default": 100})
        self.assertEqual(stats["db_pages"] * 4096, self.store.stat().st_size)
        self.assertEqual(stats["file_bytes"], self.store.stat().st_size)
        lines = dict(line.split("\t") for line in self.text("stats").splitlines())
        self.assertEqual(lines.pop("keys of default"), "100")
        self.assertEqual(set(lines), set(stats) - {"keys"})

    def test_a_checkpoint_settles_what_a_program_still_holds_in_the_log(self):
        with subprocess.Popen(self.words("put", "--stdin", "--echo"), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as writer:
            writer.stdin.write(b"key\t" + b"v" * 100_000 + b"\n")
            writer.stdin.flush()
            self.assertEqual(writer.stdout.readline(), b"key\n")
            done = self.json("checkpoint", "--mode", "full")
            self.assertGreater(done["log_pages"], 100_000 // 4096)
            self.assertGreaterEqual(done["settled_pages"], 100_000 // 4096)
            self.assertEqual(self.json("sync"), {"synced": True})
            writer.stdin.close()
            self.assertEqual(writer.wait(), 0)
        for mode in ("passive", "full", "restart", "truncate"):
            self.assertRegex(self.text("checkpoint", "--mode", mode), r"\A\d+ pages in the log, \d+ settled\n\Z")
        self.refuses("checkpoint", "--mode", "hard", saying="--mode is passive, full, restart or truncate")
        self.assertEqual(self.text("sync"), "")
        self.assertEqual(len(self.text("get", "key")), 100_001)


class Vacuum(CliTest):
    def test_a_vacuum_gives_back_what_was_deleted(self):
        lines = b"".join(b"k%05d\t" % i + b"%05d" % (i * 7919) * 80 + b"\n" for i in range(5000))
        self.run_tool("put", "--stdin", "--batch", "5000", stdin=lines)
        full = self.store.stat().st_size
        # An eighth of the rows: not so much that the background gives it back before anybody asks.
        self.run_tool("txn", stdin=b"".join(b"del k%05d\n" % i for i in range(0, 5000, 8)))
        before = self.store.stat().st_size
        some = self.json("vacuum", "--pages", "10")
        self.assertEqual(some["db_pages"] * 4096, before - 10 * 4096)
        self.run_tool("clear")
        self.run_tool("vacuum")
        self.assertLess(self.store.stat().st_size, min(full, before) // 2)
        self.run_tool("put", "stays", "1")
        self.assertRegex(self.text("vacuum"), r"\A\d+ pages given back, \d+ left\n\Z")
        self.assertEqual(self.text("scan"), "stays\t1\n")
        self.assertEqual(self.text("check"), "ok\n")
        self.refuses("vacuum", "--pages", "0", saying="--pages 0")
        self.refuses("--read-only", "vacuum", saying="reading only")


class Backup(CliTest):
    def setUp(self):
        super().setUp()
        self.copy = self.directory / "copy.db"

    def of_copy(self, *words, **more):
        return self.text("--db", self.copy, *words, **more)

    def test_a_backup_is_a_store_of_its_own(self):
        self.run_tool("put", "--stdin", stdin=b"".join(b"k%d\tv\n" % i for i in range(1000)))
        done = self.json("backup", self.copy)
        self.assertEqual(done, {"backup": str(self.copy), "file_bytes": self.copy.stat().st_size})
        self.run_tool("put", "k1", "later")
        self.assertEqual(self.of_copy("count"), "1000\n")
        self.assertEqual(self.of_copy("get", "k1"), "v\n")
        self.assertEqual(self.of_copy("check"), "ok\n")
        self.assertEqual(self.text("backup", self.copy), f"{self.copy.stat().st_size} bytes in the backup\n")
        self.assertEqual(self.of_copy("get", "k1"), "later\n")
        self.assertEqual({path.name for path in self.directory.iterdir()}, {"test.db", "copy.db"})

    def test_it_holds_what_a_program_has_committed_that_still_writes(self):
        with subprocess.Popen(self.words("put", "--stdin", "--echo"), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as writer:
            writer.stdin.write(b"key\tvalue\n")
            writer.stdin.flush()
            self.assertEqual(writer.stdout.readline(), b"key\n")
            self.run_tool("backup", self.copy)
            writer.stdin.close()
            self.assertEqual(writer.wait(), 0)
        self.assertEqual(self.of_copy("get", "key"), "value\n")

    def test_what_is_no_older_backup_is_not_overwritten(self):
        self.run_tool("put", "k", "v")
        self.refuses("backup", self.store, saying="cannot be backed up over itself")
        link = self.directory / "link.db"
        link.symlink_to(self.store)
        self.refuses("backup", link, saying="cannot be backed up over itself")
        letter = self.write("letter", "Dear reader, " * 100)
        self.refuses("backup", letter, saying=["no backup was made", "is no store"])
        self.assertEqual(letter.read_text(), "Dear reader, " * 100)
        self.refuses("backup", self.directory, saying="no backup was made")
        self.refuses("backup", self.directory / "nowhere" / "copy", saying="no backup was made: ")
        self.assertIn("nowhere", self.errors)
        self.refuses("backup", "", saying="path")
        self.refuses("backup", saying="usage: colonnade --db FILE backup PATH")
        self.refuses("--read-only", "backup", self.copy, saying="only reads")
        self.refuses("--db", self.directory / "none", "backup", self.copy, saying="there is no store")
        with subprocess.Popen([str(cli_program.PROGRAM), "--db", str(self.copy), "put", "--stdin", "--echo"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            writer.stdin.write(b"key\tvalue\n")
            writer.stdin.flush()
            self.assertEqual(writer.stdout.readline(), b"key\n")
            self.refuses("backup", self.copy, saying="is an open store")
            writer.stdin.close()
            self.assertEqual(writer.wait(), 0)
        self.assertEqual(self.of_copy("scan"), "key\tvalue\n")
        self.assertEqual(self.text("scan"), "k\tv\n")

    def test_an_interrupted_one_leaves_nothing_behind(self):
        lines = b"".join(b"k%d\t" % i + os.urandom(30_000).hex().encode() + b"\n" for i in range(400))
        self.run_tool("put", "--stdin", "--batch", "400", stdin=lines)
        half = pathlib.Path(f"{self.copy}-backup")
        codes = set()
        for _ in range(20):  # now and then it is faster than the signal
            with subprocess.Popen(self.words("backup", self.copy), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE) as process:
                while not half.exists() and process.poll() is None:
                    pass
                process.send_signal(signal.SIGINT)
                errors = process.stderr.read()
            codes.add(process.returncode)
            self.assertEqual(self.copy.exists(), process.returncode == 0)
            self.assertFalse(half.exists())
            if process.returncode == 1:
                self.assertEqual(errors, b"colonnade: no backup was made: it was interrupted\n")
                break
            self.copy.unlink(missing_ok=True)
        self.assertIn(1, codes)
        self.assertLessEqual(codes, {0, 1})

    def test_the_backup_of_an_encrypted_store_has_its_password(self):
        password = ["--password-file", self.write("secret", "correct horse")]
        self.run_tool("put", "key", "canary", *password)
        self.refuses("backup", self.copy, "--password", "wrong", saying="cannot be opened")
        self.assertFalse(self.copy.exists())
        self.run_tool("backup", self.copy, *password)
        self.assertNotIn(b"canary", self.copy.read_bytes())
        self.refuses("--db", self.copy, "get", "key", "--password", "wrong", saying="cannot be opened")
        self.assertEqual(self.of_copy("get", "key", *password), "canary\n")

    def test_a_terminal_sees_no_more_than_the_answer_in_the_end(self):
        self.run_tool("put", "key", "value")
        shown = self.on_a_terminal("backup", self.copy)
        left = re.sub(r".*\r\x1b\[K", "", shown)
        self.assertEqual(left, f"{self.copy.stat().st_size} bytes in the backup\n")
        self.assertIn("backup [", shown)


class Rights(CliTest):
    def setUp(self):
        super().setUp()
        self.stranger = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        try:
            subprocess.run([cli_program.PROGRAM, "--version"], capture_output=True, check=True, **self.stranger)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("other users do not reach the program's directory")

    def as_stranger(self, mode, *words):
        """Exit code, answer and errors of the tool, run by a user to whom the store shows this mode."""
        self.store.chmod(mode)
        self.directory.chmod(0o755)
        done = subprocess.run(self.words(*words), capture_output=True, text=True, check=False, **self.stranger)
        return done.returncode, done.stdout, done.stderr

    def test_who_may_only_read_is_told_of_read_only(self):
        self.run_tool("put", "key", "value")
        for words in (["get", "key"], ["put", "key", "other"], ["vacuum"]):
            code, _, errors = self.as_stranger(0o444, *words)
            self.assertEqual(code, 1)
            self.assertRegex(errors, r"\Acolonnade: [^\n]*cannot be opened: [^\n]*; --read-only reads it [^\n]+\n\Z")
        self.assertEqual(self.as_stranger(0o444, "--read-only", "get", "key"), (0, "value\n", ""))

    def test_who_may_not_read_either_is_not(self):
        self.run_tool("put", "key", "value")
        code, _, errors = self.as_stranger(0, "get", "key")
        self.assertEqual(code, 1)
        self.assertIn("cannot be opened", errors)
        self.assertNotIn("--read-only", errors)


class Options(CliTest):
    def test_every_global_option_stands_before_or_after_the_command(self):
        options = ["--cf", "f", "--journal", "delete", "--sync=full", "--timeout", "100", "--wal-limit", "1",
                   "--cache-size", "500", "--page-size", "8192"]
        self.run_tool(*options, "put", "k", "v")
        self.assertEqual(self.text("get", "k", *options), "v\n")
        self.assertEqual(self.json("--cf", "f", "get", "k", "--journal=wal")["value"], "v")

    def test_values_that_cannot_be_are_refused(self):
        for option, value, saying in (("--journal", "paper", "--journal is one of wal|delete, not paper"),
                                      ("--sync", "", "--sync is one of"),
                                      ("--format", "json|text", "--format is one of"),
                                      ("--page-size", "5000", "a power of two is needed"),
                                      ("--page-size", "256", "from 512 to 65536"),
                                      ("--cache-size", "-1", "--cache-size -1"),
                                      ("--wal-limit", "many", "--wal-limit many"),
                                      ("--timeout", "1.5", "--timeout 1.5")):
            self.refuses(option, value, "put", "k", "v", saying=saying)
        self.assertFalse(self.store.exists())
        self.run_tool("put", "k", "v")
        self.refuses("info", "--cf", "x", saying="--cf means nothing to info")

    def test_a_timeout_of_nothing_fails_at_once_while_another_program_writes(self):
        self.run_tool("put", "k", "v")
        with subprocess.Popen(self.words("put", "--stdin", "--batch", "1000"), stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL) as writer:
            writer.stdin.write(b"a\t1\n")
            writer.stdin.flush()
            limit = time.monotonic() + 30
            while True:  # until the other one has its transaction open
                done = subprocess.run(self.words("--timeout", "0", "put", "b", "2"), capture_output=True, check=False)
                if done.returncode:
                    break
                self.assertLess(time.monotonic(), limit)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr.decode(), r"\Acolonnade: the value was not stored: [^\n]+\n\Z")
            self.assertEqual(self.text("get", "k"), "v\n")  # readers go on
            writer.stdin.close()
            self.assertEqual(writer.wait(), 0)

    def test_a_store_that_is_open_under_another_name_is_refused(self):
        with subprocess.Popen(self.words("put", "--stdin", "--echo"), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as writer:
            writer.stdin.write(b"a\t1\n")
            writer.stdin.flush()
            self.assertEqual(writer.stdout.readline(), b"a\n")
            alias = self.directory / "alias.db"
            alias.hardlink_to(self.store)
            words = [cli_program.PROGRAM, "--db", alias, "put", "b", "2"]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("cannot be opened", done.stderr)
            alias.unlink()
            writer.stdin.write(b"c\t3\n")
            writer.stdin.close()
            self.assertEqual(writer.stdout.read(), b"c\n")
            self.assertEqual(writer.wait(), 0)
        self.assertEqual(self.text("scan"), "a\t1\nc\t3\n")

    def test_an_answer_that_is_not_written_is_one_failure(self):
        self.run_tool("import", self.write("t.csv", "a\n" + "1\n" * 5000), "--table", "t")
        for words in (("query", "t"), ("export", "t"), ("export", "t", "--limit", "1"), ("stats",), ("help",),
                      ("--version",), ("help", "query"), ("manual",)):
            with open("/dev/full", "wb") as full:
                done = subprocess.run(self.words(*words), stdout=full, stderr=subprocess.PIPE, check=False)
            self.assertEqual(done.returncode, 1, words)
            self.assertRegex(done.stderr.decode(), r"\Acolonnade: [^\n]+ written: No space left on device\n\Z")

    def test_where_outputs_are_closed_nothing_is_written_into_the_store(self):
        self.run_tool("import", self.write("t.csv", "a\n" + "".join(f"{i}\n" for i in range(5000))), "--table", "t")
        before = pathlib.Path(self.store).read_bytes()
        for closed, words, code in ((">&-", ("query", "t"), 1), ("2>&-", ("query", "nowhere"), 2),
                                    (">&- 2>&-", ("export", "t"), 1),
                                    ("<&- >&- 2>&-", ("--format=json", "query", "t"), 1),
                                    ("<&-", ("put", "--stdin"), 1), ("<&-", ("txn",), 1)):
            shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *self.words(*words)]
            done = subprocess.run(shell, capture_output=True, check=False)
            self.assertEqual(done.returncode, code, (closed, words, done.stderr))
            self.assertEqual(pathlib.Path(self.store).read_bytes(), before, (closed, words))
        self.assertEqual(self.text("check"), "ok\n")

    def test_a_pipe_that_closes_early_ends_the_tool_quietly(self):
        self.run_tool("put", "--stdin", "--batch", "1000", stdin=b"".join(b"k%06d\tv\n" % i for i in range(50_000)))
        for words in (["scan"], ["list"], ["--format", "json", "scan"]):
            with subprocess.Popen(self.words(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as scan:
                self.assertTrue(scan.stdout.readline())
                scan.stdout.close()
                self.assertEqual(scan.stderr.read(), b"")
        self.assertEqual(self.text("check"), "ok\n")


if __name__ == "__main__":
    cli_program.main()
