"""Runs the command line tool as a user does. Each test has a directory and a store of its own."""

import json
import os
import pathlib
import pty
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = pathlib.Path()  # the first argument of the test


class CliTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="colonnade-cli-")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.store = self.directory / "test.db"

    def words(self, *arguments):
        return [str(PROGRAM), "--db", str(self.store), *map(str, arguments)]

    def run_tool(self, *arguments, code=0, stdin=b""):
        """Its standard output as bytes; checks the exit code and that errors are one sentence on stderr."""
        done = subprocess.run(self.words(*arguments), input=stdin, capture_output=True, check=False)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stderr.decode(errors='replace')}")
        self.errors = done.stderr.decode("utf-8")
        if code == 0:
            self.assertEqual(self.errors, "")
        elif self.errors:
            self.assertRegex(self.errors, re.compile(r"\Acolonnade: [^\n]+\n\Z"))
        return done.stdout

    def text(self, *arguments, code=0, stdin=b""):
        return self.run_tool(*arguments, code=code, stdin=stdin).decode("utf-8")

    def json(self, *arguments, code=0, stdin=b""):
        return json.loads(self.run_tool("--format", "json", *arguments, code=code, stdin=stdin))

    def refuses(self, *arguments, saying, code=1, stdin=b""):
        """A failure that says all of `saying`."""
        out = self.run_tool(*arguments, code=code, stdin=stdin)
        for part in [saying] if isinstance(saying, str) else saying:
            self.assertIn(part, self.errors)
        return out

    def on_a_terminal(self, *arguments):
        """What a terminal shows of a command that ends well, with \\n for line ends."""
        ours, its = pty.openpty()
        with subprocess.Popen(self.words(*arguments), stdin=its, stdout=its, stderr=its) as process:
            os.close(its)
            shown = b""
            while True:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
                if not piece:
                    break
                shown += piece
        os.close(ours)
        self.assertEqual(process.returncode, 0, shown)
        return shown.decode("utf-8").replace("\r\n", "\n")

    def write(self, name, content):
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path


def main():
    global PROGRAM
    PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
