"""Every rule of tools/tidy.py, broken once in a small tree that is otherwise clean."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

TIDY = pathlib.Path(__file__).resolve().parents[2] / "tools" / "tidy.py"

CLEAN = {
    "README.md": "The store.\n",
    "CHANGELOG.md": "Nothing yet.\n",
    "CONTRIBUTING.md": "Welcome.\n",
    "LICENSE": "MIT\n",
    "docs/format.md": "Bytes.\n",
    "docs/semantics.md": "Values.\n",
    "docs/tour.md": "A walk.\n",
    "docs/decisions/0001-one-file.md": "One file.\n",
    "include/colonnade/README.md": "kvstore.h and kvstore_status.h\n",
    "include/colonnade/kvstore.h": '#include <stdint.h>\n#include "kvstore_status.h"\n',
    "include/colonnade/kvstore_status.h": "#define KVSTORE_OK 0\n",
    "base/README.md": "- `memory.h`, `memory.c`: heap\n- `word.h`: words\n",
    "base/memory.h": '#include <stddef.h>\n#include "colonnade/kvstore_status.h"\nvoid *take(size_t size);\n',
    "base/memory.c": '#include "base/memory.h"\nvoid *take(size_t size) { return malloc(size); }\n',
    "base/word.h": "typedef int Word;\n",
    "os/README.md": "`file.c`\n",
    "os/file.c": '#include <unistd.h>\n#include "base/word.h"\nint sync_it(int fd) { return fsync(fd); }\n',
    "wal/README.md": "`wal.h`, `wal.c`, `wal_internal.h`\n",
    "wal/wal.h": '#include "base/word.h"\n',
    "wal/wal.c": '#include "wal/wal.h"\n#include "wal/wal_internal.h"\n/* never printf("x") */\n',
    "wal/wal_internal.h": "typedef struct Ring { int (*fsync)(int); } Ring;\n",
    "cli/README.md": "`main.c`\n",
    "cli/main.c": '#include <colonnade/kvstore.h>\nint main(void) { return printf("hello") < 0; }\n',
    "tests/README.md": "How the tests lie.\n",
    "tests/support/README.md": "`test.h`\n",
    "tests/support/test.h": '#include "base/word.h"\n',
    "tests/wal/test_wal.c": '#include "wal/wal_internal.h"\n#include "base/word.h"\n#include "tests/support/test.h"\n',
    "tests/api/test_open.c": '#include "colonnade/kvstore.h"\n#include "tests/support/test.h"\n',
}


def tidy(files):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        run = subprocess.run([sys.executable, TIDY, root], capture_output=True, text=True, check=False)
    return run.returncode, run.stdout.splitlines()


class Tidy(unittest.TestCase):
    def breaks(self, expected, **changes):
        """A clean tree with some files changed (None: left out) has this one breach and no other."""
        files = {**CLEAN, **{name: text for name, text in changes.pop("files").items()}}
        code, lines = tidy({name: text for name, text in files.items() if text is not None})
        self.assertEqual(code, 1, lines)
        self.assertEqual(len(lines), 2, lines)
        self.assertTrue(lines[0].startswith(expected), lines[0])

    def changed(self, name, text, expected):
        self.breaks(expected, files={name: text})

    def added(self, name, text, expected):
        """A source added to the tree, and named where it must be."""
        readme = str(pathlib.PurePosixPath(name).parent / "README.md")
        known = CLEAN.get(readme)
        self.breaks(expected, files={name: text, **({readme: known + pathlib.Path(name).name} if known else {})})

    def test_a_clean_tree_has_no_breach(self):
        code, lines = tidy(CLEAN)
        self.assertEqual(code, 0, lines)
        self.assertEqual(lines, [f"tidy: {len(CLEAN)} files, 0 breaches"])

    def test_a_layer_may_not_look_up_nor_sideways(self):
        self.added("base/up.c", '\n#include "wal/wal.h"\n', "base/up.c:2: layer:")
        self.added("os/side.c", '#include "simd/kernels.h"\n', "os/side.c:1: layer:")
        self.added("wal/public.c", '#include "colonnade/kvstore.h"\n', "wal/public.c:1: layer:")

    def test_clients_see_the_public_headers_alone(self):
        self.added("cli/peek.c", '#include "base/word.h"\n', "cli/peek.c:1: layer:")
        self.added("tests/api/test_peek.c", '#include "wal/wal.h"\n', "tests/api/test_peek.c:1: layer:")

    def test_a_test_sees_its_folder_and_what_lies_below(self):
        self.added("tests/base/test_word.c", '#include "wal/wal.h"\n', "tests/base/test_word.c:1: layer:")
        self.added("tests/base/test_word.c", '#include "tests/wal/shared.h"\n', "tests/base/test_word.c:1: layer:")

    def test_internal_headers_stay_in_their_folder(self):
        files = {"engine/README.md": "engine.c", "engine/engine.c": '#include "wal/wal_internal.h"\n'}
        self.breaks("engine/engine.c:1: internal:", files=files)

    def test_system_headers_belong_to_os(self):
        self.added("wal/direct.c", "#include <unistd.h>\n", "wal/direct.c:1: system-header:")
        self.added("include/colonnade/odd.h", "#include <string.h>\n", "include/colonnade/odd.h:1: system-header:")

    def test_foreign_headers_have_their_folders(self):
        self.added("wal/packed.c", "#include <zstd.h>\n", "wal/packed.c:1: foreign-header:")

    def test_includes_are_written_from_the_root(self):
        self.added("wal/ring.c", '#include "wal.h"\n', "wal/ring.c:1: include-root:")

    def test_own_header_comes_first(self):
        self.changed("wal/wal.c", '#include "wal/wal_internal.h"\n#include "wal/wal.h"\n', "wal/wal.c:1: own-header:")

    def test_file_names_are_unique(self):
        self.added("wal/memory.c", "int unique;\n", "wal/memory.c:1: unique-name: base/memory.c")

    def test_calls_that_belong_elsewhere(self):
        for call, rule in [("malloc(1)", "allocation"), ("free(p)", "allocation"), ("strcpy(a, b)", "unsafe-call"),
                           ("sprintf(a, b)", "unsafe-call"), ("gets(a)", "unsafe-call"),
                           ("strtok(a, b)", "unsafe-call"), ("alloca(9)", "unsafe-call"),
                           ("rand()", "unsafe-call"), ("system(a)", "unsafe-call"),
                           ("printf(a)", "printing"), ("fprintf(a, b)", "printing"), ("abort()", "abort"),
                           ("fsync(1)", "system-call"), ("fdatasync(1)", "system-call"), ("mmap(a)", "system-call"),
                           ("pthread_self()", "system-call")]:
            with self.subTest(call=call):
                text = f"void f(void);\nvoid f(void) {{\n  {call};\n}}\n"
                self.added("wal/calls.c", text, f"wal/calls.c:3: {rule}: {call.split('(')[0]}()")

    def test_unsafe_calls_are_banned_in_clients_and_tests_too(self):
        self.added("cli/calls.c", "int f(void) { return rand(); }\n", "cli/calls.c:1: unsafe-call:")
        self.added("tests/wal/test_x.c", "int f(void) { return rand(); }\n", "tests/wal/test_x.c:1: unsafe-call:")

    def test_tests_do_not_sleep(self):
        self.added("tests/wal/test_x.c", "void f(void) { usleep(9); }\n", "tests/wal/test_x.c:1: sleep:")

    def test_members_comments_and_strings_are_not_calls(self):
        text = 'int f(Ring *r) { return r->fsync(1); } /* malloc(1) */\nconst char *s = "free(p)"; // abort()\n'
        code, lines = tidy({**CLEAN, "wal/wal_internal.h": text})
        self.assertEqual(code, 0, lines)

    def test_banned_words(self):
        for word in ["TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK", "place" "holder"]:
            with self.subTest(word=word):
                self.changed("docs/tour.md", f"A walk.\n{word}: more\n", "docs/tour.md:2: word: " + word)

    def test_long_lines_long_files_and_white_space(self):
        self.changed("base/word.h", "/* " + "é" * 118 + " */\n", "base/word.h:1: line-length: 124 columns")
        self.changed("base/word.h", "\n" * 801, "base/word.h:800: file-length: 801 lines")
        self.changed("base/word.h", "typedef int Word; \n", "base/word.h:1: white-space:")
        code, lines = tidy({**CLEAN, "base/word.h": "/* " + "é" * 114 + " */\n" + "\n" * 799})
        self.assertEqual(code, 0, lines)

    def test_folders_have_readmes_that_name_their_files(self):
        self.breaks("wal/README.md:1: readme:", files={"wal/README.md": None})
        self.breaks("wal/ring.c:1: readme:", files={"wal/ring.c": "int ring;\n"})
        self.breaks("tests/README.md:1: readme:", files={"tests/README.md": None})

    def test_documents_are_there(self):
        for name in ["README.md", "CHANGELOG.md", "docs/format.md", "docs/semantics.md", "docs/tour.md"]:
            with self.subTest(name=name):
                self.breaks(f"{name}:1: document:", files={name: None})
        self.breaks("docs/decisions:1: document:", files={"docs/decisions/0001-one-file.md": None})

    def test_what_the_documents_name_exists(self):
        tour = "docs/tour.md:2: function-name:"
        self.breaks(tour, files={"docs/tour.md": "`sync_it`, then `take_it`, which\n`sync_them` follows.\n",
                                 "os/take.h": "int take_it(void);\n", "os/README.md": "`file.c`, `take.h`\n"})
        self.breaks("README.md:1: path-name:", files={"README.md": "See `docs/tour.md`, `docs/map.md`.\n"})

    def test_nothing_else_lies_at_the_root(self):
        self.added("NOTES.txt", "Look here.\n", "NOTES.txt:1: root: ")

    def test_cited_rules_are_defined(self):
        readme = CLEAN["wal/README.md"] + "- **LOG-1** One record a transaction.\n"
        code = CLEAN["wal/wal.c"] + "/* LOG-1, AVX-512 */\n/* LOG-2 */\n"
        self.breaks("wal/wal.c:5: rule:", files={"wal/README.md": readme, "wal/wal.c": code})

    def test_a_quoted_file_is_that_file(self):
        main = CLEAN["cli/main.c"]
        for quoted in (main.replace("hello", "hullo"), "", main + "\n"):
            text = f"Begin:\n\n<!-- cli/main.c -->\n```c\n{quoted}```\n"
            self.breaks("README.md:3: quote:", files={"README.md": text})
        self.breaks("README.md:3: quote:", files={"README.md": text.replace("main.c", "none.c")})
        code, lines = tidy({**CLEAN, "README.md": f"<!-- cli/main.c -->\n```c\n{main}```\n"})
        self.assertEqual(code, 0, lines)

    def test_c_plus_plus_lives_in_one_file(self):
        self.added("wal/odd.cpp", "int odd;\n", "wal/odd.cpp:1: c-plus-plus:")


if __name__ == "__main__":
    unittest.main()
