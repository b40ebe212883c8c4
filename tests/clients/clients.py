"""What the tests of real clients share. A test is run alone, and exits with 77 and a line of reason where its client is not installed."""

import importlib.util
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "server"))

from server import PATIENCE


def needs(modules=(), programs=()):
    missing = [f"no Python module {m}" for m in modules if not importlib.util.find_spec(m)]
    missing += [f"no program {p}" for p in programs if not shutil.which(p)]
    if missing:
        print("skipped:", ", ".join(missing))
        sys.exit(77)


def eventually(condition, patience=PATIENCE):
    """Waits until a condition holds, and gives its value."""
    end = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value
