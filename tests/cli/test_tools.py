"""The tools of the repository."""
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


if __name__ == "__main__":
    unittest.main()
