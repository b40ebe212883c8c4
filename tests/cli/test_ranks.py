"""Several processes that share one model, started by mpirun: --tp."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from program import DEMO, PROGRAM, QUICK, read_safetensors, run, write_safetensors

QUESTION = "Jon has 83 buttons. Jon finds 88 more. Jon sells 60. How many buttons are there in the end?"
# Debian's mpirun wants ssh even on one machine, if not told; ranks that wait leave the core to those that compute.
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--mca", "plm", "isolated",
          "--mca", "mpi_yield_when_idle", "1"]
# Sanitizers: the library keeps what it allocates until the end.
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:" + os.environ.get("ASAN_OPTIONS", "")}


def why_not():
    if not shutil.which("mpirun"):
        return "there is no mpirun here"
    if "without MPI" in run("run", "-p", "x", "--tp", "2").stderr:
        return "the program was built without MPI"
    return None


def command(ranks, *args, tp=None):
    return [*MPIRUN, "-n", str(ranks), PROGRAM, *map(str, args), "--tp", str(tp or ranks), "--threads", "1"]


def run_ranks(ranks, *args, tp=None, **options):
    return subprocess.run(command(ranks, *args, tp=tp), capture_output=True, text=True, env=ENVIRONMENT, timeout=300, **options)


def errors(r):
    return [line for line in r.stderr.splitlines() if line.startswith("sluice: ")]


def floats(tensor):
    return struct.unpack(f"<{len(tensor[2]) // 4}f", tensor[2])


def random_checkpoint(folder):
    """Two layers with four key heads in the delta layer and two in the other; a head of its own."""
    config = json.loads((DEMO / "model" / "config.json").read_text())
    config.update(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, mtp_num_hidden_layers=0,
                  layer_types=["linear_attention", "full_attention"], linear_num_key_heads=4, linear_num_value_heads=8,
                  linear_key_head_dim=16, linear_value_head_dim=16, num_attention_heads=8, num_key_value_heads=2, head_dim=64,
                  tie_word_embeddings=False, dtype="float32")
    config["eos_token_id"] = 63
    (folder / "config.json").write_text(json.dumps(config))
    rng = random.Random(3)

    def tensor(*shape, scale=0.3):
        count = 1
        for n in shape:
            count *= n
        return "F32", list(shape), struct.pack(f"<{count}f", *(rng.uniform(-scale, scale) for _ in range(count)))

    h, i, channels, v = 32, 48, 2 * 64 + 128, 128
    delta, attention = "model.layers.0.linear_attn.", "model.layers.1.self_attn."
    tensors = {
        "model.embed_tokens.weight": tensor(64, h, scale=1), "model.norm.weight": tensor(h), "lm_head.weight": tensor(64, h),
        delta + "in_proj_qkv.weight": tensor(channels, h), delta + "in_proj_z.weight": tensor(v, h),
        delta + "in_proj_b.weight": tensor(8, h), delta + "in_proj_a.weight": tensor(8, h),
        delta + "conv1d.weight": tensor(channels, 1, 4), delta + "A_log": tensor(8), delta + "dt_bias": tensor(8),
        delta + "norm.weight": tensor(16), delta + "out_proj.weight": tensor(h, v),
        attention + "q_proj.weight": tensor(2 * 512, h), attention + "k_proj.weight": tensor(128, h),
        attention + "v_proj.weight": tensor(128, h), attention + "o_proj.weight": tensor(h, 512),
        attention + "q_norm.weight": tensor(64), attention + "k_norm.weight": tensor(64),
    }
    for layer in range(2):
        p = f"model.layers.{layer}."
        tensors |= {p + "input_layernorm.weight": tensor(h), p + "post_attention_layernorm.weight": tensor(h),
                    p + "mlp.gate_proj.weight": tensor(i, h), p + "mlp.up_proj.weight": tensor(i, h),
                    p + "mlp.down_proj.weight": tensor(h, i)}
    write_safetensors(folder / "model.safetensors", tensors)


class SameAnswers(unittest.TestCase):
    def test_ids_are_those_of_one_process(self):
        args = ("run", "-p", QUESTION, "--json")
        alone, both = json.loads(run(*args).stdout), json.loads(run_ranks(2, *args).stdout)
        self.assertEqual((both["ids"], both["text"]), (alone["ids"], alone["text"]))

    def test_drafts(self):
        args = ("run", "-p", QUESTION, "--json", "--speculate", "2")
        alone, both = json.loads(run(*args).stdout), json.loads(run_ranks(2, *args).stdout)
        self.assertEqual((both["ids"], both["speculation"]), (alone["ids"], alone["speculation"]))
        self.assertGreater(both["speculation"]["accepted"], 0)

    def test_tasks_side_by_side(self):
        args = ("eval", "--json", "--limit", "1", "--prefill-chunk", "48", "--speculate", "1")
        both = run_ranks(2, *args)
        self.assertEqual(both.stdout, run(*args).stdout, both.stderr)

    def logits(self, ranks, model, ids, *more):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "ids").write_text(" ".join(map(str, ids)))
            args = ("score", model, "--ids-file", f"{folder}/ids", "--out", f"{folder}/out", *more)
            r = run(*args) if ranks == 1 else run_ranks(ranks, *args)
            self.assertEqual(r.returncode, 0, r.stderr)
            return floats(read_safetensors(f"{folder}/out")["logits"])

    def assert_near(self, got, want):
        self.assertEqual(len(got), len(want))
        self.assertLess(max(abs(a - b) for a, b in zip(got, want)), 1e-3)  # of logits up to 20; fp32 sums in another order

    def test_logits_of_every_position(self):
        ids = [(7 * i * i + 3 * i) % 2000 for i in range(150)]
        more = ("--dtype", "fp32", "--prefill-chunk", "40")
        self.assert_near(self.logits(2, DEMO / "model", ids, *more), self.logits(1, DEMO / "model", ids, *more))

    def test_key_heads_fewer_than_ranks(self):
        with tempfile.TemporaryDirectory() as folder:
            random_checkpoint(pathlib.Path(folder))
            ids = [(5 * i * i + i) % 63 for i in range(90)]
            want = self.logits(1, folder, ids)
            for ranks in (2, 4):
                self.assert_near(self.logits(ranks, folder, ids), want)


@unittest.skipIf(len(json.loads(run("doctor", "--json", "--no-bandwidth").stdout)["gpus"]) < 2, "there are no two GPUs here")
class OnGpus(unittest.TestCase):
    def test_ids_are_those_of_one_gpu(self):
        for more in ((), ("--speculate", "2"), ("--no-graphs",), ("--dtype", "fp32")):
            args = ("run", "-p", QUESTION, "--json", "--device", "cuda", *more)
            alone, both = json.loads(run(*args).stdout), json.loads(run_ranks(2, *args).stdout)
            self.assertEqual(both["ids"], alone["ids"], more)


class Refusals(unittest.TestCase):
    def refused(self, r, text):
        self.assertNotEqual(r.returncode, 0)
        self.assertEqual(len(errors(r)), 1, r.stderr)
        self.assertIn(text, errors(r)[0])
        self.assertEqual(r.stdout, "")

    def test_processes_and_tp_must_be_as_many(self):
        self.refused(run_ranks(2, "run", "-p", "x", tp=4), "--tp 4 needs as many processes, and mpirun started 2; start it with mpirun -n 4")
        self.refused(run("run", "-p", "x", "--tp", "2"), "--tp: this process was not started by mpirun")

    def test_heads_that_cannot_be_shared(self):
        self.refused(run_ranks(3, "run", "-p", "x"), "--tp 3: the model has 2 key heads in its delta layers")

    def test_what_the_first_rank_refuses_ends_all(self):
        self.refused(run_ranks(2, "run", "/no/such/model", "-p", "x"), "/no/such/model")
        self.refused(run_ranks(2, "run", "--ids", "5000"), "outside the vocabulary")


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Server:
    """`sluice serve` of two ranks, for a with block."""

    def __init__(self, *args):
        self.args = args

    def __enter__(self):
        self.process = subprocess.Popen(command(2, "serve", "--port", "0", "--log-level", "error", *self.args),
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def complete(self, **fields):
        body = json.dumps({"model": "model", **fields}).encode()
        request = urllib.request.Request(self.address + "/v1/completions", body, {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=120))

    def end(self):
        """What it wrote to stderr until it ended by itself."""
        return self.process.communicate(timeout=60)[1]


class Life(unittest.TestCase):
    def test_cached_prefixes_are_those_of_all_ranks(self):
        ids = [(7 * i * i + 3 * i) % 2000 for i in range(150)]
        with Server() as server:
            first, again = (server.complete(prompt=ids, max_tokens=8, temperature=0, logprobs=1) for _ in range(2))
        self.assertEqual([r["usage"]["prompt_tokens_details"]["cached_tokens"] for r in (first, again)], [0, 128])
        want, got = (r["choices"][0]["logprobs"]["token_logprobs"] for r in (first, again))
        for a, b in zip(got, want, strict=True):
            self.assertAlmostEqual(a, b, delta=1e-5)

    def test_the_end_of_a_rank_ends_all(self):
        with Server() as server:
            server.complete(prompt="Add", max_tokens=4)
            time.sleep(0.2)  # the rank that follows sleeps by now
            os.kill(max(children(server.process.pid)), signal.SIGKILL)
            server.end()
            self.assertNotEqual(server.process.returncode, 0)

    def test_a_lost_device_ends_all(self):
        with Server("--lose-device-after", "3") as server:
            with self.assertRaises(urllib.error.HTTPError):
                server.complete(prompt="Add")
            stderr = server.end()
            self.assertEqual(server.process.returncode, 70)
            self.assertEqual(stderr.count("sluice: error: "), 1, stderr)


if __name__ == "__main__":
    if reason := why_not():
        print("SKIPPED:", reason)
        sys.exit(77)
    unittest.main()
