#!/usr/bin/env python3
"""Fails when an object file compiled for a special instruction set exports code that other files could share.

The linker keeps one copy of an inline function. If it keeps the one compiled for AVX-512, a CPU without it crashes in code that
has nothing to do with vectors. So every weak function in such an object must carry its instruction set in its name.

    check_isa.py BUILD_DIR
"""

import pathlib
import re
import subprocess
import sys

SPECIAL = re.compile(r"(_avx2|_avx512|_avx512vnni|_avx512bf16|_amx)\.cc\.o$")
TAG = re.compile(r"Avx2|Avx512|Amx")


def leaks(obj):
    listing = subprocess.run(["nm", "-C", "--defined-only", str(obj)], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        parts = line.split(maxsplit=2)
        if len(parts) == 3 and parts[1] in "Ww" and not TAG.search(parts[2]):
            yield parts[2]


objects = sorted(p for p in pathlib.Path(sys.argv[1]).rglob("*.o") if SPECIAL.search(p.name))
bad = [(o.name, name) for o in objects for name in leaks(o)]
for obj, name in bad:
    print(f"{obj}: {name} could replace the copy for every CPU; make it a template over the vector type, static, or always inline")
print(f"isa: {len(objects)} objects, {len(bad)} shared functions")
sys.exit(1 if bad or not objects else 0)
