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
