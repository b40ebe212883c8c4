"""Runs the program under test and makes checkpoints to break."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile

PROGRAM = os.environ["SLUICE_PROGRAM"]
SOURCE = pathlib.Path(os.environ["SLUICE_SOURCE"])
DEMO = SOURCE / "demo"
QUICK = bool(os.environ.get("SLUICE_QUICK"))  # sanitizer builds, ten times slower: a few tasks of each kind


def without(test, tool):
    """Skips a test whose tool is not here; with SLUICE_STRICT it fails."""
    test.assertFalse(os.environ.get("SLUICE_STRICT"), f"there is no {tool} here")
    test.skipTest(f"there is no {tool} here")


def run(*args, env=None, **options):
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, env={**os.environ, **(env or {})}, **options)


def read_safetensors(path):
    """Name -> (dtype, shape, bytes)."""
    data = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    body = data[8 + size :]
    return {name: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])]) for name, t in header.items() if name != "__metadata__"}


def write_safetensors(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    blob = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(blob)) + blob + body)


class Checkpoint:
    """A copy of the demo model that may be damaged; removed at the end of the with block."""

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="sluice_test_"))
        for f in (DEMO / "model").iterdir():
            shutil.copy(f, self.dir / f.name)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir)

    def edit_json(self, name, change):
        path = self.dir / name
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    def tensors(self):
        return read_safetensors(self.dir / "model.safetensors")

    def write_tensors(self, tensors):
        write_safetensors(self.dir / "model.safetensors", tensors)
