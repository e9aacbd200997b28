"""Files named after an instruction set are compiled for what base/processor.c asks the processor for, and no more: else
they run where an instruction of theirs means something else (SIMD-4)."""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def compiled_for(build):
    """The sets that the flags of each level name; those of AVX-512 begin with those of AVX2."""
    flags = dict(re.findall(r"set\(COLONNADE_FLAGS_(AVX2|AVX512) ([^)]*)\)", build))
    avx2 = set(re.findall(r" -m(\w+)", flags["AVX2"]))
    return avx2, avx2 | set(re.findall(r" -m(\w+)", flags["AVX512"]))


def asked_for(code):
    """The sets that a processor must have at each level."""
    asked = r'__builtin_cpu_supports\("(\w+)"\)'
    avx2 = set(re.findall(asked, re.search(r"bool avx2 = ([^;]*);", code).group(1)))
    return avx2, set(re.findall(asked, code))


class InstructionSets(unittest.TestCase):
    def test_flags_and_questions_name_the_same_sets(self):
        build = (ROOT / "cmake" / "Colonnade.cmake").read_text()
        code = (ROOT / "base" / "processor.c").read_text()
        self.assertIn("${COLONNADE_FLAGS_AVX2}", build)
        self.assertEqual(compiled_for(build), asked_for(code))
        self.assertTrue(all("avx" + level in sets for level, sets in zip(("2", "512f"), asked_for(code))))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
