#!/usr/bin/env python3
"""The manual page and the shells' completions: nothing is missing, and the programs that read them do not complain."""

import os
import re
import shutil
import subprocess

import cli_program
from cli_program import CliTest


def tool(*words):
    return subprocess.run([str(cli_program.PROGRAM), *words], capture_output=True, text=True, check=True).stdout


def commands():
    """What the help lists, with the options of each; those of every command under ""."""
    listing = tool("--help")
    names = re.findall(r"(?m)^  ([a-z-]+) +\w", listing.split("Commands (")[1].split("\nOptions of")[0])
    found = {name: set(re.findall(r"(?m)^  --([a-z-]+)", tool("help", name))) for name in names}
    found[""] = set(re.findall(r"(?m)^  --([a-z-]+)", listing))
    return found


class Manual(CliTest):
    def test_the_manual_names_every_command_and_option(self):
        page = tool("manual").replace("\\-", "-")
        found = commands()
        self.assertGreater(len(found), 25)
        sections = dict(re.findall(r"(?ms)^\.SS (\S+)[^\n]*\n(.*?)(?=^\.S[SH] )", page))
        self.assertEqual(set(sections), set(found) - {""})
        sections[""] = page.split(".SH OPTIONS")[1].split(".SH COMMANDS")[0]
        for name, options in found.items():
            self.assertEqual(set(re.findall(r"(?m)^\\fB--([a-z-]+)\\fR", sections[name])), options, name)
        for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES"):
            self.assertIn(f"\n.SH {section}\n", page)

    def test_it_is_rendered_without_a_warning(self):
        page = self.write("colonnade.1", tool("manual"))
        renderers = {"groff": ["groff", "-man", "-ww", "-Tutf8"], "man": ["man", "--warnings", "-l"],
                     "mandoc": ["mandoc", "-Wwarning", "-Tutf8"]}
        there = [words for name, words in renderers.items() if shutil.which(name)]
        if not there:
            self.skipTest("neither groff nor man nor mandoc is installed")
        for words in there:
            done = subprocess.run([*words, str(page)], capture_output=True, text=True, check=False,
                                  env=dict(os.environ, MANWIDTH="100", MANPAGER="cat", LC_ALL="C.UTF-8"))
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            text = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
            self.assertIn("""query flights --where "dep_delay > 60 and carrier = 'UA'" --count""", text)


class Completion(CliTest):
    def bash(self, line):
        """What bash offers at the end of the line."""
        script = self.write("completion.bash", tool("completion", "bash"))
        words = re.findall(r"[^ =]+|=", line) + ([""] if line.endswith((" ", "=")) else [])
        program = f"""
            set -u; source {script}; complete -p colonnade > /dev/null || exit 3
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _colonnade; printf '%s\\n' "${{COMPREPLY[@]}}" """
        done = subprocess.run(["bash", "-c", program, "bash", *words], capture_output=True, text=True, check=True,
                              cwd=self.directory)
        self.assertEqual(done.stderr, "")
        return set(done.stdout.split())

    def test_bash_offers_commands_options_and_values(self):
        found = commands()
        (self.directory / "my.db").touch()
        self.assertEqual(self.bash("colonnade "), set(found) - {""} | {"help"})
        self.assertEqual(self.bash("colonnade --db my.db pu"), {"put", "purge"})
        self.assertEqual(self.bash("colonnade --db=my.db pu"), {"put", "purge"})
        self.assertEqual(self.bash("colonnade help tx"), {"txn"})
        self.assertEqual(self.bash("colonnade --db m"), {"my.db"})
        self.assertEqual(self.bash("colonnade --format "), {"text", "aligned", "json"})
        self.assertEqual(self.bash("colonnade get k --format=j"), {"json"})
        self.assertEqual(self.bash("colonnade get k --format="), {"text", "aligned", "json"})
        self.assertEqual(self.bash("colonnade checkpoint --mode t"), {"truncate"})
        self.assertEqual(self.bash("colonnade cf "), {"list", "create", "drop"})
        self.assertEqual(self.bash("colonnade completion "), {"bash", "zsh", "fish"})
        self.assertEqual(self.bash("colonnade put --ttl "), set())
        for name, options in found.items():
            expected = {f"--{option}" for option in options | found[""]}
            self.assertEqual(self.bash(f"colonnade {name} --".replace("  ", " ")), expected, name)

    def test_zsh_takes_the_script(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh is not installed")
        script = self.write("_colonnade", tool("completion", "zsh"))
        program = f"autoload -U compinit && compinit -u -D; source {script}; print -r -- $_comps[colonnade]"
        done = subprocess.run(["zsh", "-f", "-c", program], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("colonnade", done.stdout)

    def test_fish_offers_the_same(self):
        if not shutil.which("fish"):
            self.skipTest("fish is not installed")
        script = self.write("colonnade.fish", tool("completion", "fish"))

        def offered(line):
            program = f"source {script}; complete -C '{line}'"
            done = subprocess.run(["fish", "--no-config", "-c", program], capture_output=True, text=True, check=True,
                                  env=dict(os.environ, HOME=str(self.directory)))
            self.assertEqual(done.stderr, "")
            return {row.split("\t")[0] for row in done.stdout.splitlines()}

        found = commands()
        self.assertEqual(offered("colonnade "), set(found) - {""} | {"help"})
        self.assertEqual(offered("colonnade --format "), {"text", "aligned", "json"})
        self.assertEqual(offered("colonnade checkpoint --mode t"), {"truncate"})
        self.assertTrue({f"--{option}" for option in found["put"]} <= offered("colonnade put --"))

    def test_another_shell_is_refused(self):
        self.refuses("completion", "tcsh", saying="completion is for bash, zsh or fish, not tcsh")


if __name__ == "__main__":
    cli_program.main()
