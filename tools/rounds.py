#!/usr/bin/env python3
"""Programs measured in interleaved rounds, for machines whose memory is not of one speed for long: each round runs every command once, and
what counts is the first one's figure over another's of the same round.

    tools/rounds.py --rounds 4 \\
        sluice='sluice bench MODEL --prompt 512 --gen 0 -r 1 -o json | jq .tests[0].median' \\
        other='other-bench -p 512 | tail -1'

A command's figure is the last number that it prints. A round in which one fails ends everything, with what it printed."""

import argparse
import re
import statistics
import subprocess
import sys

NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")


def figure(name, command):
    r = subprocess.run(command, shell=True, capture_output=True, text=True)
    numbers = NUMBER.findall(r.stdout)
    if r.returncode or not numbers:
        sys.exit(f"{name}: no figure; `{command}` ended with {r.returncode} and printed\n{r.stdout}{r.stderr}")
    return float(numbers[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="+", metavar="NAME=COMMAND")
    parser.add_argument("--rounds", type=int, default=4)
    o = parser.parse_args()
    commands = dict(c.split("=", 1) for c in o.commands)
    figures = {name: [] for name in commands}
    for r in range(o.rounds):
        for name, command in commands.items():
            figures[name].append(figure(name, command))
            print(f"\rround {r + 1} of {o.rounds}: {name}    ", end="", file=sys.stderr)
    print("\r", end="", file=sys.stderr)
    first, *_ = figures.values()
    print("| | median | rounds | first / this, median | rounds |\n| --- | ---: | --- | ---: | --- |")
    for name, values in figures.items():
        ratios = [a / b for a, b in zip(first, values)]
        print(f"| {name} | {statistics.median(values):.1f} | {' '.join(f'{v:.1f}' for v in values)} | "
              f"{statistics.median(ratios):.2f} | {' '.join(f'{x:.2f}' for x in ratios)} |")


main()
