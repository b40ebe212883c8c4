"""A Prometheus that scrapes the server with the rules of docs/, and promtool over both."""

import json
import pathlib
import re
import socket
import subprocess
import tempfile
import unittest
import urllib.parse
import urllib.request

from clients import needs

needs(programs=["promtool", "prometheus"])

from server import PATIENCE, SOURCE, Server, eventually

RULES = SOURCE / "docs" / "alerts.yml"
CONFIG = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [RULES]
scrape_configs:
  - job_name: sluice
    static_configs: [{targets: ["127.0.0.1:PORT"]}]
"""


def promtool(*args, **more):
    done = subprocess.run(["promtool", *map(str, args)], capture_output=True, text=True, timeout=PATIENCE, **more)
    return done.returncode, done.stdout + done.stderr


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Prometheus:
    def __init__(self, config, folder):
        (folder / "prometheus.yml").write_text(config)
        self.log = (folder / "log").open("w+")
        self.url = f"http://127.0.0.1:{free_port()}"
        flags = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={self.url[7:]}"]
        self.process = subprocess.Popen(["prometheus", *flags], stdout=self.log, stderr=self.log)

    def __enter__(self):
        eventually(self.ready)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.log.close()

    def ready(self):
        assert self.process.poll() is None, pathlib.Path(self.log.name).read_text()
        try:
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=PATIENCE).status == 200
        except OSError:
            return False

    def get(self, path, **query):
        reply = json.load(urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=PATIENCE))
        assert reply["status"] == "success", reply
        return reply["data"]

    def value(self, query):
        """Of a query with one series; None while there is none."""
        result = self.get("query", query=query)["result"]
        assert len(result) < 2, result
        return float(result[0]["value"][1]) if result else None


class Scraped(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--served-model-name", "demo", "--snapshots", "int8"))
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        config = CONFIG.replace("RULES", str(RULES)).replace("PORT", str(cls.server.port))
        cls.prometheus = cls.enterClassContext(Prometheus(config, folder))

    def test_promtool_has_nothing_to_say(self):
        self.assertEqual(promtool("check", "metrics", input=self.server.get("/metrics?aliases=no").text), (0, ""))
        code, said = promtool("check", "rules", RULES)
        self.assertEqual(code, 0, said)
        self.assertGreater(int(re.search(r"SUCCESS: (\d+) rules found", said)[1]), 10)
        code, said = promtool("test", "rules", SOURCE / "docs" / "alerts_test.yml")
        self.assertEqual(code, 0, said)

    def test_what_it_scrapes_is_what_clients_got(self):
        value = self.prometheus.value
        eventually(lambda: value("up") == 1)
        begin = value("sluice_generation_tokens_total")
        prompts = ["1 + 1 = " * 40] + [f"{i} + 1 =" for i in range(1, 8)]  # the first is long enough for a snapshot
        replies = [self.server.complete(p, max_tokens=40 + i, ignore_eos=True).json["usage"] for i, p in enumerate(prompts)]
        tokens = sum(u["completion_tokens"] for u in replies)
        eventually(lambda: value("sluice_generation_tokens_total") == begin + tokens)
        self.assertEqual(value("vllm:generation_tokens_total"), begin + tokens)
        self.assertGreater(value("increase(sluice_generation_tokens_total[5m])"), 0)
        self.histograms(replies)
        target = self.prometheus.get("targets")["activeTargets"][0]
        self.assertEqual((target["health"], target["lastError"]), ("up", ""))
        metadata = self.prometheus.get("metadata", metric="sluice_generation_tokens_total")
        self.assertEqual(metadata["sluice_generation_tokens_total"][0]["type"], "counter")

    def histograms(self, replies):
        value = self.prometheus.value
        names = self.prometheus.get("label/__name__/values")
        histograms = [n.removesuffix("_bucket") for n in names if n.startswith("sluice_") and n.endswith("_bucket")]
        self.assertGreater(len(histograms), 10)
        for name in histograms:
            with self.subTest(name):
                self.assertEqual(value(f'{name}_bucket{{le="+Inf"}} - on(instance) {name}_count'), 0)
                buckets = self.prometheus.get("query", query=f"{name}_bucket")["result"]
                counts = [float(b["value"][1]) for b in sorted(buckets, key=lambda b: float(b["metric"]["le"]))]
                self.assertEqual(counts, sorted(counts), "buckets do not count up")
                self.assertGreater(counts[-1], 0, "nothing was counted")
                self.assertGreaterEqual(value(f"{name}_sum"), 0)
        self.assertEqual(value("sluice_request_generation_tokens_count"), len(replies))
        self.assertEqual(value("sluice_request_prompt_tokens_sum"), sum(u["prompt_tokens"] for u in replies))
        median = value("histogram_quantile(0.5, sluice_request_generation_tokens_bucket)")
        self.assertTrue(20 <= median <= 50, median)  # 40 to 47 tokens, in the bucket of up to 50

    def test_rules_are_evaluated_without_an_error(self):
        def rules():
            return [r for g in self.prometheus.get("rules")["groups"] for r in g["rules"]]

        eventually(lambda: all(r["health"] == "ok" for r in rules()))
        self.assertGreater(len(rules()), 10)
        self.assertEqual([r["name"] for r in rules() if r["state"] == "firing"], [])


if __name__ == "__main__":
    unittest.main()
