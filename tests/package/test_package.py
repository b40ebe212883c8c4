"""The Debian package: builds it from what is built, and holds it to its list of files and to how it runs once unpacked.

SLUICE_BUILD: the build folder. SLUICE_STRICT: a missing tool is a failure."""

import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = pathlib.Path(os.environ["SLUICE_BUILD"])
SOURCE = pathlib.Path(os.environ["SLUICE_SOURCE"])
STRICT = bool(os.environ.get("SLUICE_STRICT"))
NEEDED = ("dpkg-deb", "dpkg-shlibdeps", "file", "cpack")
missing = [tool for tool in NEEDED if not shutil.which(tool)]
if missing:
    print(f"there is no {', '.join(missing)} here: no package was built")
    sys.exit(1 if STRICT else 77)

PAGES = "sluice bench bench-ops bench-serve completion doctor eval help inspect op run score serve tokenize"
FILES = {
    "etc/sluice/sluice.toml",
    "lib/systemd/system/sluice.service",
    "usr/bin/sluice",
    "usr/libexec/sluice/op_bench",
    "usr/share/bash-completion/completions/sluice",
    "usr/share/fish/vendor_completions.d/sluice.fish",
    "usr/share/zsh/vendor-completions/_sluice",
    *(f"usr/share/doc/sluice/{name}" for name in ("changelog.gz", "copyright", "serving.md")),
    *(f"usr/share/sluice/demo/model/{f.name}" for f in (SOURCE / "demo/model").iterdir()),
    "usr/share/sluice/demo/tasks.jsonl",
}


def output(*command, **options):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, **options).stdout


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="sluice_package_"))
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        output("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", cls.dir / "pack", cwd=cls.dir)
        (cls.deb,) = (cls.dir / "pack").glob("*.deb")
        cls.root = cls.dir / "root"
        output("dpkg-deb", "-x", cls.deb, cls.root)
        cls.fields = dict(line.split(": ", 1) for line in output("dpkg-deb", "-f", cls.deb).splitlines() if re.match(r"[A-Z][\w-]*: ", line))

    def test_files(self):
        there = {str(f.relative_to(self.root)) for f in self.root.rglob("*") if not f.is_dir()}
        commands = re.findall(r"^  ([a-z]+) ", self.run_installed("--help").split("Options:")[0], re.M)
        pages = {f for f in there if f.startswith("usr/share/man/man1/")}
        self.assertEqual(there - pages, FILES)
        self.assertIn("usr/share/man/man1/sluice.1.gz", pages)
        self.assertGreater(len(commands), 8)
        for command in commands:
            self.assertIn(f"usr/share/man/man1/sluice-{command}.1.gz", pages)
        for page in pages:
            self.assertIn(b".SH DESCRIPTION", gzip.decompress((self.root / page).read_bytes()), page)

    def test_fields(self):
        version = re.search(r"project\(sluice VERSION ([\d.]+)", (SOURCE / "CMakeLists.txt").read_text())[1]
        self.assertEqual((self.fields["Package"], self.fields["Version"]), ("sluice", version))
        changelog = gzip.decompress((self.root / "usr/share/doc/sluice/changelog.gz").read_bytes()).decode()
        self.assertTrue(changelog.startswith(f"sluice ({version}) "), "packaging/changelog begins with another version than CMakeLists.txt")
        depends = {d.split()[0] for d in self.fields["Depends"].split(", ")}
        self.assertLessEqual({"libc6", "libstdc++6"}, depends)
        self.assertFalse({d for d in depends if "mpi" in d}, "MPI is loaded when it is wanted; nobody else should have to install it")
        self.assertEqual(output("dpkg-deb", "-I", self.deb, "conffiles"), "/etc/sluice/sluice.toml\n")

    def run_installed(self, *args, **options):
        return output(self.root / "usr/bin/sluice", *args, cwd="/", **options)

    def test_runs_with_its_own_demo_model(self):
        answer = self.run_installed("run", "-p", "Jon has 83 buttons. Jon finds 88 more. Jon sells 60. How many buttons are there in the end?")
        self.assertEqual(answer.strip(), "83 + 88 = 171. 171 - 60 = 111. The answer is 111.")
        self.assertIn(f"{self.root}/usr/share/sluice/demo/model", self.run_installed("doctor", "--no-bandwidth"))
        self.assertIn("accuracy", self.run_installed("eval", "--limit", "1"))
        ops = subprocess.run([self.root / "usr/bin/sluice", "bench", "ops", "nosuch"], capture_output=True, text=True)
        self.assertIn("^(nosuch)", ops.stderr)  # the words of usr/libexec/sluice/op_bench

    def test_the_unit_and_its_configuration_belong_together(self):
        unit = (self.root / "lib/systemd/system/sluice.service").read_text()
        (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.M)
        program, *words = command.split()
        self.assertEqual(program, "/usr/bin/sluice")
        config = self.root / "etc/sluice/sluice.toml"
        self.assertIn("/etc/sluice/sluice.toml", words)
        # With all that it proposes: a key that serve does not know would be refused, and the model is not there.
        everything = self.dir / "sluice.toml"
        everything.write_text(re.sub(r"^#(?=[a-zA-Z-]+ = )", "", config.read_text(), flags=re.M))
        words[words.index("/etc/sluice/sluice.toml")] = everything
        r = subprocess.run([self.root / "usr/bin/sluice", *words], capture_output=True, text=True)
        self.assertEqual(r.returncode, 1, r.stderr)
        self.assertIn("/var/lib/sluice/model", r.stderr)

    def test_lintian_has_no_errors(self):
        if not shutil.which("lintian"):
            self.assertFalse(STRICT, "there is no lintian here")
            self.skipTest("there is no lintian here")
        r = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", self.deb], capture_output=True, text=True)
        self.assertEqual(r.returncode, 0, r.stdout)


if __name__ == "__main__":
    unittest.main()
