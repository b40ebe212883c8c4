#!/usr/bin/env python3
"""What serving costs beside the model, and what a conversation's next turn costs: starts `sluice serve` on a checkpoint and loads it
with `sluice bench serve`. Standard library only.

  serving_figures.py overhead --model DIR   each sampling's share of the steps at --concurrency sequences
  serving_figures.py turns --model DIR      time to first token and recomputed tokens of each turn of a conversation
  serving_figures.py snapshots --model DIR  greedy answers to tasks, computed whole and from a snapshot in fp32 and in int8

The figures are ratios within one run; the machine should have nothing else to do.
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import re
import subprocess
import sys
import urllib.request

SAMPLINGS = {
    "greedy": {},
    "greedy, 5 logprobs": {"logprobs": 5},
    "T 0.7, top_p 0.8, top_k 20": {"temperature": 0.7, "top_p": 0.8, "top_k": 20},
    "T 1": {"temperature": 1},
    "T 1, top_p 0.95": {"temperature": 1, "top_p": 0.95},
    "T 1, penalties": {"temperature": 1, "frequency_penalty": 0.1, "presence_penalty": 0.1, "repetition_penalty": 1.1},
}


class Server:
    def __init__(self, sluice, options):
        self.sluice = sluice
        self.process = subprocess.Popen([sluice, "serve", "--port", "0", *options], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if not found:
            sys.exit(f"serving_figures: no address from `sluice serve` but {line!r}")
        self.url = found.group().rstrip("/")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def status(self):
        return json.load(urllib.request.urlopen(self.url + "/status.json"))

    def ask(self, messages, **fields):
        """A greedy answer: its text, the log-probabilities of its tokens, and how many of the prompt's tokens were cached."""
        body = {"messages": messages, "temperature": 0, "max_tokens": 96, "logprobs": True, **fields}
        request = urllib.request.Request(self.url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        answer = json.load(urllib.request.urlopen(request))
        choice = answer["choices"][0]
        logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
        return choice["message"]["content"], logprobs, answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    def metric(self, name):
        for line in urllib.request.urlopen(self.url + "/metrics?aliases=no").read().decode().splitlines():
            if line.startswith(name + "{"):
                return float(line.split()[-1])

    def thread_seconds(self):
        """Processor time of each thread, by id."""
        seconds = {}
        folder = f"/proc/{self.process.pid}/task"
        for thread in os.listdir(folder):
            fields = open(f"{folder}/{thread}/stat").read().rsplit(")", 1)[1].split()
            seconds[thread] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return seconds

    def load(self, *options):
        command = [self.sluice, "bench", "serve", "--url", self.url, "-o", "json", *map(str, options)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"serving_figures: {' '.join(command)} failed")
        return json.loads(done.stdout)


def overhead(a, options):
    with Server(a.sluice, [*options, "--max-running-requests", str(a.concurrency)]) as server:
        print(f"{a.concurrency} sequences, {a.output} tokens each; shares of the time in steps; others: processor time of the server's")
        print("other threads per step time\n")
        print("| sampling | step ms | plan | sample | draft | deliver | all but the model | others |\n| --- " + "| ---: " * 7 + "|")
        for name, fields in SAMPLINGS.items():
            threads, before = server.thread_seconds(), server.status()
            server.load("--num-prompts", a.concurrency, "--random-input-len", 16, "--random-output-len", a.output, "--extra-body",
                        json.dumps(fields))
            after = server.status()
            spent = sorted(seconds - threads.get(thread, 0) for thread, seconds in server.thread_seconds().items())
            parts = {part: s - before["engine"]["parts"][part] for part, s in after["engine"]["parts"].items()}
            steps, whole = after["engine"]["steps"] - before["engine"]["steps"], sum(parts.values())
            shares = [parts[part] / whole for part in ("plan_s", "sample_s", "draft_s", "deliver_s")]
            cells = [f"{share:.2%}" for share in [*shares, 1 - parts["forward_s"] / whole, sum(spent[: -a.threads]) / whole]]
            print(f"| {name} | {whole / steps * 1e3:.1f} | " + " | ".join(cells) + " |", flush=True)


def turns(a, options):
    with Server(a.sluice, options) as server:
        server.load("--num-prompts", 1, "--random-input-len", 64, "--random-output-len", 2)  # the weights are in memory then
        report = server.load("--num-prompts", a.conversations or 1, "--max-concurrency", 1, "--turns", a.turns, "--random-input-len",
                             a.words, "--random-output-len", a.output)
    print("| turn | input tokens | recomputed | TTFT ms, median |\n| ---: | ---: | ---: | ---: |")
    for t in report["turns"]:
        print(f"| {t['turn']} | {t['mean_input_tokens']:.0f} | {t['mean_recomputed_tokens']:.0f} | {t['median_ttft_ms']:.1f} |")
    second, last = report["turns"][1], report["turns"][-1]
    print(f"\nTTFT of turn {last['turn']} / turn 2: {last['median_ttft_ms'] / second['median_ttft_ms']:.2f}")


def snapshots(a, options):
    """Each task is asked twice, alone and behind another one with its answer; the second time it goes on from the first one's snapshot."""
    with open(a.tasks or os.path.join(a.model, "..", "tasks.jsonl")) as lines:
        tasks = [json.loads(line) for line in lines]
    pairs = list(itertools.pairwise(tasks))[: a.conversations]
    columns = ["asked", "from a snapshot", "other answers", "right whole, again", "log-probabilities: mean difference", "largest"]
    print("| snapshots, tasks | " + " | ".join(columns) + " | worst head's error |\n| --- " + "| ---: " * 7 + "|")
    for kind, alone in itertools.product(("fp32", "int8"), (True, False)):
        with Server(a.sluice, [*options, "--snapshots", kind, "--max-running-requests", "4", "--max-context", "4096"]) as server:

            def twice(pair):
                before, task = pair
                messages = [{"role": "user", "content": before["user"]}, {"role": "assistant", "content": before["worked"]}]
                messages = [*([] if alone else messages), {"role": "user", "content": task["user"]}]
                salt = str(hash((before["user"], task["user"])))
                return server.ask(messages, cache_salt=salt), server.ask(messages, cache_salt=salt)

            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(twice, pairs))
            kept = server.metric("sluice_state_snapshot_error_count")
            error = server.metric("sluice_state_snapshot_error_sum") / kept if kept else 0
        hits = [(whole, again) for whole, again in answers if again[2] > 0]
        apart = [abs(x - y) for whole, again in hits if whole[0] == again[0] for x, y in zip(whole[1], again[1])]
        correct = [[task["expected"] in text.split("The answer is ")[-1] for text, *_ in a] for a, (_, task) in zip(answers, pairs)]
        right = [sum(column) for column in zip(*correct)]
        changed = sum(whole[0] != again[0] for whole, again in hits)
        cells = [f"{kind}, {'alone' if alone else 'behind another'}", len(pairs), len(hits), changed, f"{right[0]}, {right[1]}",
                 f"{sum(apart) / max(1, len(apart)):.2g}", f"{max(apart, default=0):.2g}", f"{error:.2%}"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["overhead", "turns", "snapshots"])
    p.add_argument("--model", required=True, help="a checkpoint's folder")
    p.add_argument("--sluice", default="build/release/bin/sluice")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--concurrency", type=int, default=64, help="overhead: sequences at once")
    p.add_argument("--output", type=int, default=32, help="tokens of an answer")
    p.add_argument("--turns", type=int, default=20)
    p.add_argument("--words", type=int, default=170, help="turns: words of a message")
    p.add_argument("--conversations", type=int, help="default: 1; snapshots: all tasks")
    p.add_argument("--tasks", help="snapshots: JSON lines {user, worked, expected}; default: those of the demo model")
    a = p.parse_args()
    options = [a.model, "--threads", str(a.threads), "--log-level", "error"]
    {"overhead": overhead, "turns": turns, "snapshots": snapshots}[a.what](a, options)


if __name__ == "__main__":
    main()
