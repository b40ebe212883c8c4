"""Runs the tests of real clients one after the other, and says what became of each: python run.py LOG_FOLDER [NAME...]

A test that was skipped counts as failed: whoever calls this wants them all.
"""

import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TESTS = {p.stem.removeprefix("test_"): p for p in [*sorted(HERE.glob("test_*.py")), HERE.parent / "server" / "test_web.py"]}
RESULTS = {0: "passed", 77: "skipped"}


def run(name, log):
    begin = time.monotonic()
    with log.open("w") as f:
        code = subprocess.run([sys.executable, TESTS[name]], stdin=subprocess.DEVNULL, stdout=f, stderr=f).returncode
    result = RESULTS.get(code, "failed")
    if code:
        print(f"---- {name}: the end of {log}\n{''.join(log.read_text().splitlines(keepends=True)[-60:])}", flush=True)
    return f"{name:14} {result:8} {time.monotonic() - begin:6.0f} s", code == 0


def main(folder, *names):
    for unknown in set(names) - set(TESTS):
        sys.exit(f"there is no client '{unknown}', wanted one of {', '.join(TESTS)}")
    logs = pathlib.Path(folder)
    logs.mkdir(parents=True, exist_ok=True)
    done = [run(name, logs / f"{name}.txt") for name in names or TESTS]
    print(*(line for line, _ in done), f"what they said: {logs}", sep="\n")
    return not all(good for _, good in done)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
