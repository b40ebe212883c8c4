#!/usr/bin/env python3
"""new_op.py NAME [--into OPS_DIR]: a new operator's folder, complete and passing its tests.

The folder starts as ops/l2norm under the new name, so that it is always of today's shape: write the contract in NAME.h, the formula
in reference.cc, then body.h, and the shapes in cases.h. Nothing outside the folder needs to change.
"""

import argparse
import pathlib
import re
import sys

MODEL = "l2norm"
OPS = pathlib.Path(__file__).resolve().parent.parent / "ops"


def camel(name):
    return "".join(part.capitalize() for part in name.split("_"))


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("name")
parser.add_argument("--into", type=pathlib.Path, default=OPS)
args = parser.parse_args()
folder = args.into / args.name
if not re.fullmatch(r"[a-z][a-z0-9_]*", args.name):
    sys.exit(f"new_op: '{args.name}' is no operator name; use lower case, digits and _")
if folder.exists():
    sys.exit(f"new_op: {folder} exists already")
folder.mkdir(parents=True)
for source in sorted((OPS / MODEL).iterdir()):
    text = source.read_text().replace(camel(MODEL), camel(args.name)).replace(MODEL, args.name)
    (folder / source.name.replace(MODEL, args.name)).write_text(text)
print(f"{folder} computes what {MODEL} computes until you change it. Start with {args.name}.h and reference.cc, then ./dev test.")
