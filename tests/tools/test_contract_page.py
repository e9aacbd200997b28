"""Every test that docs/contract.md names exists, and no promise is without a test or a reason."""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEST = re.compile(r"^TEST(?:_IN_BOTH_JOURNAL_MODES)?\((\w+), (\w+)\)", flags=re.MULTILINE)
NAMED = re.compile(r"`(\w+)/(\w+)`")
REASONS = ("We differ: ", "Not built yet", "measured by bench/", "a rule for the caller", "by the compiler, ",
           "the test check_install", "the tests test_cli_")


def rows(page):
    """The lines of the tables, as promise and proof."""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| ") and not cells[1].startswith(("shown by", "here, shown by")):
            yield cells


def faults(page, tests):
    found = []
    for cells in rows(page):
        if len(cells) != 2:
            found.append(f"not two cells: {cells[0]}")
            continue
        named = NAMED.findall(cells[1])
        found += [f"no such test: {suite}/{name}" for suite, name in named if (suite, name) not in tests]
        if not named and not any(reason in cells[1] for reason in REASONS):
            found.append(f"neither a test nor a reason: {cells[0]}")
    return found


class ContractPage(unittest.TestCase):
    def test_every_test_that_it_names_exists(self):
        tests = {match for path in (ROOT / "tests").rglob("test_*.c") for match in TEST.findall(path.read_text())}
        page = (ROOT / "docs" / "contract.md").read_text()
        self.assertGreater(len(list(rows(page))), 80)
        self.assertEqual(faults(page, tests), [])
        for name in re.findall(r"test_\w+\.(?:py|c)\b", page):
            self.assertTrue(list((ROOT / "tests").rglob(name)), name)

    def test_every_contract_test_is_named(self):
        page = (ROOT / "docs" / "contract.md").read_text()
        for path in sorted((ROOT / "tests" / "api").glob("test_contract_*.c")):
            for suite, name in TEST.findall(path.read_text()):
                self.assertIn(f"`{suite}/{name}`", page)

    def test_what_is_wrong_is_found(self):
        tests = {("suite", "there")}
        head = "| promise | shown by |\n|---|---|\n"
        self.assertEqual(faults(head + "| a | `suite/there` |\n| b | Not built yet |\n", tests), [])
        self.assertEqual(faults(head + "| a | `suite/gone` |\n", tests), ["no such test: suite/gone"])
        self.assertEqual(faults(head + "| a | surely |\n", tests), ["neither a test nor a reason: a"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
