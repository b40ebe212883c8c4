#!/usr/bin/env python3
"""Branch coverage of folders, from gcov's counts: a line a file, its branches that no test took, and a sum for each folder.

    tools/coverage.py BUILD FOLDER...            --lines names the lines; --least 95 fails where a folder has less

Counted are the branches that the source has, in headers too. Left out is what the compiler adds for exceptions: the way that one
takes out of each call that may throw ("throw"), and the choices on that way of what there is to destroy, in blocks that are reached
by exceptions alone. tests/faults walks those ways by failing allocations. Of a template or an inline function a branch counts as
taken if one of its copies took it.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


# What gcov 12 writes for a block that did not run: reached by exceptions alone. (%%%%%: the others. The manual has it the other way.)
EXCEPTIONAL = "$$$$$"
LINE = re.compile(r" *([^ :]+): *(\d+):")
BLOCK = re.compile(r" *([^ :]+): *(\d+)-block +(\d+)")
BRANCH = re.compile(r"branch +(\d+) (never executed|taken (\d+))(.*)")


def gcov(data):
    out = subprocess.run(["gcov", "--all-blocks", "--branch-probabilities", "--branch-counts", "--stdout", data.name], cwd=data.parent,
                         capture_output=True, text=True, check=True)
    return out.stdout.splitlines()


def counted(path, folders):
    return path.split("/")[0] in folders and not path.split("/")[-1].endswith("_test.cc") and "test_support" not in path


class Counts:
    """By file, line, and place of the branch in the line."""

    def __init__(self, folders):
        self.folders = folders
        self.taken = collections.defaultdict(lambda: collections.defaultdict(dict))
        self.exceptional = set()  # (file, line, block)
        self.throws = set()  # (file, line, place): gcov marks them in copies that ran only; those of the other copies are left out too

    def add(self, report):
        path, line, block = None, 0, ""
        for text in report:
            if text.startswith("        -:    0:Source:"):
                path = os.path.relpath(text.split(":", 3)[3], ROOT)
                path = path if counted(path, self.folders) else None
            elif path is None:
                continue
            elif found := BRANCH.match(text):
                # A line's first branches may stand before its first block.
                place = (block, int(found[1]))
                if "(throw)" in found[4]:
                    self.throws.add((path, line, place))
                else:
                    places = self.taken[path][line]
                    places[place] = places.get(place, 0) + int(found[3] or 0)
            elif found := BLOCK.match(text):
                block = found[3]
                if found[1] == EXCEPTIONAL:
                    self.exceptional.add((path, line, block))
            elif found := LINE.match(text):
                line, block = int(found[2]), ""

    def files(self):
        """File -> line -> how often each of its branches was taken."""
        result = {}
        for path, lines in self.taken.items():
            kept = {n: [c for place, c in places.items()
                        if (path, n, place[0]) not in self.exceptional and (path, n, place) not in self.throws]
                    for n, places in lines.items()}
            result[path] = {n: counts for n, counts in kept.items() if counts}
        return result


def taken_branches(build, folders):
    counts = Counts(folders)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for report in pool.map(gcov, sorted(build.rglob("*.gcda"))):
            counts.add(report)
    return counts.files()


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
