#!/usr/bin/env python3
"""Fails when a file includes from a layer above its own. The list below is the only place where the order is written."""

import pathlib
import re
import sys

# From the bottom to the top; layers of one row may not include each other unless they are listed in the same string.
LAYERS = [["base"], ["core"], ["io"], ["ops"], ["op_runner"], ["models", "text"], ["engine"], ["server", "bench_client"], ["cli", "python"]]
ROOT = pathlib.Path(__file__).resolve().parent.parent
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
INCLUDE = re.compile(r'^#include "([a-z_]+)/', re.M)


def problems():
    for name, rank in RANK.items():
        for path in sorted((ROOT / name).rglob("*")):
            if path.suffix not in (".h", ".cc", ".cu", ".cuh"):
                continue
            is_test = "test" in path.name or path.name.startswith("bench")
            for included in INCLUDE.findall(path.read_text()):
                if included == "tests" and is_test:
                    continue
                other = RANK.get(included)
                if other is None:
                    yield f"{path.relative_to(ROOT)} includes {included}/, which is no layer"
                elif other > rank or (other == rank and included != name):
                    yield f"{path.relative_to(ROOT)} (layer {name}) includes {included}/, which is not below it"


found = list(problems())
print("\n".join(found) if found else "layers: every include points down")
sys.exit(1 if found else 0)
