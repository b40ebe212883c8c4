"""`sluice bench serve` against a server whose delays and faults are known."""

import csv as csv_module
import json
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import xml.dom.minidom

from mock_server import MockServer
from program import PROGRAM, QUICK, run


def bench(url, *args):
    r = run("bench", "serve", "--url", url, "-o", "json", *args)
    return r, json.loads(r.stdout) if r.stdout else None


class Figures(unittest.TestCase):
    def test_latencies_are_those_of_the_server(self):
        # A busy machine only adds to a delay, here and in the server: below is exact, above has room.
        with MockServer(ttft=0.2, itl=0.03) as s:
            r, o = bench(s.url, "--num-prompts", 12, "--random-input-len", 40, "--random-output-len", 11, "--max-concurrency", 4)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertEqual((o["completed"], o["failed"], o["model_id"]), (12, 0, "mock"))
        self.assertEqual((o["total_input_tokens"], o["total_output_tokens"], o["total_cached_tokens"]), (480, 132, 240))
        self.assertEqual((s.peak, o["max_concurrent_requests"]), (4, 4))
        # Kept: both threads of the client may have had all four at some time, and one asked for the list of models.
        self.assertLessEqual(s.connections, 9)
        for key, least, room in (("ttft", 200, 300), ("tpot", 30, 60), ("itl", 30, 60), ("e2el", 500, 900)):
            self.assertGreater(o[f"median_{key}_ms"], least - 2, key)
            self.assertLess(o[f"median_{key}_ms"], least + room, key)
            self.assertLessEqual(o[f"median_{key}_ms"], o[f"p90_{key}_ms"])
            self.assertLessEqual(o[f"p90_{key}_ms"], o[f"p99_{key}_ms"])
        self.assertGreaterEqual(o["duration"], 1.5 - 0.01)
        self.assertAlmostEqual(o["request_throughput"] * o["duration"], 12, places=6)
        self.assertAlmostEqual(o["output_throughput"] * o["duration"], 132, places=6)
        self.assertAlmostEqual(o["total_token_throughput"] * o["duration"], 612, places=6)
        self.assertIsNone(o["request_goodput"])
        self.assertIsNone(o["median_delay_ms"])  # nothing was due at a time of its own

    def test_goodput(self):
        with MockServer(ttft=0.1, itl=0.01) as s:
            args = ["--num-prompts", 6, "--random-output-len", 3]
            _, all_good = bench(s.url, *args, "--goodput", "ttft:30000,e2el:60000")
            _, none = bench(s.url, *args, "--goodput", "ttft:99")
        self.assertAlmostEqual(all_good["request_goodput"], all_good["request_throughput"], places=9)
        self.assertEqual(none["request_goodput"], 0)

    def test_arrivals_and_seed(self):
        gaps = []
        with MockServer() as s:
            for seed in (1, 1, 2):
                s.times.clear()
                with tempfile.TemporaryDirectory() as d:
                    args = ["--num-prompts", 10, "--request-rate", 20, "--seed", seed, "--random-output-len", 1, "--save", f"{d}/r.json"]
                    r, o = bench(s.url, *args)
                    self.assertEqual((r.returncode, o["completed"]), (0, 10))
                    requests = sorted(json.loads(pathlib.Path(d, "r.json").read_text())["requests"], key=lambda q: q["session"])
                arrivals = [q["arrival_s"] for q in requests]
                gaps.append(arrivals)
                for q in requests:
                    self.assertGreaterEqual(q["start_s"], q["arrival_s"] - 1e-3)
                self.assertIsNotNone(o["median_delay_ms"])
                self.assertGreaterEqual(max(s.times) - min(s.times), arrivals[-1] - 0.25)
        self.assertEqual(gaps[0], gaps[1])
        self.assertNotEqual(gaps[0], gaps[2])
        sent = [q["prompt"] for _, q in s.requests]
        self.assertEqual(sorted(sent[:10]), sorted(sent[10:20]))
        self.assertNotEqual(sorted(sent[:10]), sorted(sent[20:]))

    def test_many_connections(self):
        count = 200 if QUICK else 1000
        with MockServer(ttft=1.5) as s:
            _, o = bench(s.url, "--num-prompts", count, "--random-input-len", 2, "--random-output-len", 1)
        self.assertEqual((o["completed"], o["failed"]), (count, 0), o["errors"])
        self.assertEqual(o["max_concurrent_requests"], count)

    def test_warmup_is_not_counted(self):
        with MockServer() as s:
            _, o = bench(s.url, "--num-prompts", 3, "--warmup", 2, "--random-output-len", 2)
        self.assertEqual((o["completed"], len(s.requests)), (3, 5))
        prompts = [tuple(q["prompt"]) for _, q in s.requests]
        self.assertEqual(len(set(prompts)), 5)


class Requests(unittest.TestCase):
    def test_presets_and_what_changes_them(self):
        with MockServer() as s:
            _, o = bench(s.url, "s1", "--num-prompts", 2)
            _, small = bench(s.url, "s2-chat", "--num-prompts", 1, "--random-input-len", 7, "--endpoint", "chat")
        (path, q), last = s.requests[0], s.requests[-1]
        self.assertEqual((path, len(q["prompt"]), q["max_tokens"], q["ignore_eos"]), ("/v1/completions", 4096, 256, True))
        self.assertEqual(o["max_concurrency"], 64)
        self.assertEqual((last[0], last[1]["max_tokens"]), ("/v1/chat/completions", 1000))
        self.assertEqual(len(last[1]["messages"][0]["content"].split()), 7)
        self.assertEqual(small["total_output_tokens"], 1000)

    def test_conversations(self):
        with MockServer() as s:
            args = ["--num-prompts", 2, "--turns", 3, "--random-input-len", 4, "--random-output-len", 2, "--prefix-len", 6]
            _, o = bench(s.url, *args, "--max-concurrency", 1)
        self.assertEqual((o["completed"], [t["requests"] for t in o["turns"]]), (6, [2, 2, 2]))
        self.assertEqual([t["mean_input_tokens"] for t in o["turns"]], [10, 16, 22])
        third = s.requests[2][1]["messages"]
        self.assertEqual([m["role"] for m in third], ["system", "user", "assistant", "user", "assistant", "user"])
        self.assertEqual(third[2]["content"], "t0 t1 ")
        self.assertEqual(third[:2], s.requests[0][1]["messages"])
        self.assertEqual(third[0], s.requests[3][1]["messages"][0])  # the prefix of the other conversation

    def test_file_key_and_extra_fields(self):
        with MockServer() as s, tempfile.TemporaryDirectory() as d:
            pathlib.Path(d, "p.jsonl").write_text('"one"\n{"messages": [{"role": "user", "content": "two"}], "max_tokens": 5}\n')
            args = ["--prompts", f"{d}/p.jsonl", "--api-key", "sk-1", "--extra-body", '{"top_k": 4}', "--max-concurrency", 1]
            _, o = bench(s.url + "/v1/", *args)
        self.assertEqual(o["completed"], 2)
        self.assertEqual([q["top_k"] for _, q in s.requests], [4, 4])
        self.assertEqual(s.requests[1][1]["max_tokens"], 5)
        self.assertEqual(set(s.keys), {"bearer sk-1"})

    def test_answers_without_usage(self):
        with MockServer(usage=False) as s:
            _, o = bench(s.url, "--num-prompts", 2, "--random-input-len", 9, "--random-output-len", 4)
        self.assertEqual((o["total_input_tokens"], o["total_output_tokens"], o["requests_without_usage"]), (18, 8, 2))


class Faults(unittest.TestCase):
    def test_kinds(self):
        for fault, kind in (
            ("dies", "connection lost"),
            ("cut short", "connection lost"),
            ("bad json", "malformed answer"),
            ("bad chunk", "malformed answer"),
            ("no stream", "malformed answer"),
            ("silent", "timeout"),
        ):
            with MockServer(fault=fault) as s:
                r, o = bench(s.url, "--num-prompts", 3, "--random-output-len", 4, "--timeout", 0.5)
            self.assertEqual((r.returncode, o["completed"], o["failed"]), (1, 0, 3), fault)
            self.assertEqual({k: e["count"] for k, e in o["errors"].items()}, {kind: 3}, fault)
            self.assertEqual(r.stderr.count("\n"), 1, r.stderr)
            self.assertIn(kind, r.stderr)

    def test_some_are_refused(self):
        with MockServer(fault="every other") as s:
            r, o = bench(s.url, "--num-prompts", 6, "--random-output-len", 2)
        self.assertEqual((r.returncode, o["completed"], o["failed"]), (0, 3, 3))
        errors = o["errors"]
        self.assertEqual({kind: (e["count"], e["example"]) for kind, e in errors.items()},
                         {"HTTP 429": (1, "too many"), "HTTP 429 without Retry-After": (2, "too many")})
        for e in errors.values():
            self.assertTrue(0 < e["median_ms"] <= e["p99_ms"], e)

    def test_chunks_split_at_every_byte(self):
        with MockServer(fault="split") as s:
            r, o = bench(s.url, "--num-prompts", 4, "--random-output-len", 5)
        self.assertEqual((o["completed"], o["total_output_tokens"], o["errors"]), (4, 20, {}))

    def test_nobody_there(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            r = run("bench", "serve", "--url", url)
            self.assertEqual((r.returncode, r.stdout, r.stderr.count("\n")), (1, "", 1))
            self.assertIn("cannot connect", r.stderr)
            r, o = bench(url, "--model", "m", "--num-prompts", 2)
            self.assertEqual((r.returncode, o["errors"]["cannot connect"]["count"]), (1, 2))
            r = run("bench", "serve", "--url", url, "--model", "m", "--warmup", 1)
            self.assertEqual((r.returncode, r.stdout), (1, ""))
            self.assertIn("no warm-up request succeeded: cannot connect", r.stderr)

    def test_usage_errors_name_the_option(self):
        for args in (
            ["--goodput", "ttft"],
            ["--goodput", "ttfx:3"],
            ["--goodput", "ttft:-1"],
            ["--extra-body", "[1]"],
            ["--url", "https://x"],
            ["--burstiness", "2"],
            ["--request-rate", "0"],
            ["--num-prompts", "0"],
            ["--turns", "2", "--prompts", "f"],
        ):
            r = run("bench", "serve", *args)
            self.assertEqual((r.returncode, r.stdout, r.stderr.count("\n")), (2, "", 1), args)
            self.assertIn(args[0], r.stderr)

    def test_interrupt_prints_what_was_measured(self):
        with MockServer(ttft=0.05) as s:
            args = [PROGRAM, "bench", "serve", "--url", s.url, "-o", "json", "--num-prompts", "100000", "--max-concurrency", "4"]
            p = subprocess.Popen([*args, "--random-output-len", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            while len(s.requests) < 20:
                time.sleep(0.02)
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=60)
        o = json.loads(out)
        self.assertEqual((p.returncode, err, o["interrupted"], o["failed"]), (130, "", True, 0))
        self.assertGreaterEqual(o["completed"], 16)
        self.assertLessEqual(o["unfinished"], 4)
        self.assertGreater(o["request_throughput"], 0)


class Output(unittest.TestCase):
    def test_formats_and_files(self):
        with MockServer(itl=0.002) as s, tempfile.TemporaryDirectory() as d:
            args = ["bench", "serve", "--url", s.url, "--num-prompts", 5, "--random-output-len", 8, "--turns", 2]
            md = run(*args, "--goodput", "ttft:60000", "--save", f"{d}/r.json", "--plot", f"{d}/p.svg")
            csv = run(*args, "-o", "csv")
            saved = json.loads(pathlib.Path(d, "r.json").read_text())
            svg = xml.dom.minidom.parse(f"{d}/p.svg")
            refused = run(*args, "--save", "/no/such/folder/r.json")
        for words in ("| TTFT |", "| TPOT |", "| ITL |", "| end to end |", "good requests", "| turn |"):
            self.assertIn(words, md.stdout)
        for block in md.stdout.split("\n\n"):
            rows = [line for line in block.splitlines() if line.startswith("|")]
            self.assertEqual(len({line.count("|") for line in rows} or {0}), 1, block)
        head, row = csv.stdout.splitlines()
        self.assertEqual(len(head.split(",")), len(next(csv_module.reader([row]))))
        self.assertEqual([len(q["itl_ms"]) for q in saved["requests"]], [7] * 10)
        self.assertEqual(len(svg.getElementsByTagName("polyline")), 4)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("/no/such/folder/r.json", refused.stderr)


if __name__ == "__main__":
    unittest.main()
