#!/usr/bin/env python3
"""Checks the rules of the tree that no compiler knows: layers, includes, calls, words, documents.

    tools/tidy.py [ROOT]

Prints `path:line: rule: what` for each breach and exits with 1 when there is one. The rules are described in
CONTRIBUTING.md; the tables below are their exact form.
"""

import collections
import pathlib
import re
import subprocess
import sys

# What each library folder may include besides itself. Lowest first; those on one line of the drawing in
# docs/tour.md never see each other.
LAYERS = {
    "base": [],
    "os": ["base"],
    "simd": ["base"],
    "encodings": ["base", "simd"],
    "wal": ["base", "os"],
    "crypto": ["base", "os"],
    "rowstore": ["base", "os", "simd", "encodings"],
    "columnar": ["base", "os", "simd", "encodings"],
    "vector": ["base", "os", "simd", "encodings"],
    "engine": ["base", "os", "simd", "encodings", "wal", "crypto", "rowstore", "columnar", "vector"],
    "query": ["base", "os", "simd", "encodings", "wal", "crypto", "rowstore", "columnar", "vector", "engine"],
    "kvapi": ["base", "os", "engine", "query"],
}
PUBLIC = "include/colonnade"
SEES_PUBLIC_HEADERS = {"query", "kvapi"}
CLIENTS = {"cli", "bench", "examples", "python"}
# Tests that work on the whole library, from inside or through the public headers.
TESTS_OF_EVERYTHING = {"model", "crash", "golden"}
TESTS_OF_CLIENTS = {"api", "cli", "bench", "examples", "install", "tools"}
SUPPORT_SEES = ["base", "os"]

LIBC = {f"{name}.h" for name in """ctype errno float inttypes limits math stdalign stdarg stdatomic stdbool stddef
                                   stdint stdio stdlib stdnoreturn string""".split()}
PUBLIC_LIBC = {"stdbool.h", "stddef.h", "stdint.h", "stdlib.h"}
# Headers of libraries and processors: where each may be used.
FOREIGN = [
    (r"xxhash\.h", {"base"}),
    (r"immintrin\.h|simde/.*", {"base", "simd"}),
    (r"zstd\.h|zdict\.h|zstd_errors\.h", {"base", "encodings", "rowstore", "columnar"}),
    (r"roaring/.*", {"columnar", "engine", "query"}),
    (r"sodium\.h", {"crypto"}),
    (r"hnswlib/.*|[a-z_]+", {"vector"}),  # [a-z_]+: the C++ library, for the one C++ file
]

ALLOCATION = "malloc calloc realloc free aligned_alloc posix_memalign strdup strndup".split()
UNSAFE = "strcpy strcat sprintf vsprintf gets strtok alloca rand srand system atoi atol atof".split()
PRINTING = "printf vprintf puts putchar perror".split()
SYSTEM = """fsync fdatasync syncfs sync_file_range msync pread pwrite preadv pwritev mmap munmap mremap madvise
            ftruncate fallocate posix_fallocate flock fcntl fork vfork fopen getrandom clock_gettime gettimeofday
            nanosleep usleep syscall pthread_[a-z_]+""".split()
SLEEPING = "sleep usleep nanosleep clock_nanosleep".split()

# Written in two parts, so that this file keeps its own rule.
BANNED_WORDS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|\b[Pp]lace" r"holders?\b")

LINE_COLUMNS = 120
FILE_LINES = 800
C_SUFFIXES = {".c", ".h", ".cpp"}
SOURCE_SUFFIXES = C_SUFFIXES | {".py", ".sh", ".cmake"}
REQUIRED = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs/format.md", "docs/semantics.md",
            "docs/tour.md"]

# Documents whose names in backticks must be there: functions (words joined by _) and paths (words joined by /).
AT_ROOT = {".clang-format", ".clang-tidy", ".gitignore", "CHANGELOG.md", "CMakeLists.txt", "CMakePresets.json",
           "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"}
DOCUMENTS_WITH_FUNCTIONS = ["docs/tour.md"]
DOCUMENTS_WITH_PATHS = ["README.md", "CONTRIBUTING.md", "docs/tour.md"]
FUNCTION_NAME = re.compile(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?:\(\))?`")
QUOTE = re.compile(r"^<!-- (\S+) -->\n+```\w*\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
RULE_DEFINED = re.compile(r"^[ */]*-? *(?:\*\*)?([A-Z]+(?:-[A-Z]+)*-\d+)(?:\*\*|:)", flags=re.MULTILINE)
RULE_CITED = re.compile(r"\b([A-Z]+(?:-[A-Z]+)*)-\d+\b")
PATH_NAME = re.compile(r"`((?!build/)[\w.-]+(?:/[\w.-]+)*/?)`")

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
STRINGS_AND_COMMENTS = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', flags=re.DOTALL)


def calls(names):
    """Matches a call of one of the names that is not a member of something else."""
    return re.compile(r"(?<![\w.])(?<!->)(" + "|".join(names) + r")\s*\(")


RULES_FOR_CALLS = [  # rule, calls, folders (None: all), files where it is allowed, what to do instead
    ("unsafe-call", calls(UNSAFE), None, set(), "not used here"),
    ("allocation", calls(ALLOCATION), set(LAYERS), {"base/memory.c"}, "allocate through base/memory.h or an Arena"),
    ("printing", calls(PRINTING), set(LAYERS), set(), "a library does not print"),
    ("printing", calls(["fprintf", "vfprintf", "fputs"]), set(LAYERS), {"base/assert.c"}, "a library does not print"),
    ("abort", calls(["abort", "exit", "_exit", "_Exit"]), set(LAYERS), {"base/assert.c"}, "only assert_failed ends"),
    ("system-call", calls(SYSTEM), set(LAYERS) - {"os"}, set(), "only os/ knows the operating system"),
    ("sleep", calls(SLEEPING), {"tests"}, set(), "a test does not hope: wait for what it needs"),
]


class Tree:
    """The files of the tree, and what was found wrong with them."""

    def __init__(self, root):
        self.root = root
        self.breaches = []
        self.files = sorted(self.list_files())
        self.texts = {}

    def list_files(self):
        git = subprocess.run(["git", "-C", self.root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                             capture_output=True, text=True, check=False)
        if git.returncode == 0:
            names = set(filter(None, git.stdout.split("\0")))
        else:  # an unpacked archive
            names = {path.relative_to(self.root).as_posix() for path in self.root.rglob("*")}
            names = {name for name in names if not name.startswith("build/")}
        return [pathlib.PurePosixPath(name) for name in names if (self.root / name).is_file()]

    def text(self, path):
        if path not in self.texts:
            self.texts[path] = (self.root / path).read_bytes().decode("utf-8", errors="replace")
        return self.texts[path]

    def breach(self, path, line, rule, what):
        self.breaches.append((str(path), line, rule, what))

    def sources(self, suffixes):
        return [path for path in self.files if path.suffix in suffixes]


def folder_of(path):
    """The first folder of a path, `include/colonnade` for the public headers, "" at the root."""
    if path.as_posix().startswith(PUBLIC + "/"):
        return PUBLIC
    return path.parts[0] if len(path.parts) > 1 else ""


def test_folder_of(path):
    return path.parts[1] if path.parts[0] == "tests" and len(path.parts) > 2 else ""


def blanked(text):
    """The text without comments and strings, its lines where they were."""
    return STRINGS_AND_COMMENTS.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def below(folder):
    """A folder and everything that it, or what it sees, may include."""
    seen, waiting = set(), [folder]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(LAYERS[name])
    return seen


def allowed_folders(path):
    """The folders whose headers a file may include."""
    folder = folder_of(path)
    if folder in LAYERS:
        return {folder, *LAYERS[folder]} | ({PUBLIC} if folder in SEES_PUBLIC_HEADERS else set())
    if folder == PUBLIC:
        return {PUBLIC}
    if folder in CLIENTS:
        return {folder, PUBLIC}
    if folder == "tests":
        part = test_folder_of(path)
        if part == "support":
            return {"tests", PUBLIC, *SUPPORT_SEES}
        if part in LAYERS:
            return {"tests", PUBLIC, *below(part)} if part in SEES_PUBLIC_HEADERS else {"tests", *below(part)}
        if part in TESTS_OF_EVERYTHING:
            return {"tests", PUBLIC, *LAYERS}
        if part in TESTS_OF_CLIENTS:
            return {"tests", PUBLIC, part} if part in CLIENTS else {"tests", PUBLIC}
        return {"tests"}
    return {folder}


def check_quoted_include(tree, path, line, name):
    target = pathlib.PurePosixPath(name)
    if folder_of(path) == PUBLIC and len(target.parts) == 1:
        return  # a public header beside this one: found with either include path of an installed library
    if len(target.parts) == 1:
        tree.breach(path, line, "include-root", f'"{name}": includes are written from the root of the tree')
        return
    folder = PUBLIC if target.parts[0] == "colonnade" else target.parts[0]
    if folder_of(path) == "base" and name == "colonnade/kvstore_status.h":
        return
    if folder not in allowed_folders(path):
        tree.breach(path, line, "layer", f'"{name}": {path.parent} may not include {folder}')
    elif folder == "tests" and target.parts[1] not in (
            "support", test_folder_of(path), *LAYERS.get(test_folder_of(path), [])):
        tree.breach(path, line, "layer", f'"{name}": tests share tests/support, and what lies beside the folders below')
    private = name.endswith("_internal.h") and folder_of(path) != folder
    if private and not (folder_of(path) == "tests" and test_folder_of(path) == folder):
        tree.breach(path, line, "internal", f'"{name}": is private to {folder}')


def check_system_include(tree, path, line, name):
    folder = folder_of(path)
    if name.startswith("colonnade/"):
        check_quoted_include(tree, path, line, name)
    elif folder == PUBLIC:
        if name not in PUBLIC_LIBC:
            needed = ", ".join(sorted(PUBLIC_LIBC))
            tree.breach(path, line, "system-header", f"<{name}>: public headers need {needed} only")
    elif folder in LAYERS and folder != "os" and name not in LIBC:
        places = [folders for pattern, folders in FOREIGN if re.fullmatch(pattern, name)]
        if not places:
            tree.breach(path, line, "system-header", f"<{name}>: only os/ knows the operating system")
        elif not any(folder in folders for folders in places):
            allowed = sorted(set().union(*places))
            tree.breach(path, line, "foreign-header", f"<{name}>: belongs in {', '.join(allowed)}")


def check_includes(tree):
    for path in tree.sources(C_SUFFIXES):
        includes = []
        for number, line in enumerate(tree.text(path).split("\n"), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quoted, system = match.groups()
            includes.append(quoted or system)
            if quoted:
                check_quoted_include(tree, path, number, quoted)
            else:
                check_system_include(tree, path, number, system)
        own = path.with_suffix(".h")
        if path.suffix != ".h" and own in tree.files and includes[:1] != [own.as_posix()]:
            tree.breach(path, 1, "own-header", f'the first include is not "{own}"')


def check_calls(tree):
    for path in tree.sources({".c", ".h"}):
        code = blanked(tree.text(path))
        for rule, pattern, folders, exempt, instead in RULES_FOR_CALLS:
            if (folders is not None and folder_of(path) not in folders) or path.as_posix() in exempt:
                continue
            for match in pattern.finditer(code):
                tree.breach(path, line_of(code, match.start(1)), rule, f"{match.group(1)}(): {instead}")


def check_one_cpp_file(tree):
    for path in tree.sources({".cpp", ".cc", ".cxx", ".hpp", ".hh"}):
        if folder_of(path) in LAYERS and path.as_posix() != "vector/hnsw_shim.cpp":
            tree.breach(path, 1, "c-plus-plus", "C++ lives in vector/hnsw_shim.cpp alone")


def check_names(tree):
    places = collections.defaultdict(list)
    for path in tree.sources(C_SUFFIXES | {".py"}):
        if path.name != "__init__.py":
            places[path.name].append(path)
    for paths in places.values():
        for path in paths[1:]:
            tree.breach(path, 1, "unique-name", f"{paths[0]} has the same name")


def is_source(tree, path):
    return path.suffix in SOURCE_SUFFIXES or path.name == "CMakeLists.txt" or tree.text(path).startswith("#!")


def check_text(tree):
    for path in tree.files:
        if b"\0" in (tree.root / path).read_bytes()[:4096] or "corpus" in path.parts:
            continue
        lines = tree.text(path).split("\n")
        source = is_source(tree, path)
        for number, line in enumerate(lines, 1):
            for match in BANNED_WORDS.finditer(line):
                tree.breach(path, number, "word", f"{match.group()}: finish it, or file it")
            if source and len(line) > LINE_COLUMNS:
                tree.breach(path, number, "line-length", f"{len(line)} columns of at most {LINE_COLUMNS}")
            if source and line != line.rstrip():
                tree.breach(path, number, "white-space", "at the end of the line")
        if source and len(lines) - 1 > FILE_LINES:
            tree.breach(path, FILE_LINES, "file-length", f"{len(lines) - 1} lines of at most {FILE_LINES}")


def check_readmes(tree):
    folders = collections.defaultdict(list)
    for path in tree.files:
        code = path.suffix in C_SUFFIXES | {".py", ".sh"} or (len(path.parts) > 1 and tree.text(path).startswith("#!"))
        if code and not (path.parts[0] == "tests" and test_folder_of(path) != "support") and path.parts[0] != ".ci":
            folders[path.parent].append(path)
    if any(path.parts[0] == "tests" for path in tree.files):
        folders[pathlib.PurePosixPath("tests")] += []  # one README for all test folders but support, which has its own
    for folder, paths in sorted(folders.items()):
        readme = folder / "README.md"
        if readme not in tree.files:
            tree.breach(readme, 1, "readme", f"{folder} has none")
            continue
        words = set(re.findall(r"[\w.-]+", tree.text(readme)))
        for path in paths:
            if path.name not in words:
                tree.breach(path, 1, "readme", f"{readme} does not name it")


def check_documents(tree):
    for name in REQUIRED:
        if pathlib.PurePosixPath(name) not in tree.files:
            tree.breach(name, 1, "document", "is missing")
    if not any(path.parts[:2] == ("docs", "decisions") and path.suffix == ".md" for path in tree.files):
        tree.breach("docs/decisions", 1, "document", "holds no decision")


def check_root(tree):
    for path in tree.files:
        if len(path.parts) == 1 and path.name not in AT_ROOT:
            tree.breach(path, 1, "root", "is none of the files that lie at the root")


def check_quotes(tree):
    """A block of code behind `<!-- path -->` is that file, whole: what the README shows is what a test compiles."""
    for path in tree.sources({".md"}):
        for match in QUOTE.finditer(tree.text(path)):
            source, code = pathlib.PurePosixPath(match.group(1)), match.group(2)
            if source not in tree.files or tree.text(source) != code:
                tree.breach(path, line_of(tree.text(path), match.start()), "quote", f"this is not {source}")


def check_rules(tree):
    """A rule that is cited by its number is defined in a document: `- **VIS-3** ...`."""
    defined = set()
    for path in tree.sources({".md", ".h"}):
        defined.update(RULE_DEFINED.findall(tree.text(path)))
    families = {rule.rpartition("-")[0] for rule in defined}
    for path in tree.sources(C_SUFFIXES | {".md"}):
        for match in RULE_CITED.finditer(tree.text(path)):
            if match.group(1) in families and match.group() not in defined:
                line = line_of(tree.text(path), match.start())
                tree.breach(path, line, "rule", f"{match.group()} is defined nowhere")


def named_in(tree, name, pattern):
    path = pathlib.PurePosixPath(name)
    if path in tree.files:
        for match in pattern.finditer(tree.text(path)):
            yield path, line_of(tree.text(path), match.start()), match.group(1)


def check_named(tree):
    """What a document names in backticks exists, so that a renamed function or a moved file is mended there too."""
    functions = set()
    for path in tree.sources(C_SUFFIXES):
        functions.update(re.findall(r"\b([a-z]\w*)\s*\(", blanked(tree.text(path))))
    for name in DOCUMENTS_WITH_FUNCTIONS:
        for path, line, function in named_in(tree, name, FUNCTION_NAME):
            if function not in functions:
                tree.breach(path, line, "function-name", f"`{function}`: no function has this name")
    places = {place.as_posix() for path in tree.files for place in (path, *path.parents)}
    for name in DOCUMENTS_WITH_PATHS:
        for path, line, place in named_in(tree, name, PATH_NAME):
            if "/" in place and place.rstrip("/") not in places:
                tree.breach(path, line, "path-name", f"`{place}`: there is no such file or folder")


CHECKS = [check_includes, check_calls, check_one_cpp_file, check_names, check_text,
          check_readmes, check_documents, check_root, check_named, check_quotes,
          check_rules]


def main(arguments):
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 2
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parent.parent
    tree = Tree(root.resolve())
    for check in CHECKS:
        check(tree)
    for path, line, rule, what in sorted(set(tree.breaches)):
        print(f"{path}:{line}: {rule}: {what}")
    count = len(set(tree.breaches))
    print(f"tidy: {len(tree.files)} files, {count} {'breach' if count == 1 else 'breaches'}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
