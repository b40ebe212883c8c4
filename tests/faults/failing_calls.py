"""Runs the program with calls that fail: a Faults is the page that failing_calls.h describes, shared with one run."""

import errno
import mmap
import os
import struct
import tempfile

ALLOCATION, READ = 1, 2
SHORT = -1
FOREVER = 1 << 62
EVERY = bool(os.environ.get("SLUICE_EVERY_FAILURE"))
FIELDS = ("kind", "first", "last", "error", "allocations", "reads", "failed", "trace")


class Faults:
    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="sluice_faults_")
        self.file.truncate(mmap.PAGESIZE)
        self.page = mmap.mmap(self.file.fileno(), mmap.PAGESIZE)

    def close(self):
        self.page.close()
        self.file.close()

    def __getitem__(self, field):
        return struct.unpack_from("<q", self.page, 8 * FIELDS.index(field))[0]

    def __setitem__(self, field, value):
        struct.pack_into("<q", self.page, 8 * FIELDS.index(field), value)

    def arm(self, kind, first, count=1, error=errno.EIO):
        """From now on the nth call fails, from 1, and those behind it, `count` in all."""
        self["kind"] = 0
        self["allocations"] = self["reads"] = self["failed"] = 0
        self["error"], self["last"], self["first"] = error, first + count - 1, first
        self["trace"] = int("SLUICE_TRACE_FAILURE" in os.environ)
        self["kind"] = kind

    def disarm(self):
        """No more fail. How many did."""
        self["kind"] = 0
        return self["failed"]

    @property
    def environment(self):
        # A sanitizer wants to be the first library, and does its work as well behind this one.
        return {**os.environ, "LD_PRELOAD": os.environ["SLUICE_PRELOAD"], "SLUICE_FAILING_CALLS": self.file.name}


def sample(calls, dense, spread):
    """Which of so many calls shall fail: all (SLUICE_EVERY_FAILURE), or the first ones, and the further on the fewer, and the last."""
    if EVERY:
        return list(range(1, calls + 1))
    chosen, n = [], 1
    while n <= calls:
        chosen.append(n)
        n += 1 if n < dense else 1 + n // spread
    return sorted({*chosen, calls})
