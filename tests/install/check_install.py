"""Installs into a fresh place, moves it, and builds C and C++ programs against it through pkg-config alone."""

import os
import pathlib
import subprocess
import sys
import tempfile

PROGRAM = """
{includes}
int main(void) {{ return KVSTORE_OK; }}
"""


def run(*command, **options):
    print("$", *command, flush=True)
    return subprocess.run([str(word) for word in command], check=True, **options)


def pkg_config(root, *arguments):
    directories = ":".join(str(path.parent) for path in root.rglob("colonnade.pc"))
    environment = dict(os.environ, PKG_CONFIG_PATH=directories)
    answer = run("pkg-config", *arguments, "colonnade", env=environment, capture_output=True, text=True)
    return answer.stdout.split()


def check(build, c_compiler, cxx_compiler, scratch):
    run("cmake", "--install", build, "--prefix", scratch / "first", stdout=subprocess.DEVNULL)
    root = (scratch / "first").rename(scratch / "moved")  # an installed tree must be free to move
    headers = sorted(path.name for path in (root / "include" / "colonnade").iterdir())
    libdir = next(root.rglob("colonnade.pc")).parent.parent
    cflags = pkg_config(root, "--cflags")

    def build_and_run(name, compiler, standard, includes, libraries):
        suffix = ".c" if "11" in standard and "++" not in standard else ".cpp"
        source, program = scratch / (name + suffix), scratch / name
        source.write_text(PROGRAM.format(includes=includes))
        run(compiler, standard, "-Wall", "-Wextra", "-pedantic", "-Werror", *cflags, source, "-o", program, *libraries)
        run(program, env=dict(os.environ, LD_LIBRARY_PATH=str(libdir)))

    shared = pkg_config(root, "--libs")
    whole = ["-Wl,--whole-archive", str(libdir / "libcolonnade.a"), "-Wl,--no-whole-archive"]
    static = [word for word in pkg_config(root, "--static", "--libs") if word != "-lcolonnade"]
    by_folder = "\n".join(f"#include <colonnade/{name}>" for name in headers)
    by_name = "\n".join(f'#include "{name}"' for name in headers)
    build_and_run("shared_c", c_compiler, "-std=c11", by_folder, shared)
    build_and_run("shared_cxx", cxx_compiler, "-std=c++11", by_name, shared)
    build_and_run("static_c", c_compiler, "-std=c11", by_name, whole + static)  # whole: every private library is named
    for number, name in enumerate(headers):  # each header stands alone, in both languages
        alone = f"#include <colonnade/{name}>\n#include <colonnade/kvstore_status.h>"
        build_and_run(f"alone_c_{number}", c_compiler, "-std=c11", alone, shared)
        build_and_run(f"alone_cxx_{number}", cxx_compiler, "-std=c++11", alone, shared)


def main():
    build, c_compiler, cxx_compiler = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        check(pathlib.Path(build), c_compiler, cxx_compiler, pathlib.Path(scratch))


if __name__ == "__main__":
    main()
