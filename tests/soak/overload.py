"""What a server does under four times the load that it can serve: goodput, and how soon the others are refused.

  python3 tests/soak/overload.py build/release/bin/sluice [--rounds 3] [--seconds 20]

A round finds the peak, with as many clients as requests can run and wait, and then sends requests at random times at four times that
rate. Rounds repeat, so that another load on the machine meets both. An answer is good if it comes within one and a half times what
99 of 100 took at the peak. The exit code says whether goodput stayed at 90 % of the peak's, and whether all others got 429 with
Retry-After, 99 of 100 of them within 50 ms.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[2]
RUNNING, WAITING = 32, 64
OVERLOAD, GOODPUT, REFUSED_MS, PATIENCE = 4, 0.9, 50, 1.5


def bench(options, url, *args):
    command = [options.program, "bench", "serve", "--url", url, "-o", "json", "--random-input-len", options.input_len,
               "--random-output-len", options.output_len, "--client-threads", 1, *args]
    return json.loads(subprocess.run([*map(str, command)], stdout=subprocess.PIPE, check=True).stdout)


def one_round(options, url, seed):
    clients = RUNNING + WAITING
    few = bench(options, url, "--num-prompts", 4 * clients, "--max-concurrency", clients, "--seed", 3 * seed)
    count = max(4 * clients, int(few["request_throughput"] * options.seconds))
    peak = bench(options, url, "--num-prompts", count, "--max-concurrency", clients, "--seed", 3 * seed + 1)
    limit = PATIENCE * peak["p99_e2el_ms"]
    rate = OVERLOAD * peak["request_throughput"]
    over = bench(options, url, "--num-prompts", int(rate * options.seconds), "--request-rate", rate, "--goodput", f"e2el:{limit:.0f}",
                 "--seed", 3 * seed + 2)  # fmt: skip
    refused = over["errors"].pop("HTTP 429", {"count": 0, "median_ms": 0, "p99_ms": 0})
    print(f"peak {peak['request_throughput']:.1f} requests/s (99 % within {peak['p99_e2el_ms']:.0f} ms); offered {rate:.0f}: "
          f"goodput {over['request_goodput']:.1f}, served {over['request_throughput']:.1f}; {refused['count']} refused, "
          f"after {refused['median_ms']:.2f} ms (median), {refused['p99_ms']:.2f} (p99); sent {over['p99_delay_ms']:.0f} ms late (p99)",
          flush=True)  # fmt: skip
    return {"peak": peak["request_throughput"], "goodput": over["request_goodput"], "refused": refused, "others": over["errors"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--input-len", type=int, default=64)
    parser.add_argument("--output-len", type=int, default=32)
    options = parser.parse_args()
    command = [options.program, "serve", SOURCE / "demo/model", "--port", 0, "--log-level", "error", "--no-prefix-cache",
               "--max-running-requests", RUNNING, "--max-queued-requests", WAITING, "--max-context", 4096]  # fmt: skip
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as server:
        try:
            url = server.stdout.readline().split()[-1]
            rounds = [one_round(options, url, seed) for seed in range(options.rounds)]
        finally:
            server.terminate()
    ratio = statistics.median(r["goodput"] / r["peak"] for r in rounds)
    p99 = statistics.median(r["refused"]["p99_ms"] for r in rounds)
    others = {kind: e for r in rounds for kind, e in r["others"].items()}
    print(f"goodput at {OVERLOAD} times the load: {ratio:.2f} of the peak; p99 of refusals: {p99:.1f} ms; other errors: {others or 'none'}")
    refused = all(r["refused"]["count"] > 0 for r in rounds)
    return 0 if ratio >= GOODPUT and refused and p99 <= REFUSED_MS and not others else 1


if __name__ == "__main__":
    sys.exit(main())
