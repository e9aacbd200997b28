#!/usr/bin/env python3
"""The help teaches: every command has one, and the examples in it work."""

import re
import shlex
import subprocess

import cli_program
from cli_program import CliTest

COMMANDS = """put get del exists list scan count set-if-absent ttl purge clear txn cf report columns import query
              get-row insert upsert update delete-row drop tables info stats check sync checkpoint vacuum backup
              encrypt decrypt rekey completion manual""".split()
FLIGHTS = """time_hour,carrier,flight,dep_delay
2013-01-01T10:00:00Z,UA,1545,2
2013-01-01T10:00:00Z,AA,1141,70
"""


def run(*arguments):
    return subprocess.run([str(cli_program.PROGRAM), *arguments], capture_output=True, text=True, check=False)


class Help(CliTest):
    def test_help_names_every_command(self):
        for words in (["--help"], ["help"]):
            done = run(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for command in COMMANDS:
                self.assertRegex(done.stdout, rf"(?m)^  {command} +\w")
            self.assertIn("Exit codes: 0 done, 1 error, 2 not found.", done.stdout)

    def test_every_command_has_a_help_with_an_example(self):
        for command in COMMANDS:
            help_of = run("help", command)
            self.assertEqual(help_of.returncode, 0)
            self.assertEqual(help_of.stdout, run(command, "--help").stdout)
            self.assertRegex(help_of.stdout, rf"(?m)^usage: colonnade (--db FILE )?{command}\b")
            self.assertLess(max(map(len, help_of.stdout.splitlines())), 120)
            self.assertRegex(help_of.stdout, rf"Example:\n  colonnade (--db \S+ )?{command}\b")

    def test_the_examples_run(self):
        (self.directory / "flights.csv").write_text(FLIGHTS)
        (self.directory / "airlines.csv").write_text("carrier,name\nUA,United\n")
        tool = cli_program.PROGRAM
        prepared = [str(tool), "--db", "air.db", "import", "airlines.csv", "--table", "airlines", "--key", "carrier"]
        self.assertEqual(subprocess.run(prepared, cwd=self.directory, check=False, capture_output=True).returncode, 0)
        prepared = [str(tool), "--db", "my.db", "put", "sensor/1/a", '{"temp": 20.5}', "--cf", "sensors"]
        self.assertEqual(subprocess.run(prepared, cwd=self.directory, check=False, capture_output=True).returncode, 0)
        for command in ("put get exists list scan count ttl set-if-absent purge del clear txn columns report "
                        "import query get-row "
                        "insert upsert update delete-row tables info stats sync checkpoint vacuum backup check drop "
                        "completion manual").split():
            example = re.search(r"Example:\n  (.*)", run("help", command).stdout).group(1)
            words = shlex.split(example)
            self.assertEqual(words[0], "colonnade")
            done = subprocess.run([str(tool), *words[1:]], cwd=self.directory, capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 0, f"{example}: {done.stderr}")

    def test_the_version_is_printed(self):
        done = run("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"\Acolonnade \d+\.\d+\.\d+\n\Z")

    def test_mistakes_of_the_command_line_are_told(self):
        mistakes = [
            ([], "--help"),
            (["frobnicate"], "no command frobnicate"),
            (["help", "frobnicate"], "no command frobnicate"),
            (["put", "a", "b"], "--db"),
            (["--db", "x.db", "get"], "usage: colonnade --db FILE get KEY"),
            (["--db", "x.db", "get", "a", "b"], "usage"),
            (["--db", "x.db", "get", "a", "--frob"], "no option --frob"),
            (["--db", "x.db", "--frob", "get", "a"], "no option --frob"),
            (["get", "a", "--db"], "--db needs a value"),
            (["--db", "x.db", "get", "a", "--raw=1"], "--raw takes no value"),
            (["--db", "x.db", "--format", "xml", "get", "a"], "--format"),
            (["--db", "x.db", "--sync", "often", "get", "a"], "--sync"),
            (["--db", "x.db", "--timeout", "soon", "get", "a"], "--timeout soon"),
            (["--db", "x.db", "scan", "--limit", "-1"], "--limit -1"),
            (["--db", "x.db", "put", "a", "b", "--ttl", "0"], "--ttl 0"),
            (["--db", "x.db", "put", "a"], "put takes a key and a value"),
            (["--db", "x.db", "import", "x.csv"], "--table"),
        ]
        for words, saying in mistakes:
            done = run(*words)
            self.assertEqual((done.returncode, done.stdout), (1, ""), words)
            self.assertIn(saying, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_a_store_that_is_missing_is_not_made_by_asking(self):
        for words in (["get", "a"], ["scan"], ["count"], ["exists", "a"], ["del", "a"], ["tables"], ["info"], ["check"],
                      ["query", "t"], ["get-row", "t", "a=1"], ["upsert", "t", "a=1"], ["drop", "t"]):
            self.refuses(*words, saying="there is no store")
            self.assertFalse(self.store.exists())

    def test_what_is_no_store_is_refused_and_left_alone(self):
        self.store.write_bytes(b"this is no store at all\n" * 1000)
        for words in (["get", "a"], ["put", "a", "b"], ["info"], ["check"]):
            self.refuses(*words, saying="cannot be opened")
        self.assertEqual(self.store.read_bytes(), b"this is no store at all\n" * 1000)
        self.store.unlink()
        self.store.mkdir()
        self.refuses("put", "a", "b", saying="cannot be opened")

    def test_a_damaged_store_does_not_pass_the_check(self):
        self.run_tool("put", "--stdin", stdin=b"".join(b"key%d\tvalue %d\n" % (i, i) for i in range(2000)))
        self.assertEqual(self.text("check"), "ok\n")
        content = bytearray(self.store.read_bytes())
        position = content.index(b"value 1234")
        content[position] ^= 1
        self.store.write_bytes(content)
        self.run_tool("check", code=1)
        self.assertRegex(self.errors, "damaged|cannot be opened")


if __name__ == "__main__":
    cli_program.main()
