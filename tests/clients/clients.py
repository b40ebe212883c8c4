"""What the tests of real clients share. A test is run alone, and exits with 77 and a line of reason where its client is not installed."""

import importlib.util
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "server"))


def needs(modules=(), programs=()):
    missing = [f"no Python module {m}" for m in modules if not importlib.util.find_spec(m)]
    missing += [f"no program {p}" for p in programs if not shutil.which(p)]
    if missing:
        print("skipped:", ", ".join(missing))
        sys.exit(77)
