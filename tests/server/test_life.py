"""How a server starts, loses clients, and ends."""

import signal
import subprocess
import time
import unittest

from server import PATIENCE, PROGRAM, Server, metrics

ENDLESS = {"prompt": "Hi", "max_tokens": 30000, "ignore_eos": True}
COMPLETIONS = "/v1/completions"


def begun(server, **more):
    """An endless stream of which something has come."""
    s = server.stream(COMPLETIONS, {**ENDLESS, **more})
    s.events = iter(s)
    next(s.events)
    return s


class Clients(unittest.TestCase):
    def test_a_client_that_goes_frees_its_slot(self):
        with Server("--max-running-requests", 1) as s:
            for _ in range(3):
                begun(s).close()
                begin = time.monotonic()
                self.assertEqual(s.complete("Hi", max_tokens=1).status, 200)
                self.assertLess(time.monotonic() - begin, PATIENCE / 10)

    def test_a_client_that_goes_before_the_answer_frees_all_choices(self):
        with Server("--max-running-requests", 2) as s:
            c = s.connect()
            c.request("POST", COMPLETIONS, '{"prompt": ["a", "b"], "n": 4, "max_tokens": 30000, "ignore_eos": true}')
            time.sleep(0.2)
            c.close()
            self.assertEqual(s.complete("Hi", max_tokens=1).status, 200)

    def test_two_streams_at_once(self):
        with Server("--max-running-requests", 2) as s:
            long = begun(s)
            short = s.stream(COMPLETIONS, {"prompt": "Hi", "max_tokens": 8, "ignore_eos": True})
            self.assertTrue(list(short))
            self.assertTrue(short.done)
            self.assertIn("choices", next(long.events))
            long.close()

    def test_health_while_a_long_prompt_is_computed(self):
        with Server() as s:
            long = s.stream(COMPLETIONS, {"prompt": [5] * 20000, "max_tokens": 1})
            begin = time.monotonic()
            self.assertEqual(s.get("/health").status, 200)
            self.assertLess(time.monotonic() - begin, PATIENCE / 20)
            long.close()


class Ends(unittest.TestCase):
    def test_drain(self):
        with Server() as s:
            running = begun(s, max_tokens=600)
            s.signal(signal.SIGTERM)
            while s.get("/ready").status == 200:
                time.sleep(0.01)
            self.assertEqual(s.get("/health").status, 200)
            late = s.complete("Hi", max_tokens=1)
            self.assertEqual((late.status, late.error["code"]), (503, "unavailable"))
            self.assertIn("Retry-After", late.headers)
            self.assertEqual(list(running.events)[-1]["choices"][0]["finish_reason"], "length")
            self.assertTrue(running.done)
            self.assertEqual(s.process.wait(PATIENCE), 0)
            self.assertIn("no new requests", s.stderr())

    def test_drain_that_takes_too_long(self):
        with Server("--drain-timeout", 1) as s:
            running = begun(s)
            s.signal(signal.SIGINT)
            self.assertIn("shutting down", list(running.events)[-1]["error"]["message"])
            self.assertFalse(running.done)
            self.assertEqual(s.process.wait(PATIENCE), 0)

    def test_second_signal(self):
        with Server() as s:
            running = begun(s)
            s.signal(signal.SIGTERM)
            while s.get("/ready").status == 200:
                time.sleep(0.01)
            begin = time.monotonic()
            s.signal(signal.SIGTERM)
            self.assertEqual(s.process.wait(PATIENCE), 128 + signal.SIGTERM)
            self.assertLess(time.monotonic() - begin, 1)
            running.close()

    def test_idle(self):
        with Server() as s:
            begin = time.monotonic()
            self.assertEqual(s.stop(), 0)
            self.assertLess(time.monotonic() - begin, PATIENCE / 10)


class Starts(unittest.TestCase):
    def fails(self, *args, code=1):
        r = subprocess.run([PROGRAM, "serve", *map(str, args)], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual((r.returncode, r.stdout), (code, ""), r.stderr)
        self.assertEqual(len([line for line in r.stderr.splitlines() if "error" in line]), 1, r.stderr)
        return r.stderr

    def test_what_it_says(self):
        with Server("--access-log") as s:
            self.assertEqual(s.name, "model")
            s.get("/health")
            s.stop()
            log = s.stderr()
            self.assertRegex(log, r"memory: weights \d+ MiB, state .*slots.*, keys and values .*tokens")
            self.assertRegex(log, r'"method":"GET","path":"/health","status":200')
        with Server("--log-level", "error") as s:
            s.stop()
            self.assertEqual(s.stderr(), "")

    def test_snapshots_in_int8(self):
        with Server("--snapshots", "int8", "--max-running-requests", 2, "--state-slots", 4) as s:
            answers = [s.complete([7] * 100, max_tokens=4).json for _ in range(2)]
            self.assertEqual([a["usage"]["prompt_tokens_details"]["cached_tokens"] for a in answers], [0, 64])
            said = metrics(s)
            kept = said["sluice_state_snapshot_error_count"]
            self.assertGreaterEqual(kept, 1)
            self.assertEqual(said['sluice_state_slots{state="cached"}'], kept)
            self.assertGreaterEqual(said['sluice_state_slots{state="free"}'] + kept, 2 + 4 * 2)  # running slots, and snapshots for two more
            s.stop()
            self.assertRegex(s.stderr(), r"of the state's memory \d+ MiB are for \d+ snapshots in int8")
            self.assertRegex(s.stderr(), rf"{kept:.0f} snapshots were kept in int8; relative error of a state's worst head: 0\.0\d+ in the mean")

    def test_bad_options(self):
        self.assertIn("no/such/folder", self.fails("no/such/folder", "--port", 0))
        self.assertIn("--snapshots int8: with", self.fails("--snapshots", "int8", "--no-prefix-cache"))
        self.assertIn("--batch-invariant: with", self.fails("--snapshots", "int8", "--batch-invariant"))
        self.assertIn("--state-slots", self.fails("--state-slots", 2, "--max-running-requests", 4))
        self.fails("--port", 70000, code=2)
        self.fails("--max-body-bytes", 0, code=2)
        self.assertIn("cannot resolve", self.fails("--host", "no.such.host.invalid"))

    def test_port_that_is_taken(self):
        with Server() as s:
            self.assertIn("cannot listen", self.fails("--port", s.port))


if __name__ == "__main__":
    unittest.main()
