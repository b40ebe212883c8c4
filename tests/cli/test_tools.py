"""The tools of the repository."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from program import SOURCE


class NewOp(unittest.TestCase):
    def test_writes_a_whole_folder_under_the_new_name(self):
        with tempfile.TemporaryDirectory() as d:
            tool = [sys.executable, SOURCE / "tools/new_op.py"]
            self.assertEqual(subprocess.run([*tool, "two_words", "--into", d], capture_output=True).returncode, 0)
            folder = pathlib.Path(d, "two_words")
            want = {f.name.replace("l2norm", "two_words") for f in (SOURCE / "ops/l2norm").iterdir()}
            self.assertEqual({f.name for f in folder.iterdir()}, want)
            for f in folder.iterdir():
                self.assertIsNone(re.search("l2norm|L2norm", f.read_text()), f.name)
            self.assertNotEqual(subprocess.run([*tool, "two_words", "--into", d], capture_output=True).returncode, 0)
            self.assertNotEqual(subprocess.run([*tool, "Bad-Name", "--into", d], capture_output=True).returncode, 0)


class CheckSass(unittest.TestCase):
    def test_never_passes_on_nothing(self):
        with tempfile.TemporaryDirectory() as d:
            r = subprocess.run([sys.executable, SOURCE / "tools/check_sass.py", d], capture_output=True, text=True)
        missing = "NOT CHECKED" in r.stdout
        self.assertEqual(r.returncode, 77 if missing else 1, r.stdout)


class Rounds(unittest.TestCase):
    def run_tool(self, *args):
        return subprocess.run([sys.executable, SOURCE / "tools/rounds.py", *args], capture_output=True, text=True)

    def test_takes_the_last_number_and_compares_within_a_round(self):
        r = self.run_tool("--rounds", "2", "a=echo 7 rows, 3.5", "b=echo 1.75e0")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("| b | 1.8 | 1.8 1.8 | 2.00 | 2.00 2.00 |", r.stdout)

    def test_ends_with_what_a_failing_command_said(self):
        r = self.run_tool("a=echo 1", "b=echo 5; echo no model >&2; false")
        self.assertNotEqual(r.returncode, 0)
        self.assertIn("no model", r.stderr)


class Peers(unittest.TestCase):
    def test_every_cell_has_a_time(self):
        files = list((SOURCE / "docs/performance").glob("peers-*.json"))
        self.assertTrue(files)
        for file in files:
            peers = json.loads(file.read_text())
            cells = [c["cell"] for c in peers["cells"]]
            self.assertEqual(len(cells), len(set(cells)), file)
            self.assertTrue(all(min(c["us"].values()) > 0 for c in peers["cells"]), file)
            self.assertEqual(set().union(*(c["us"] for c in peers["cells"])), set(peers["versions"]), file)


if __name__ == "__main__":
    unittest.main()
