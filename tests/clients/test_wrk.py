"""wrk: many connections at full speed, with no error on any. The rates are printed, not judged."""

import pathlib
import re
import subprocess
import tempfile
import unittest

from clients import needs

needs(programs=["wrk"])

from server import Server, eventually, metrics

SECONDS = 3
COMPLETIONS = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local n = 0
function request()
  n = n + 1
  return wrk.format(nil, nil, nil, '{"prompt": "' .. n .. ' + 1 =", "max_tokens": 2}')
end
"""


class Wrk(unittest.TestCase):
    def run_wrk(self, path, connections, script=None):
        """How many requests it made."""
        more = []
        if script:
            file = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "script.lua"
            file.write_text(script)
            more = ["-s", str(file)]
        url = f"http://127.0.0.1:{self.server.port}{path}"
        command = ["wrk", "-t2", f"-c{connections}", f"-d{SECONDS}s", "--timeout", "60s", "--latency", *more, url]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60 + 2 * SECONDS).stdout
        self.assertNotIn("Socket errors", said)
        self.assertNotIn("Non-2xx", said)
        count = int(re.search(r"(\d+) requests in", said)[1])
        print(f"{path}: {connections} connections, {re.search(r'Requests/sec: *(.*)', said)[1]} requests/s, 99% in {re.search(r'99% *(.*)', said)[1]}")
        self.assertGreater(count, connections)
        return count

    def test_health_and_completions(self):
        with Server() as self.server:
            health = self.run_wrk("/health", 64)
            self.assertGreaterEqual(metrics(self.server)['sluice_http_responses_total{code="2xx"}'], health)
            answered = self.run_wrk("/v1/completions", 16, COMPLETIONS)
            eventually(lambda: metrics(self.server)["sluice_num_requests_running"] == 0)
            m = metrics(self.server)
            self.assertGreaterEqual(m["sluice_request_params_n_count"], answered)
            self.assertEqual(sum(v for k, v in m.items() if k.startswith("sluice_http_rejected_total")), 0)
            self.assertEqual([m[f'sluice_http_responses_total{{code="{c}"}}'] for c in ("4xx", "5xx")], [0, 0])


if __name__ == "__main__":
    unittest.main()
