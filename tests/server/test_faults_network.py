"""What networks, signals and the machine's limits do to a server: the faults of docs/faults.md by number."""

import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from server import PATIENCE, PROGRAM, QUICK, SOURCE, Server

COMPLETIONS = "/v1/completions"
ENDLESS = {"prompt": "Hi", "max_tokens": 30000, "ignore_eos": True}


def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def metric(server, name):
    for line in server.get("/metrics?aliases=no").text.splitlines():
        series, _, value = line.rpartition(" ")
        if re.sub(r'model_name="[^"]*",engine="0",?', "", series).replace("{}", "") == name:
            return float(value)
    raise AssertionError(f"no metric {name}")


def resident_bytes(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10


def cpu_seconds(server):
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def dial(server, receive_buffer=0):
    s = socket.socket()
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.settimeout(PATIENCE)
    s.connect(("127.0.0.1", server.port))
    return s


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def post(body):
    data = json.dumps(body)
    return f"POST {COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n{data}".encode()


def begun(server, **more):
    """An endless stream of which something has come."""
    s = server.stream(COMPLETIONS, {**ENDLESS, **more})
    s.events = iter(s)
    next(s.events)
    return s


def limited(which, soft, hard=None):
    """For preexec_fn."""
    return lambda: resource.setrlimit(which, (soft, hard or resource.getrlimit(which)[1]))


class Fault18SlowClients(unittest.TestCase):
    TRICKLING, DEAF, SILENT = (100, 20, 100) if QUICK else (1000, 500, 1000)

    def setUp(self):
        self.before = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = self.TRICKLING + self.DEAF + self.SILENT + 200
        if self.before[1] < needed:
            self.skipTest(f"{needed} descriptors are needed, and the hard limit is {self.before[1]}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, self.before[0]), self.before[1]))

    def tearDown(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, self.before)

    def test_slow_deaf_and_silent_clients(self):
        # A client whose machine vanished is to the server one that is silent.
        flags = ("--max-connections", 4096, "--header-timeout", 2000, "--write-stall", 2000, "--keep-alive-timeout", 2000)
        with Server(*flags) as s:
            self.normal_client(s)
            base, fds = resident_bytes(s), descriptors(s)
            trickling = [dial(s) for _ in range(self.TRICKLING)]
            deaf = [dial(s, receive_buffer=4096) for _ in range(self.DEAF)]
            silent = [dial(s) for _ in range(self.SILENT)]
            for c in deaf:
                c.sendall(b"GET /web/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300)
            most = 0
            for letter in "GET /":
                for c in trickling:
                    with contextlib.suppress(OSError):  # the server has had enough of it
                        c.send(letter.encode())
                self.normal_client(s)
                most = max(most, resident_bytes(s))
            eventually(lambda: metric(s, "sluice_http_connections") == 1)  # the one that asks
            self.assertEqual(metric(s, 'sluice_http_rejected_total{reason="head_timeout"}'), self.TRICKLING)
            self.assertEqual(metric(s, 'sluice_http_cancelled_total{reason="slow_reader"}'), self.DEAF)
            eventually(lambda: descriptors(s) <= fds)
            if not QUICK:  # sanitizers keep what is freed
                self.assertLess(max(most, resident_bytes(s)) - base, 64 << 20)
            self.normal_client(s)
            for c in trickling + deaf + silent:
                c.close()

    def normal_client(self, s):
        self.assertEqual(s.get("/health").status, 200)
        self.assertEqual(s.complete("Hi", max_tokens=2).status, 200)


class Fault19Disconnects(unittest.TestCase):
    COUNT, THREADS = (80, 4) if QUICK else (1000, 8)

    def leave(self, server, rng):
        """One client that goes: before the answer, while its prompt is read, or within the stream."""
        c = dial(server)
        way = rng.randrange(4)
        stream = rng.random() < 0.7
        prompt = [rng.randrange(3, 2000) for _ in range(rng.choice((1, 70, 600)))]
        c.sendall(post({**ENDLESS, "prompt": prompt, "stream": stream}))
        if way > 0:
            time.sleep(rng.random() * 0.02)
        if way > 1 and stream:
            c.recv(rng.choice((1, 200, 4000)))
        if way == 3:
            c.shutdown(socket.SHUT_WR)
        reset(c) if rng.random() < 0.5 else c.close()

    def storm(self, server):
        def many(seed):
            rng = random.Random(seed)
            for _ in range(self.COUNT // self.THREADS):
                self.leave(server, rng)

        reading = server.stream(COMPLETIONS, {"prompt": [5] * (1000 if QUICK else 6000), "max_tokens": 3, "ignore_eos": True})
        threads = [threading.Thread(target=many, args=(seed,)) for seed in range(self.THREADS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(list(reading)[-1]["choices"][0]["finish_reason"], "length")

    def pools(self, server):
        status = server.get("/status.json").json
        return {**status["state_slots"], **{"kv_" + k: v for k, v in status["kv_pages"].items()}, **status["requests"]}

    def test_pools_return_to_their_base(self):
        with Server("--no-prefix-cache", "--max-running-requests", 4, "--max-queued-requests", 2000) as s:
            base, fds = self.pools(s), descriptors(s)
            self.storm(s)
            eventually(lambda: self.pools(s)["running"] + self.pools(s)["waiting"] == 0)
            after = self.pools(s)
            for name in ("total", "live", "snapshots", "free", "kv_total", "kv_live", "kv_cached", "kv_free"):
                self.assertEqual(after[name], base[name], name)
            self.assertEqual(after["failed"], 0)
            self.assertGreater(after["cancelled"], self.COUNT // 2)
            eventually(lambda: descriptors(s) <= fds)
            self.assertEqual(s.complete("Hi", max_tokens=2).status, 200)

    def test_with_the_prefix_cache_only_what_it_holds_stays(self):
        with Server("--max-running-requests", 4, "--max-queued-requests", 2000, "--state-slots", 12, "--kv-tokens", 32768) as s:
            self.storm(s)
            eventually(lambda: self.pools(s)["running"] + self.pools(s)["waiting"] == 0)
            after = self.pools(s)
            self.assertEqual((after["live"], after["kv_live"], after["failed"]), (0, 0, 0))
            self.assertEqual(after["free"] + after["snapshots"], after["total"])
            self.assertEqual(after["kv_free"] + after["kv_cached"], after["kv_total"])
            self.assertEqual(s.complete("Hi", max_tokens=2).status, 200)


class Fault20Smuggling(unittest.TestCase):
    def test_a_hidden_request_is_not_answered(self):
        hidden = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        with Server() as s:
            for bad in (
                b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
                b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
                b"X: 1\r\n folded\r\n\r\n",
            ):
                c = dial(s)
                c.sendall(head + bad + hidden)
                c.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: c.recv(65536), b""))
                c.close()
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
                self.assertIn(b"\r\nConnection: close\r\n", answer)
                self.assertEqual(answer.count(b"HTTP/1.1"), 1)


class Fault21Hosts(unittest.TestCase):
    def test_a_name_that_was_made_to_point_here(self):
        with Server() as s:
            for host, status in (("localhost", 200), (f"127.0.0.1:{s.port}", 200), ("[::1]:1", 200), ("rebound.example", 403)):
                self.assertEqual(s.get("/v1/models", Host=host).status, status, host)
            refused = s.post(COMPLETIONS, {"prompt": "Hi"}, Host="rebound.example")
            self.assertEqual((refused.status, refused.error["code"]), (403, "host_not_allowed"))
            self.assertIn("--allowed-host", refused.error["message"])
            self.assertEqual(s.get("/health", Host="rebound.example").status, 200)

    def test_names_behind_a_proxy(self):
        with Server("--allowed-host", "llm.example.com", env={"SLUICE_ALLOWED_HOST": ""}) as s:
            self.assertEqual([s.get("/v1/models", Host=h).status for h in ("llm.example.com", "rebound.example")], [200, 403])
        with Server("--allowed-host", "*") as s:
            self.assertEqual(s.get("/v1/models", Host="rebound.example").status, 200)

    def test_an_address_for_others_has_any_name(self):
        with Server("--host", "0.0.0.0") as s:
            self.assertEqual(s.get("/v1/models", Host="box.lan").status, 200)


class Fault24Memory(unittest.TestCase):
    def test_pools_that_do_not_fit(self):
        for flag, wanted in (("--kv-tokens", "of 1099511627776 tokens"), ("--state-slots", "1099511627776 state slots")):
            r = subprocess.run([PROGRAM, "serve", "--port", "0", flag, str(1 << 40)], capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual((r.returncode, r.stdout), (1, ""))
            self.assertRegex(r.stderr, rf"(?m)^sluice: error: .*{wanted}.* do not fit in memory: could not allocate \d+ bytes; give fewer --state-slots")


class Fault25LostDevice(unittest.TestCase):
    def test_all_get_503_and_the_program_ends_with_70(self):
        with Server("--max-running-requests", 2, "--lose-device-after", 400) as s:
            streams = [begun(s), begun(s)]
            waiting = [s.connect() for _ in range(3)]
            for c in waiting:
                c.request("POST", COMPLETIONS, json.dumps(ENDLESS))
            for stream in streams:
                self.assertIn("the device is lost", list(stream.events)[-1]["error"]["message"])
                self.assertFalse(stream.done)
            begin = time.monotonic()
            for c in waiting:
                self.assertEqual(c.getresponse().status, 503)
                c.close()
            with contextlib.suppress(OSError, http.client.HTTPException):  # until nobody listens any more
                while True:
                    self.assertEqual(s.get("/ready").status, 503)
                    self.assertEqual(s.complete("Hi", max_tokens=1).status, 503)
            self.assertEqual(s.process.wait(PATIENCE), 70)
            self.assertLess(time.monotonic() - begin, 10)
            self.assertEqual(len(re.findall("^sluice: error: the device is lost", s.stderr(), re.M)), 1)


class Fault26Resources(unittest.TestCase):
    @unittest.skipIf(QUICK, "UBSan looks at memory through a pipe: without descriptors it takes each object for a broken one")
    def test_no_descriptors(self):
        with Server(preexec_fn=limited(resource.RLIMIT_NOFILE, 64, 64)) as s:
            self.assertIn("may open 64 files", s.stderr())
            clients = [dial(s) for _ in range(200)]
            for c in clients:
                c.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            clients[0].recv(1000)
            before = cpu_seconds(s)
            time.sleep(1)
            self.assertLess(cpu_seconds(s) - before, 0.5, "it waits for descriptors in a busy loop")
            for c in clients:  # each that goes makes room for another
                if c is not clients[0]:
                    self.assertEqual(c.recv(1000)[:13], b"HTTP/1.1 200 ")
                c.close()
            self.assertGreater(metric(s, 'sluice_http_rejected_total{reason="descriptors"}'), 0)
            self.assertEqual(s.complete("Hi", max_tokens=2).status, 200)

    @unittest.skipIf(QUICK, "the sanitizers' own threads fail first")
    def test_no_threads(self):
        # A stack as large as the address space: not one thread can be started.
        huge = limited(resource.RLIMIT_STACK, 1 << 47)
        for args in (("run", "-p", "Hi", "--threads", "4"), ("serve", "--port", "0", "--threads", "4"), ("serve", "--port", "0", "--threads", "1")):
            r = subprocess.run([PROGRAM, *args], capture_output=True, text=True, preexec_fn=huge, timeout=PATIENCE)
            self.assertEqual((r.returncode, r.stdout), (1, ""), args)
            self.assertRegex(r.stderr, r"(?m)^sluice: error: no more threads can be started: .*--threads")

    def test_a_full_disk_behind_the_logs(self):
        with tempfile.TemporaryFile("w+") as log, open("/dev/full", "w") as full:
            p = subprocess.Popen([PROGRAM, "serve", "--port", "0"], stdout=full, stderr=log, text=True)
            try:
                found = []
                eventually(lambda: (log.seek(0), found.extend(re.findall(r"serving .* at http://127.0.0.1:(\d+)", log.read())), found)[-1])
                log.seek(0)
                self.assertRegex(log.read(), "warning: standard output cannot be written")
                p.send_signal(signal.SIGTERM)
                self.assertEqual(p.wait(PATIENCE), 0)
            finally:
                p.kill()
                p.wait()
        read_end, write_end = os.pipe()
        with open("/dev/full", "w") as full:
            p = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--access-log"], stdout=write_end, stderr=full)
        os.close(write_end)
        try:
            with open(read_end) as out:
                port = int(out.readline().rpartition(":")[2])
            for _ in range(3):  # behind a closed pipe and a full disk
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
                c.request("GET", "/health")
                self.assertEqual(c.getresponse().status, 200)
                c.close()
            p.send_signal(signal.SIGTERM)
            self.assertEqual(p.wait(PATIENCE), 0)
        finally:
            p.kill()
            p.wait()

    def test_a_full_disk_behind_the_answer(self):
        for args in (("run", "-p", "Hi", "-n", "3"), ("run", "-p", "Hi", "-n", "3", "--json"), ("doctor",), ("tokenize", "Hi")):
            with open("/dev/full", "w") as full:
                r = subprocess.run([PROGRAM, *args], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
            self.assertEqual(r.returncode, 1, (args, r.stderr))
            self.assertEqual(len(re.findall("^sluice: error: ", r.stderr, re.M)), 1, r.stderr)

    def test_a_plot_that_cannot_be_written(self):
        bench = [PROGRAM, "bench", "--prompt", "16", "--gen", "4", "-r", "1", "--plot"]
        with tempfile.TemporaryDirectory() as d:
            for path, options in ((f"{d}/none/p.svg", {}), ("/proc/p.svg", {}), (f"{d}/p.svg", {"preexec_fn": limited(resource.RLIMIT_FSIZE, 100), "restore_signals": False})):
                r = subprocess.run([*bench, path], capture_output=True, text=True, timeout=PATIENCE, **options)
                self.assertEqual(r.returncode, 1)
                self.assertIn("tokens/s", r.stdout)  # the figures are there all the same
                self.assertIn(f"sluice: error: {path}: cannot be written", r.stderr)
                self.assertEqual(os.listdir(d), [])


class Fault27Clocks(unittest.TestCase):
    # Wall clock is for what people read, and for nothing that waits.
    WALL = {
        "server/answer_head.cc": "`created` of an answer",
        "server/connection.cc": "the Date header",
        "server/response_answer.cc": "`completed_at` of an answer",
        "server/service.cc": "`created` of a model",
        "text/jinja/globals.cc": "strftime_now",
    }  # fmt: skip
    WALL_CLOCK = re.compile(r"system_clock|high_resolution_clock|CLOCK_REALTIME|gettimeofday|\btime\((nullptr|NULL|0|&)|timespec_get|std::time\b|ftime\(")

    def test_deadlines_use_the_steady_clock(self):
        used = {}
        for folder in ("base", "core", "io", "text", "ops", "models", "engine", "server", "cli", "bench_client", "op_runner"):
            for path in (SOURCE / folder).rglob("*"):
                if path.suffix in (".h", ".cc") and not path.name.endswith("_test.cc") and self.WALL_CLOCK.search(path.read_text()):
                    used[str(path.relative_to(SOURCE))] = True
        self.assertEqual(set(used), set(self.WALL))


class Fault28Signals(unittest.TestCase):
    def test_sigterm_under_load(self):
        with Server("--max-running-requests", 4, "--drain-timeout", 1) as s:
            streams = [begun(s) for _ in range(4)]
            waiting = [s.connect() for _ in range(4)]
            for c in waiting:
                c.request("POST", COMPLETIONS, json.dumps(ENDLESS))
            eventually(lambda: metric(s, "sluice_num_requests_waiting") == 4)
            s.signal(signal.SIGTERM)
            eventually(lambda: s.get("/ready").status == 503)
            self.assertEqual(s.complete("Hi", max_tokens=1).status, 503)
            for stream in streams:
                self.assertIn("shutting down", list(stream.events)[-1]["error"]["message"])
            for c in waiting:
                self.assertEqual(c.getresponse().status, 503)
                c.close()
            self.assertEqual(s.process.wait(PATIENCE), 0)

    def test_sighup_is_the_end_of_a_terminal(self):
        with Server() as s:
            s.signal(signal.SIGHUP)
            self.assertEqual(s.process.wait(PATIENCE), 0)

    def test_what_was_ignored_stays_ignored(self):
        with Server(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as s:  # nohup
            s.signal(signal.SIGHUP)
            time.sleep(0.3)
            self.assertEqual(s.get("/ready").status, 200)
            self.assertEqual(s.stop(), 0)

    def test_sigpipe(self):
        with Server("--access-log") as s:
            s.process.stdout.close()
            for _ in range(20):
                c = dial(s)
                c.sendall(post({**ENDLESS, "stream": True}))
                reset(c)
            s.signal(signal.SIGPIPE)
            self.assertEqual(s.complete("Hi", max_tokens=2).status, 200)

    def test_run_ends_at_ctrl_c(self):
        p = subprocess.Popen([PROGRAM, "run", "-p", "Tell me all", "--raw", "-n", "30000"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with p.stdout:
            self.assertTrue(p.stdout.read(1))
            p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(PATIENCE), -signal.SIGINT)


class Fault30Addresses(unittest.TestCase):
    def test_ipv6(self):
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError as e:
                self.skipTest(f"no IPv6 here: {e}")
        with Server("--host", "::1") as s:
            self.assertRegex(s.line, r" at http://\[::1\]:\d+\n$")
            c = http.client.HTTPConnection("::1", s.port, timeout=PATIENCE)
            c.request("GET", "/v1/models")
            self.assertEqual(c.getresponse().status, 200)
            c.close()

    def test_two_servers_on_a_port(self):
        with Server() as s:
            r = subprocess.run([PROGRAM, "serve", "--port", str(s.port)], capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual((r.returncode, r.stdout), (1, ""))
            self.assertIn(f"sluice: error: cannot listen on 127.0.0.1:{s.port}: Address already in use; choose another --port", r.stderr)
            self.assertEqual(s.get("/health").status, 200)


if __name__ == "__main__":
    unittest.main()
