#!/usr/bin/env python3
"""Encrypted stores from the command line: passwords from every source, and never where others see them."""

import os
import pathlib
import pty
import subprocess

import cli_program
from cli_program import CliTest


class Encryption(CliTest):
    def setUp(self):
        super().setUp()
        self.secret = self.write("secret", "correct horse\nsecond line\n")
        self.password = ["--password-file", self.secret]

    def tool(self, *words, environment=(), stdin=b"", code=0, saying=None):
        """Runs without a terminal, with variables of its own."""
        done = subprocess.run(self.words(*words), input=stdin, capture_output=True, check=False, start_new_session=True,
                              env={**os.environ, **dict(environment)})
        self.assertEqual(done.returncode, code, done.stderr)
        if saying:
            self.assertIn(saying, done.stderr.decode())
            self.assertEqual(done.stderr.count(b"\n"), 1)
        return done.stdout.decode()

    def test_a_store_is_encrypted_read_rekeyed_and_decrypted(self):
        self.run_tool("put", "key", "canary")
        self.assertEqual(self.json("encrypt", *self.password), {"encrypted": True})
        self.assertNotIn(b"canary", self.store.read_bytes())
        self.assertEqual(self.text("get", "key", *self.password), "canary\n")
        self.run_tool("put", "more", "values", *self.password)
        newer = self.write("newer", "battery staple")
        self.assertEqual(self.json("rekey", *self.password, "--new-password-file", newer), {"rekeyed": True})
        self.tool("get", "key", *self.password, code=1, saying="cannot be opened")
        self.assertEqual(self.text("get", "more", "--password", "battery staple"), "values\n")
        self.assertEqual(self.text("check", "--password-file", newer), "ok\n")
        self.assertEqual(self.json("decrypt", "--password-file", newer), {"decrypted": True})
        self.assertEqual(self.text("get", "key"), "canary\n")

    def test_a_new_store_is_encrypted_from_its_birth(self):
        self.run_tool("put", "key", "canary", *self.password)
        self.assertNotIn(b"canary", self.store.read_bytes())
        self.tool("get", "key", code=1, saying="a password is needed")
        self.assertEqual(self.text("get", "key", *self.password), "canary\n")

    def test_the_password_comes_from_each_source(self):
        self.run_tool("put", "key", "v", *self.password)
        self.assertEqual(self.text("get", "key", "--password", "correct horse"), "v\n")
        self.assertEqual(self.tool("get", "key", environment={"COLONNADE_PASSWORD": "correct horse"}), "v\n")
        self.assertEqual(self.tool("get", "key", "--password-file", "-", stdin=b"correct horse\n"), "v\n")
        self.assertEqual(self.tool("get", "key", *self.password, environment={"COLONNADE_PASSWORD": "wrong"}), "v\n")
        self.tool("rekey", *self.password, environment={"COLONNADE_NEW_PASSWORD": "x"})
        self.assertEqual(self.text("get", "key", "--password", "x"), "v\n")

    def test_what_cannot_be_is_told_and_changes_nothing(self):
        self.run_tool("put", "key", "v")
        plain = self.store.read_bytes()
        self.tool("get", "key", *self.password, code=1, saying="is not encrypted")
        self.tool("put", "key", "w", *self.password, code=1, saying="is not encrypted")
        self.tool("decrypt", code=1, saying="is not encrypted")
        self.tool("rekey", "--new-password", "x", code=1, saying="is not encrypted")
        self.tool("encrypt", code=1, saying="a password is needed")
        self.tool("encrypt", "--password", "", code=1, saying="the password is empty")
        self.tool("encrypt", "--password-file", self.directory / "none", code=1, saying="cannot be read")
        self.tool("encrypt", "--password", "x", *self.password, code=1, saying="exclude each other")
        self.assertEqual(self.store.read_bytes(), plain)
        self.assertEqual(self.tool("get", "key", environment={"COLONNADE_PASSWORD": "unused"}), "v\n")
        self.run_tool("encrypt", *self.password)
        self.tool("encrypt", *self.password, code=1, saying="is encrypted already")
        self.tool("get", "key", "--password", "wrong", code=1, saying="cannot be opened")
        self.tool("rekey", "--password", "wrong", "--new-password", "x", code=1, saying="cannot be opened")
        self.tool("decrypt", "--password", "wrong", code=1, saying="cannot be opened")
        self.tool("rekey", *self.password, code=1, saying="a password is needed")
        self.assertEqual(self.text("get", "key", *self.password), "v\n")
        self.assertEqual(self.refuses("encrypt", "--db", self.directory / "nowhere", saying="there is no store"), b"")

    def typed(self, *words, lines):
        """What a terminal shows while the lines are typed at its prompts, and the exit code."""
        child, terminal = pty.fork()
        if child == 0:
            os.execv(cli_program.PROGRAM, self.words(*words))
        shown = b""
        for line in lines:
            while not shown.rstrip(b"\r\n").endswith(b": "):
                shown += os.read(terminal, 1024)
            shown += b"|"
            os.write(terminal, line.encode() + b"\n")
        while True:
            try:
                piece = os.read(terminal, 1024)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        os.close(terminal)
        return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def test_a_terminal_is_asked_and_shows_nothing(self):
        self.run_tool("put", "key", "value")
        shown, code = self.typed("encrypt", lines=["hidden", "hidden"])
        self.assertEqual(code, 0, shown)
        self.assertNotIn("hidden", shown)
        shown, code = self.typed("get", "key", lines=["hidden"])
        self.assertEqual((code, shown.count("value")), (0, 1))
        self.assertNotIn("hidden", shown)
        shown, code = self.typed("get", "key", lines=["other"])
        self.assertEqual(code, 1)
        self.assertIn("cannot be opened", shown)
        shown, code = self.typed("rekey", lines=["hidden", "one", "two"])
        self.assertEqual(code, 1)
        self.assertIn("the two passwords differ", shown)
        self.assertEqual(self.text("get", "key", "--password", "hidden"), "value\n")

    def test_a_password_among_the_arguments_is_taken_out_of_them(self):
        self.run_tool("put", "key", "value", *self.password)
        words = self.words("put", "--stdin", "--echo", "--password", "correct horse")
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            writer.stdin.write(b"a\t1\n")
            writer.stdin.flush()
            self.assertEqual(writer.stdout.readline(), b"a\n")  # it has read its arguments
            shown = pathlib.Path(f"/proc/{writer.pid}/cmdline").read_bytes()
            self.assertIn(b"--password", shown)
            self.assertNotIn(b"horse", shown)
            writer.stdin.close()
            self.assertEqual(writer.wait(), 0)


if __name__ == "__main__":
    cli_program.main()
