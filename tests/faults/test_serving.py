"""A server while allocations fail: it starts or says why not; who is hit gets an error, and the next request the same answer."""

import concurrent.futures
import errno
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "server"))

from failing_calls import ALLOCATION, FOREVER, READ, SHORT, Faults, sample
from server import PATIENCE, PROGRAM, QUICK, Server

FLAGS = ("--log-level", "error", "--threads", "1", "--max-running-requests", "2", "--max-context", "256")
DENSE, SPREAD = (6, 1) if QUICK else (30, 4)
NO_ANSWER = (http.client.HTTPException, ConnectionError)


class Answer:
    """What a chat request brought: its text, whether it is whole, and the error where there is one."""

    def __init__(self, server, stream):
        self.text, self.whole, self.error, self.status = "", False, None, 0
        body = {"messages": [{"role": "user", "content": "Add 494 and 92."}], "max_tokens": 6, "seed": 3, "stream": stream}
        connection = server.connect()
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            response = connection.getresponse()
            self.status = response.status
            for event in self.events(response, stream):
                self.error = self.error or event.get("error")
                for choice in event.get("choices", ()):
                    self.text += choice["delta" if stream else "message"].get("content") or ""
        except NO_ANSWER:
            self.whole = False
        finally:
            connection.close()

    def events(self, response, stream):
        if not stream or self.status != 200:
            yield json.loads(response.read())
            self.whole = self.status == 200
            return
        for line in response:
            if line == b"data: [DONE]\n":
                self.whole = True
            elif line.startswith(b"data: "):
                yield json.loads(line[6:])


class Requests(unittest.TestCase):
    def endures(self, stream, count):
        faults = Faults()
        with Server(*FLAGS, env=faults.environment) as s:
            want = Answer(s, stream)
            self.assertTrue(want.whole)
            self.assertGreater(len(want.text), 4)
            Answer(s, stream)  # what is made once and kept is there now
            faults.arm(0, 0)
            Answer(s, stream)
            errors = 0
            for n in sample(faults["allocations"], DENSE, SPREAD):
                what = f"allocation {n}, {count} in all: "
                faults.arm(ALLOCATION, n, count)
                got = Answer(s, stream)
                faults.disarm()
                if got.whole and not got.error:
                    self.assertEqual(got.text, want.text, what)
                else:
                    self.assertTrue(want.text.startswith(got.text), what + got.text)
                    self.assertIn(got.status, (0, 200, 500, 503) if stream else (0, 500, 503), what)
                    errors += got.error is not None
                after = Answer(s, stream)
                self.assertEqual((after.text, after.whole), (want.text, True), "after " + what + s.stderr())
            if count == 1:
                self.assertGreater(errors, 0, "nobody was told")
            self.assertEqual(s.stop(), 0, s.stderr())
            self.assertEqual(s.stderr(), "")
        faults.close()

    def test_answers(self):
        self.endures(stream=False, count=1)

    def test_streams(self):
        self.endures(stream=True, count=1)

    def test_bursts(self):
        # The second failure meets what the first one set going.
        for stream, count in ((False, 2), (True, 2), (True, 100)):
            self.endures(stream, count)

    def test_bursts_on_the_first_connection(self):
        # Nothing that an earlier one left can be used again.
        for n in sample(24, DENSE, SPREAD):
            faults = Faults()
            with Server(*FLAGS, env=faults.environment) as s:
                faults.arm(ALLOCATION, n, 100)
                Answer(s, stream=False)
                faults.disarm()
                self.assertTrue(Answer(s, stream=False).whole, f"after allocation {n}: " + s.stderr())
                self.assertEqual((s.stop(), s.stderr()), (0, ""))
            faults.close()

    def test_metrics_without_files(self):
        faults = Faults()
        with Server(*FLAGS, env=faults.environment) as s:
            faults.arm(0, 0)
            want = s.get("/metrics").text.count("\n")
            self.assertGreater(faults["reads"], 0)
            for n in range(1, faults["reads"] + 1):
                for error in (errno.EIO, errno.EINTR, SHORT):
                    faults.arm(READ, n, error=error)
                    reply = s.get("/metrics")
                    self.assertGreater(faults.disarm(), 0)
                    self.assertEqual(reply.status, 200)
                    self.assertLessEqual(abs(reply.text.count("\n") - want), 12, "only what could not be read is left out")
        faults.close()


class Life(unittest.TestCase):
    def start(self, faults):
        """The process, its log and its port, or None where it has ended."""
        log = tempfile.TemporaryFile("w+")
        process = subprocess.Popen([PROGRAM, "serve", "--port", "0", *FLAGS], stdout=subprocess.PIPE, stderr=log, text=True, env=faults.environment)
        found = re.fullmatch(r"serving \S+ at http://\S+:(\d+)\n", process.stdout.readline())
        return process, log, int(found[1]) if found else None

    def end(self, process, log):
        """Exit code and stderr."""
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = "hangs"
        process.stdout.close()
        log.seek(0)
        said = log.read()
        log.close()
        return code, said

    def expect_a_line(self, code, said, what):
        self.assertEqual(code, 1, what + said)
        self.assertRegex(said, r"^sluice: error: [^\n]*\n$", what)

    def calls_of_a_start(self):
        faults = Faults()
        process, log, port = self.start(faults)
        calls = {ALLOCATION: faults["allocations"], READ: faults["reads"]}
        self.assertIsNotNone(port)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.end(process, log), (0, ""))
        faults.close()
        return calls

    def test_start(self):
        calls = self.calls_of_a_start()
        begin = 9000  # the command line's, tests/faults/test_commands.py
        cases = [(ALLOCATION, begin + n, count, 0) for count in (1, FOREVER) for n in sample(calls[ALLOCATION] - begin, *((4, 1) if QUICK else (8, 2)))]
        cases += [(READ, n, 1, error) for n in range(1, calls[READ] + 1) for error in (errno.EIO, errno.EINTR)]

        def start_and_end(case):
            faults = Faults()
            faults.arm(*case)
            process, log, port = self.start(faults)
            faults.disarm()
            process.send_signal(signal.SIGTERM)
            code, said = self.end(process, log)
            faults.close()
            return case, port, code, said

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for (kind, n, count, error), port, code, said in pool.map(start_and_end, cases):
                what = f"{'allocation' if kind == ALLOCATION else 'read'} {n}, {count} in all, error {error}: "
                if port:
                    self.assertEqual((code, said), (0, ""), what)
                else:
                    self.expect_a_line(code, said, what)
                    self.assertNotEqual(error, errno.EINTR, "an interrupted read is no error")

    def test_end(self):
        for count in (1, FOREVER):
            n, failed = 1, True
            while failed:
                faults = Faults()
                process, log, port = self.start(faults)
                faults.arm(ALLOCATION, n, count)
                process.send_signal(signal.SIGTERM)
                code, said = self.end(process, log)
                failed = faults["failed"] > 0
                if code != 0 or failed:
                    self.assertIn(code, (0, 1), f"allocation {n}, {count} in all: {said}")
                if code == 1:
                    self.expect_a_line(code, said, f"allocation {n}: ")
                faults.close()
                n += 1
            self.assertGreater(n, 3)


if __name__ == "__main__":
    unittest.main()
