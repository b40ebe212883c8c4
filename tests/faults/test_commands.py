"""The command line while the nth of its allocations or reads fails: the same output as without, or one line and exit code 1."""

import concurrent.futures
import errno
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "cli"))

from failing_calls import ALLOCATION, EVERY, FOREVER, READ, SHORT, Faults, sample
from program import Checkpoint, DEMO, PROGRAM, QUICK, read_safetensors, write_safetensors

MODEL = DEMO / "model"
PATIENCE = 120  # seconds; a program that hangs
DENSE, SPREAD = (6, 1) if QUICK else (10, 3)


def split_in_shards(c):
    """The checkpoint's tensors in two files with an index."""
    tensors = c.tensors()
    (c.dir / "model.safetensors").unlink()
    shards = {f"model-0000{i + 1}-of-00002.safetensors": list(tensors)[i::2] for i in range(2)}
    for shard, names in shards.items():
        write_safetensors(c.dir / shard, {n: tensors[n] for n in names})
    weight_map = {n: shard for shard, names in shards.items() for n in names}
    (c.dir / "model.safetensors.index.json").write_text("{}")
    c.edit_json("model.safetensors.index.json", lambda v: v.update(metadata={}, weight_map=weight_map))


class Outcome:
    def __init__(self, arguments, kind=0, first=0, count=0, error=0, stdin="", result=lambda stdout: stdout):
        faults = Faults()
        faults.arm(kind, first, count, error)
        r = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, input=stdin, env=faults.environment, timeout=PATIENCE)
        self.code, self.stderr, self.first = r.returncode, r.stderr, first
        self.result = result(r.stdout) if r.returncode == 0 else None
        self.allocations, self.reads, self.failed = faults["allocations"], faults["reads"], faults["failed"]
        faults.close()


class FailingCalls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.command_line = Outcome(["--version"]).allocations  # what it takes to read any command line

    def sweep(self, arguments, kind, calls, same, count=1, error=errno.EIO, begin=0, **options):
        """Calls begin + 1 to `calls` fail, each in a run of its own, or some of them (see sample). Says how many runs ended with an error."""
        chosen = [begin + n for n in sample(calls - begin, DENSE, SPREAD)] if kind == ALLOCATION else range(1, calls + 1)

        def run(n):
            return Outcome(arguments, kind, n, count, error, **options)

        errors = 0
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for o in pool.map(run, chosen):
                what = f"{arguments}: {'allocation' if kind == ALLOCATION else 'read'} {o.first}, {count} in all, error {error}: "
                self.assertGreater(o.failed, 0, what + "was not reached")
                if o.code == 0:
                    self.assertEqual((o.result, o.stderr), (same.result, same.stderr), what)
                    continue
                errors += 1
                self.assertEqual(o.code, 1, what + o.stderr)
                self.assertRegex(o.stderr, r"^sluice: error: [^\n]*\n$", what)
                if kind == ALLOCATION:
                    self.assertIn("out of memory", o.stderr, what)
        return errors

    def endures(self, *arguments, reads=True, **options):
        same = Outcome(arguments, **options)
        self.assertEqual(same.code, 0, same.stderr)
        begin = self.command_line if same.allocations > self.command_line else 0
        for count in (1, FOREVER):
            errors = self.sweep(arguments, ALLOCATION, same.allocations, same, count=count, begin=begin, **options)
            self.assertGreater(errors, 0)
        if reads:
            errors = self.sweep(arguments, READ, same.reads, same, **options)
            self.assertGreater(errors, 0)
            for error, count in ((errno.EINTR, 1), (SHORT, 1), (SHORT, FOREVER)):
                errors = self.sweep(arguments, READ, same.reads, same, error=error, count=count, **options)
                self.assertEqual(errors, 0, "a read that is interrupted or short is no error")
        return same

    def test_the_command_line(self):
        self.endures("--version", reads=False)

    def test_inspect(self):
        self.endures("inspect", MODEL, "--tensors")

    def test_inspect_shards(self):
        with Checkpoint() as c:
            split_in_shards(c)
            same = self.endures("inspect", c.dir, "--tensors")
        self.assertEqual(sorted(same.result.splitlines()), sorted(Outcome(["inspect", MODEL, "--tensors"]).result.splitlines()))

    def test_tokenize(self):
        self.endures("tokenize", MODEL, "--text", "What is 494 + 92?", "--json")

    def test_tokenize_standard_input(self):
        self.endures("tokenize", MODEL, "--json", stdin="What is 494 + 92? " * 2000)

    def test_tokenize_with_another_pattern(self):
        # One that no scanner of ours knows: a regular expression, with memory of its own.
        with Checkpoint() as c:
            c.edit_json("tokenizer.json", lambda v: v["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\p{L}+(?=\s)|[^\p{L}]|\p{L}"))
            self.endures("tokenize", c.dir, "--text", "What is 494 + 92?", "--json")

    def test_run(self):
        for threads in (1, 2):
            self.endures("run", MODEL, "--threads", threads, "-n", 4, "-p", "Add 494 and 92.", reads=threads == 1)

    def test_run_with_a_prompt_file(self):
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("Add 494 and 92. " * 40)
            f.flush()
            same = self.endures("run", MODEL, "--threads", 1, "-n", 2, "--prompt-file", f.name, "--raw")
        self.assertEqual(same.result, Outcome(["run", MODEL, "-n", 2, "-p", "Add 494 and 92. " * 40, "--raw"]).result)

    def test_score(self):
        with tempfile.TemporaryDirectory() as folder:
            ids = pathlib.Path(folder, "ids")
            ids.write_text("1 2 3 4 5")

            def score(n):
                return "score", MODEL, "--threads", 1, "--ids-file", ids, "--out", pathlib.Path(folder, f"{n}.safetensors")

            same = Outcome(score("same"))
            self.assertEqual(same.code, 0, same.stderr)
            # Runs beside one another write files of their own, here one after the other.
            for kind, calls, begin in ((ALLOCATION, same.allocations, self.command_line), (READ, same.reads, 0)):
                for n in [begin + n for n in sample(calls - begin, DENSE, SPREAD)]:
                    o = Outcome(score(n), kind, n, 1, errno.EIO)
                    self.assertIn(o.code, (0, 1), o.stderr)
                    out = pathlib.Path(folder, f"{n}.safetensors")
                    self.assertEqual(out.exists(), o.code == 0)
                    if o.code == 0:
                        self.assertEqual(read_safetensors(out), read_safetensors(pathlib.Path(folder, "same.safetensors")))
                    else:
                        self.assertRegex(o.stderr, r"^sluice: error: [^\n]*\n$")
            left = {p.name for p in pathlib.Path(folder).iterdir() if ".tmp" in p.name}
            self.assertEqual(left, set(), "what was not finished is removed")


if __name__ == "__main__":
    unittest.main()
