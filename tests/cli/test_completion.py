"""Completion, in the shells themselves."""

import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import tempfile
import time
import unittest

from program import PROGRAM, run, without

# What is typed, some of what must be offered, and some of what must not.
CASES = (
    ("sluice ", {"run", "serve", "doctor", "help"}, {"--dtype", "ops"}),
    ("sluice se", {"serve"}, {"run"}),
    ("sluice run --dt", {"--dtype"}, {"--device"}),
    ("sluice run --dtype ", {"auto", "bf16", "fp32"}, {"run"}),
    ("sluice run --dtype b", {"bf16"}, {"fp32"}),
    ("sluice run --device cu", {"cuda"}, {"cpu"}),
    ("sluice run --system run --snapshots i", {"int8"}, {"fp32"}),
    ("sluice bench ", {"ops", "serve"}, {"run", "doctor"}),
    ("sluice bench ops gdn_pre", {"gdn_prefill"}, {"matmul"}),
    ("sluice bench serve --endpoint c", {"completions", "chat"}, {"md"}),
    ("sluice --config-file x serve --po", {"--port"}, {"--prompt"}),
    ("sluice op --out x --in y gdn_dec", {"gdn_decode"}, {"gdn_prefill"}),
    ("sluice completion ", {"bash", "zsh", "fish"}, {"run"}),
    ("sluice run fol", {"folder/"}, {"folder.txt"}),
    ("sluice run --tokenizer fol", {"folder/"}, {"folder.txt"}),
    ("sluice run --prompt-file fol", {"folder/", "folder.txt"}, set()),
)

PROMPT = "sluice-test> "
ZSH_SETUP = f"PS1='{PROMPT}'; bindkey -e; autoload -U compinit; compinit -D -u; source <(sluice completion zsh)"


def script(shell):
    r = run("completion", shell)
    assert r.returncode == 0, r.stderr
    return r.stdout


class Terminal:
    """A shell on a terminal that is typed into."""

    def __init__(self, argv, folder, env):
        self.process, self.file = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, {**os.environ, "TERM": "dumb", "LC_ALL": "C.UTF-8", "HOME": folder, **env})

    def type(self, text):
        os.write(self.file, text.encode())

    def read_until(self, mark, seconds=20):
        """All up to the mark."""
        text, end = "", time.monotonic() + seconds
        while mark not in text:
            if time.monotonic() > end or not select.select([self.file], [], [], end - time.monotonic())[0]:
                raise AssertionError(f"no {mark!r} in {text!r}")
            text += os.read(self.file, 65536).decode(errors="replace")
        return text

    def answer(self, line):
        """What a line gives until the next prompt. It is typed only when the shell reads keys itself, not the terminal for it."""
        self.type(line)
        text = self.read_until("end\r\n")
        return text + ("" if PROMPT in text.split("end\r\n")[1] else self.read_until(PROMPT))

    def close(self):
        os.close(self.file)
        os.waitpid(self.process, 0)


class Completion(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        folder = pathlib.Path(self.dir.name)
        (folder / "folder").mkdir()
        (folder / "folder.txt").write_text("")
        (folder / "bin").mkdir()
        (folder / "bin/sluice").symlink_to(PROGRAM)
        self.env = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}

    def need(self, shell):
        if not shutil.which(shell):
            without(self, shell)
        path = pathlib.Path(self.dir.name) / f"completion.{shell}"
        path.write_text(script(shell))
        return path

    def check(self, offered):
        for line, wanted, unwanted in CASES:
            with self.subTest(line):
                words = offered(line)
                self.assertLessEqual(wanted, words)
                self.assertFalse(words & unwanted, words)

    def test_bash_offers(self):
        path = self.need("bash")
        # As readline calls it; names of files come from readline's own defaults, which compopt asks for.
        harness = r"""
            source "$1"; COMP_LINE=$2; COMP_POINT=${#2}
            compopt() { case $2 in default) COMPREPLY+=($(compgen -f -- "${COMP_WORDS[-1]}")) ;; esac
                        COMPREPLY+=($(compgen -d -S / -- "${COMP_WORDS[-1]}")); }
            line=${2//:/ : }; line=${line//=/ = }; COMP_WORDS=($line); [[ $line == *' ' ]] && COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _sluice; printf '%s\n' "${COMPREPLY[@]}" """

        def offered(line):
            r = subprocess.run(["bash", "-c", harness, "bash", path, line], capture_output=True, text=True, cwd=self.dir.name, env=self.env)
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            return set(r.stdout.split())

        self.check(offered)
        self.assertEqual(offered("sluice run --device cuda:"), {"0"})  # readline replaces what is behind the colon
        self.assertEqual(offered("sluice run --dtype=b"), {"bf16"})

    def complete_on_a_terminal(self, argv, setup):
        shell = Terminal(argv, self.dir.name, self.env)
        self.addCleanup(shell.close)
        shell.answer(f"{setup}; echo en''d\n")
        for typed, line in (
            ("sluice run --dty\tbf\t", "sluice run --dtype bf16"),
            ("sluice run --device cuda:\t", "sluice run --device cuda:0"),
            ("sluice run --prompt-file folder.\t", "sluice run --prompt-file folder.txt"),
            ("sluice run fol\t", "sluice run folder"),
        ):
            text = shell.answer(f"{typed}\x01echo '\x05'; echo en''d\n")  # Ctrl-A and Ctrl-E: the line in quotes is printed
            # zsh takes a folder's / away when a space follows.
            self.assertEqual(text.split("end\r\n")[0].splitlines()[-1].strip().rstrip("/"), line, text)

    def test_bash_on_a_terminal(self):
        self.need("bash")
        self.complete_on_a_terminal(["bash", "--norc", "--noprofile", "-i"], f"PS1='{PROMPT}'; source <(sluice completion bash)")

    def test_zsh_on_a_terminal(self):
        self.need("zsh")
        self.complete_on_a_terminal(["zsh", "-f", "-i"], ZSH_SETUP)

    def test_zsh_offers(self):
        self.need("zsh")
        shell = Terminal(["zsh", "-f", "-i"], self.dir.name, self.env)
        self.addCleanup(shell.close)
        shell.answer(f"{ZSH_SETUP}; zstyle ':completion:*' verbose no; echo en''d\n")

        def offered(line):
            text = shell.answer(f"{line}\x04\x15echo en''d\n")  # Ctrl-D lists, Ctrl-U clears the line
            listed = text.partition("\r\n")[2].partition("\x1b[A")[0]  # the cursor goes up again behind the list
            return set(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x08", "", listed).split())

        self.check(offered)

    def test_fish_offers(self):
        path = self.need("fish")

        def offered(line):
            r = subprocess.run(["fish", "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', str(path), line],
                               capture_output=True, text=True, cwd=self.dir.name, env={**self.env, "HOME": self.dir.name})
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            return {entry.split("\t")[0] for entry in r.stdout.splitlines()}

        self.check(offered)


if __name__ == "__main__":
    unittest.main()
