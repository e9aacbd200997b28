"""Runs bench_columns_duckdb inside Python, whose symbols DuckDB's library needs: duckdb_host.py LIBRARY DIRECTORY ROWS

DuckDB's Python package is one shared library that also exports DuckDB's C functions. It is made visible to everything
loaded later; the benchmark is C from then on, and no Python runs while a clock does.
"""

import ctypes
import glob
import os
import pathlib
import sys


def main(library, directory, rows):
    import duckdb  # the first import initialises the library

    folder = pathlib.Path(duckdb.__file__).resolve().parent.parent
    names = glob.glob(str(folder / "_duckdb*.so")) + glob.glob(str(folder / "duckdb" / "*.so"))
    if not names:
        print('{"error": "the Python package duckdb has no library of its own"}', flush=True)
        return 1
    ctypes.CDLL(names[0], mode=os.RTLD_NOW | os.RTLD_GLOBAL)
    benchmark = ctypes.CDLL(library)
    return benchmark.columns_main(os.fsencode(directory), os.fsencode(rows))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
