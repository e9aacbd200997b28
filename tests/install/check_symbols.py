"""The libraries define for others exactly the functions that the public headers declare with KVSTORE_API."""

import pathlib
import re
import subprocess
import sys


def declared(include):
    names = set()
    for header in sorted(include.glob("*.h")):
        text = re.sub(r"/\*.*?\*/|//[^\n]*|^\s*#.*?(?<!\\)$", " ", header.read_text(), flags=re.S | re.M)
        names.update(re.findall(r"\bKVSTORE_API\b[^;{(]*?\b(\w+)\s*\(", text))
    return names


def exported(library):
    dynamic = ["-D"] if ".so" in library.name else []
    lines = subprocess.run(["nm", *dynamic, "--extern-only", "--defined-only", "-P", library],
                           check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[0] for line in lines if len(line.split()) >= 2}


def main():
    include = pathlib.Path(sys.argv[1])
    wanted = declared(include)
    if not wanted:
        print(f"{include}: no function is declared with KVSTORE_API")
        return 1
    failures = 0
    for library in map(pathlib.Path, sys.argv[2:]):
        found = exported(library)
        for name in sorted(found - wanted):
            print(f"{library}: exports {name}, which no public header declares")
        for name in sorted(wanted - found):
            print(f"{library}: does not define {name}, which a public header declares")
        failures += len(found ^ wanted)
        print(f"{library}: {len(found & wanted)} public functions")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
