#!/usr/bin/env python3
"""Branch coverage of folders, from gcov's counts: a line a file, its branches that no test took, and a sum for each folder.

    tools/coverage.py BUILD FOLDER...            --lines names the lines; --least 95 fails where a folder has less

Counted are the branches that the source has, in headers too. Left out is the way that an exception takes out of a call (gcov's
"throw"): the compiler adds one to each that may throw, and tests/faults goes through them by failing allocations. Of a template or
an inline function a branch counts as taken if one of its copies took it.
"""

import argparse
import collections
import concurrent.futures
import gzip
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def gcov(data):
    out = subprocess.run(["gcov", "--json-format", "--branch-probabilities", "--stdout", data.name], cwd=data.parent, capture_output=True, check=True)
    text = gzip.decompress(out.stdout) if out.stdout.startswith(b"\x1f\x8b") else out.stdout
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def counted(path, folders):
    return path.split("/")[0] in folders and not path.split("/")[-1].endswith("_test.cc") and "test_support" not in path


def taken_branches(build, folders):
    """File -> line -> how often each of the line's branches was taken."""
    files = collections.defaultdict(lambda: collections.defaultdict(dict))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for reports in pool.map(gcov, sorted(build.rglob("*.gcda"))):
            for report in reports:
                for file in report["files"]:
                    path = os.path.relpath(os.path.join(report["current_working_directory"], file["file"]), ROOT)
                    if not counted(path, folders):
                        continue
                    for line in file["lines"]:
                        counts = [b["count"] for b in line["branches"] if not b["throw"]]
                        if not counts:
                            continue
                        # Copies of a line that were compiled differently stand side by side.
                        same = files[path][line["line_number"]].setdefault(len(counts), [0] * len(counts))
                        for i, n in enumerate(counts):
                            same[i] += n
    return {path: {n: sum(kinds.values(), []) for n, kinds in lines.items()} for path, lines in files.items()}


def percent(taken, all):
    return 100 * taken / all if all else 100


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("build", type=pathlib.Path)
    arguments.add_argument("folders", nargs="+")
    arguments.add_argument("--lines", action="store_true", help="name the lines with branches that were not taken")
    arguments.add_argument("--least", type=float, default=0, help="percent that each folder must have")
    o = arguments.parse_args()
    files = taken_branches(o.build.resolve(), o.folders)
    good = True
    for folder in o.folders:
        all_taken = all_branches = 0
        for path in sorted(p for p in files if p.split("/")[0] == folder):
            branches = sum(map(len, files[path].values()))
            missed = {n: sum(c == 0 for c in counts) for n, counts in sorted(files[path].items()) if 0 in counts}
            taken = branches - sum(missed.values())
            all_taken, all_branches = all_taken + taken, all_branches + branches
            print(f"{path:40} {taken:5} of {branches:5}  {percent(taken, branches):6.1f} %")
            if o.lines and missed:
                print("    " + ", ".join(f"{n}" + (f" ({k})" if k > 1 else "") for n, k in missed.items()))
        enough = percent(all_taken, all_branches) >= o.least and all_branches > 0
        good &= enough
        print(f"{folder + '/':40} {all_taken:5} of {all_branches:5}  {percent(all_taken, all_branches):6.1f} %{'' if enough else f', wanted {o.least:g} %'}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
