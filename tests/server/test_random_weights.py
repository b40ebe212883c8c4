"""`sluice serve --random-weights`: a published shape under load, without a checkpoint."""

import json
import pathlib
import subprocess
import tempfile
import unittest

from server import PROGRAM, SOURCE, Server

VOCABULARY = 4096  # twice the demo model's, whose tokenizer serves
KNOWN = 2048


def run(*args):
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True)


class RandomWeights(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.config = pathlib.Path(self.dir.name, "shape.json")
        shape = json.loads((SOURCE / "tests/data/configs/tiny.json").read_text())
        self.config.write_text(json.dumps({**shape, "vocab_size": VOCABULARY, "eos_token_id": VOCABULARY - 1}))
        self.flags = ["--random-weights", "--config", self.config, "--max-context", 512]

    def test_tokens_that_the_tokenizer_does_not_know_have_a_text(self):
        with Server(*self.flags) as s:
            self.assertEqual(s.name, "shape")
            prompt = [VOCABULARY - 1, 3000, 7]
            events = list(s.stream("/v1/completions", {"prompt": prompt, "max_tokens": 40, "ignore_eos": True, "return_token_ids": True}))
            choices = [e["choices"][0] for e in events]
            ids = [i for c in choices for i in c["token_ids"]]
            self.assertEqual(len(ids), 40)
            unknown = [i for i in ids if i >= KNOWN]
            self.assertTrue(unknown)
            self.assertGreaterEqual("".join(c["text"] for c in choices).count("\ufffd"), len(unknown))
            self.assertEqual(s.complete([VOCABULARY], max_tokens=1).status, 400)
            self.assertEqual(s.chat("Hi", max_tokens=2).status, 200)

    def test_a_preset_runs_against_it(self):
        with Server(*self.flags) as s:
            small = ["--num-prompts", 5, "--random-input-len", 70, "--random-output-len", 6, "--vocab-size", VOCABULARY]
            r = run("bench", "serve", "s1", *small, "--url", f"http://127.0.0.1:{s.port}", "-o", "json")
            self.assertEqual(r.returncode, 0, r.stderr)
            o = json.loads(r.stdout)
            self.assertEqual((o["completed"], o["failed"]), (5, 0))
            self.assertEqual((o["total_input_tokens"], o["total_output_tokens"]), (350, 30))

    def test_refusals_are_one_line(self):
        flags = ["--random-weights", "--config"]
        for args, words in (
            (["--random-weights"], "--config and --random-weights belong together"),
            (["--config", self.config], "--config and --random-weights belong together"),
            ([*flags, "/nowhere.json"], "/nowhere.json"),
            ([*flags, self.config, "--tokenizer", self.dir.name], "tokenizer.json"),
        ):
            r = run("serve", "--port", 0, *args)
            self.assertEqual((r.returncode, r.stdout), (1, ""), args)
            self.assertIn(words, r.stderr)
            self.assertEqual(r.stderr.count("sluice: error: "), 1, r.stderr)

    def test_run_takes_ids(self):
        r = run("run", *self.flags, "--ids", "1,4000", "-n", 5, "--json")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(json.loads(r.stdout)["prompt_ids"], [1, 4000])


if __name__ == "__main__":
    unittest.main()
