"""Help, man pages and what is said of a wrong command line."""

import os
import pathlib
import pty
import re
import shutil
import subprocess
import tempfile
import unittest

from program import PROGRAM, SOURCE, run, without


def pages(folder):
    r = run("help", "--man-pages", folder)
    assert r.returncode == 0, r.stderr
    return sorted(pathlib.Path(folder).glob("*.1"))


class ManPages(unittest.TestCase):
    def lint(self, tool, *args):
        if not shutil.which(tool):
            without(self, tool)
        with tempfile.TemporaryDirectory() as d:
            for page in pages(d):
                r = subprocess.run([tool, *args, page], capture_output=True, text=True, env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
                self.assertEqual((r.returncode, r.stderr), (0, ""), page.name)
                yield page, r.stdout

    def test_groff_has_no_warnings(self):
        for page, text in self.lint("groff", "-ww", "-man", "-Tutf8", "-P-cbou"):
            self.assertIn("DESCRIPTION", text, page.name)

    def test_mandoc_has_no_complaints(self):
        for page, complaints in self.lint("mandoc", "-T", "lint"):
            self.assertEqual(complaints, "", page.name)

    def test_man_shows_them(self):
        for page, text in self.lint("man", "--warnings", "-l", "-Tutf8"):
            self.assertIn("SYNOPSIS", re.sub("\x1b\\[[0-9;]*m|.\b", "", text), page.name)

    def test_an_option_reads_as_it_is_typed(self):
        for page, text in self.lint("groff", "-ww", "-man", "-Tascii", "-P-cbou"):
            if page.name == "sluice-run.1":
                self.assertRegex(text, r"\n +-p, --prompt TEXT\n +the user's message \[not with --ids, --prompt-file\]")
                self.assertIn('sluice run -p "Jon has 83 buttons.', text)

    def test_every_variable_that_is_read_is_told(self):
        with tempfile.TemporaryDirectory() as d:
            page = next(p for p in pages(d) if p.name == "sluice.1").read_text()
        layers = ("base", "core", "io", "ops", "op_runner", "text", "models", "engine", "server", "bench_client", "cli")
        read = set()
        for source in (f for layer in layers for f in (SOURCE / layer).rglob("*") if f.suffix in (".cc", ".h", ".cu", ".cuh")):
            if "test" not in source.name and source.name != "bench.cc":
                read.update(re.findall(r'getenv\("(SLUICE_\w+)"|envname\("(SLUICE_\w+)"', source.read_text()))
        names = {a or b for a, b in read}
        self.assertIn("SLUICE_IMPL", names)
        self.assertIn("SLUICE_MODEL", names)
        for name in names:
            self.assertIn(f"\\fB{name}\\fR", page)


class Help(unittest.TestCase):
    def test_three_ways_to_ask(self):
        self.assertEqual(run("help").stdout, run("--help").stdout)
        self.assertEqual(run("help", "run").stdout, run("run", "-h").stdout)
        self.assertEqual(run("help", "bench", "serve").stdout, run("bench", "serve", "--help").stdout)
        self.assertIn("usage: sluice bench serve [OPTION...] [PRESET]", run("help", "bench", "serve").stdout)

    def test_as_wide_as_the_terminal(self):
        parent, child = pty.openpty()
        import fcntl, struct, termios

        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
        process = subprocess.Popen([PROGRAM, "run", "--help"], stdout=child, close_fds=True)
        os.close(child)
        text = b""
        while True:
            try:
                part = os.read(parent, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            text += part
        self.assertEqual(process.wait(), 0)
        lines = text.decode().splitlines()
        self.assertLessEqual(max(map(len, lines)), 70)
        self.assertGreater(max(map(len, lines)), 60)

    def test_a_wrong_command_line_gets_one_line_that_helps(self):
        for args, words in (
            ([], "a command is missing: run, serve,"),
            (["srve"], "there is no command 'srve'; did you mean serve?; `sluice --help`"),
            (["--dtype", "bf16", "run"], "--dtype comes behind a command: sluice run --dtype"),
            (["run", "--promt", "x"], "run: there is no option --promt; did you mean --prompt?; `sluice run --help` shows"),
            (["run", "a", "b"], "run: 'b' is one argument too many"),
            (["run", "--dtype", "fp8"], "--dtype: 'fp8' is none of auto,bf16,fp32"),
            (["run", "--threads", "9999"], "--threads: 9999 is not from 0 to 1024"),
            (["run", "--seed", "x"], "--seed: 'x' is no number"),
            (["run", "-n"], "--max-tokens needs a value"),
            (["run", "-p", "x", "--ids", "1"], "do not go together"),
            (["bench", "serve", "--nonsense"], "bench serve: there is no option --nonsense; `sluice bench serve --help`"),
            (["op"], "op: NAME is missing"),
        ):
            r = run(*args)
            self.assertEqual((r.returncode, r.stdout), (2, ""), args)
            self.assertRegex(r.stderr, "^sluice: error: [^\n]*\n$")
            self.assertIn(words, r.stderr)
        r = run("help", "frob")
        self.assertEqual((r.returncode, r.stderr), (1, "sluice: error: help: sluice has no command 'frob'; `sluice help` lists them\n"))


if __name__ == "__main__":
    unittest.main()
