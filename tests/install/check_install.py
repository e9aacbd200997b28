"""Installs into a fresh place, moves it, and builds strangers' programs against it: C and C++, by pkg-config and by
CMake, shared and static, with the header found as `"kvstore.h"` and as `<colonnade/kvstore.h>`; and runs them."""

import os
import pathlib
import subprocess
import sys
import tempfile

HEADERS_ALONE = """
{includes}
int main(void) {{ return KVSTORE_OK; }}
"""

# One text for both languages: a store in a file, a value, a table in the same transaction.
PROGRAM = """
#include "{include}kvstore.h"
#include "{include}kvtable.h"
#include <stdio.h>
#include <string.h>

static int rows(KVStore *kv) {{
  const KVColumnDefinition columns[] = {{ {{ "id", KVTABLE_TYPE_I64, 0, 0 }} }};
  const char *key[] = {{ "id" }};
  KVTable *table = NULL;
  KVValue row[] = {{ kvvalue_i64(7) }};
  uint64_t count = 0;
  int code = kvtable_create(kv, "numbers", columns, 1, key, 1, &table);
  if (code == KVSTORE_OK) code = kvtable_upsert(table, row, 1, 0);
  if (code == KVSTORE_OK) code = kvtable_count(table, &count);
  kvtable_close(table);
  return code == KVSTORE_OK && count == 1 ? KVSTORE_OK : KVSTORE_ERROR;
}}

int main(int argc, char **argv) {{
  KVStore *kv = NULL;
  void *value = NULL;
  int length = 0;
  if (argc != 2 || kvstore_open(argv[1], &kv, KVSTORE_JOURNAL_WAL) != KVSTORE_OK) return 1;
  int code = kvstore_begin(kv, 1);
  if (code == KVSTORE_OK) code = kvstore_put(kv, "key", 3, "value", 5);
  if (code == KVSTORE_OK) code = rows(kv);
  if (code == KVSTORE_OK) code = kvstore_commit(kv);
  if (code == KVSTORE_OK) code = kvstore_get(kv, "key", 3, &value, &length);
  if (code == KVSTORE_OK && (length != 5 || memcmp(value, "value", 5) != 0)) code = KVSTORE_ERROR;
  sqliteFree(value);
  if (code != KVSTORE_OK) fprintf(stderr, "%s\\n", kvstore_errmsg(kv));
  if (kvstore_close(kv) != KVSTORE_OK) return 2;
  if (code == KVSTORE_OK) puts("works");
  return code;
}}
"""

PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES {language})
find_package(colonnade {version} EXACT REQUIRED CONFIG)
find_package(colonnade {version} REQUIRED CONFIG) # asking twice is harmless
add_executable(shared {source})
target_link_libraries(shared PRIVATE colonnade::colonnade)
add_executable(static {source})
target_link_libraries(static PRIVATE colonnade::colonnade_static)
"""


def run(*command, **options):
    print("$", *command, flush=True)
    return subprocess.run([str(word) for word in command], check=True, **options)


class Installed:
    """An installed tree that was moved, and a place for programs."""

    def __init__(self, build, compilers, scratch):
        self.compilers = compilers  # language: (compiler, standard, suffix)
        self.scratch = scratch
        self.stores = 0
        run("cmake", "--install", build, "--prefix", scratch / "first", stdout=subprocess.DEVNULL)
        self.root = (scratch / "first").rename(scratch / "moved")
        self.libdir = next(self.root.rglob("colonnade.pc")).parent.parent
        self.cflags = self.pkg_config("--cflags")
        self.shared = self.pkg_config("--libs")

    def pkg_config(self, *arguments):
        directories = ":".join(str(path.parent) for path in self.root.rglob("colonnade.pc"))
        environment = dict(os.environ, PKG_CONFIG_PATH=directories)
        answer = run("pkg-config", *arguments, "colonnade", env=environment, capture_output=True, text=True)
        return answer.stdout.split()

    def compile(self, name, language, text, libraries):
        compiler, standard, suffix = self.compilers[language]
        source, program = self.scratch / (name + suffix), self.scratch / name
        source.write_text(text)
        run(compiler, standard, "-Wall", "-Wextra", "-pedantic", "-Werror", *self.cflags, source, "-o", program,
            *libraries)
        return program

    def run_program(self, program, *arguments, libraries=True):
        environment = dict(os.environ)
        if libraries:
            environment["LD_LIBRARY_PATH"] = str(self.libdir)
        else:
            environment.pop("LD_LIBRARY_PATH", None)
        return run(program, *arguments, env=environment, capture_output=True, text=True).stdout

    def works(self, program, libraries=True):
        store = self.scratch / f"{self.stores}.db"
        self.stores += 1
        answer = self.run_program(program, store, libraries=libraries)
        assert answer == "works\n", answer
        assert store.exists()


def needed(program):
    listing = run("objdump", "-p", program, capture_output=True, text=True).stdout
    return [line.split()[1] for line in listing.splitlines() if line.strip().startswith(("NEEDED", "SONAME"))]


def check_names(installed):
    """lib.so -> lib.so.0 -> lib.so.0.0.1, and programs ask for the middle one."""
    plain = installed.libdir / "libcolonnade.so"
    whole = plain.resolve()
    assert plain.is_symlink() and whole.name.startswith("libcolonnade.so."), whole
    assert whole.name.count(".") == 4, f"{whole.name}: not lib.so.MAJOR.MINOR.PATCH"
    assert (installed.libdir / "libcolonnade.so.0").resolve() == whole
    assert "libcolonnade.so.0" in needed(whole)
    assert installed.pkg_config("--modversion") == [whole.name.removeprefix("libcolonnade.so.")]
    return whole.name.removeprefix("libcolonnade.so.")


def check_headers(installed):
    """Each header stands alone, in both languages and under both names."""
    headers = sorted(path.name for path in (installed.root / "include" / "colonnade").iterdir())
    assert "kvstore.h" in headers and all(name.endswith(".h") for name in headers), headers
    for language in installed.compilers:
        for number, name in enumerate(headers):
            for form, include in enumerate((f"<colonnade/{name}>", f'"{name}"')):
                text = HEADERS_ALONE.format(includes=f"#include {include}\n#include <colonnade/kvstore_status.h>")
                program = installed.compile(f"alone_{language}_{number}_{form}", language, text, installed.shared)
                if number == 0:
                    installed.run_program(program)


def check_pkg_config(installed):
    for language in installed.compilers:
        for name, include in (("folder", "colonnade/"), ("plain", "")):
            program = installed.compile(f"shared_{language}_{name}", language, PROGRAM.format(include=include),
                                        installed.shared)
            assert "libcolonnade.so.0" in needed(program)
            installed.works(program)
        # Whole: every object of the archive, so that every private library must be named.
        whole = ["-Wl,--whole-archive", str(installed.libdir / "libcolonnade.a"), "-Wl,--no-whole-archive"]
        rest = [word for word in installed.pkg_config("--static", "--libs") if word != "-lcolonnade"]
        program = installed.compile(f"static_{language}", language, PROGRAM.format(include=""), whole + rest)
        assert "libcolonnade.so.0" not in needed(program)
        installed.works(program, libraries=False)


def check_cmake(installed, version):
    for language, (compiler, _, suffix) in installed.compilers.items():
        project = installed.scratch / f"project_{language}"
        project.mkdir()
        (project / f"main{suffix}").write_text(PROGRAM.format(include=""))
        (project / "CMakeLists.txt").write_text(
            PROJECT.format(language=language, version=version, source=f"main{suffix}"))
        run("cmake", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={installed.root}",
            f"-DCMAKE_{language}_COMPILER={compiler}", stdout=subprocess.DEVNULL)
        run("cmake", "--build", project / "build", stdout=subprocess.DEVNULL)
        assert "libcolonnade.so.0" in needed(project / "build" / "shared")
        assert "libcolonnade.so.0" not in needed(project / "build" / "static")
        for program in ("shared", "static"):  # the shared one was built with a path to its library
            installed.works(project / "build" / program, libraries=False)


def check_program(installed):
    answer = installed.run_program(installed.root / "bin" / "colonnade", "--version", libraries=False)
    assert answer.startswith("colonnade "), answer
    for place in ("share/man/man1/colonnade.1", "share/bash-completion/completions/colonnade",
                  "share/zsh/site-functions/_colonnade", "share/fish/vendor_completions.d/colonnade.fish"):
        assert "checkpoint" in (installed.root / place).read_text(), place


def main():
    build, c_compiler, cxx_compiler = sys.argv[1:]
    compilers = {"C": (c_compiler, "-std=c11", ".c"), "CXX": (cxx_compiler, "-std=c++11", ".cpp")}
    with tempfile.TemporaryDirectory() as scratch:
        installed = Installed(pathlib.Path(build), compilers, pathlib.Path(scratch))
        version = check_names(installed)
        check_headers(installed)
        check_pkg_config(installed)
        check_cmake(installed, version)
        check_program(installed)


if __name__ == "__main__":
    main()
