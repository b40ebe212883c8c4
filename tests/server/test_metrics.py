"""What /metrics says of requests that were sent: the same figures as their answers."""

import unittest

from server import Server, eventually, metrics

ENDLESS = {"prompt": "Hi", "max_tokens": 30000, "ignore_eos": True}


class Metrics(unittest.TestCase):
    def test_figures_are_those_of_the_answers(self):
        with Server() as s:
            usage = [s.complete(f"{i} 2 3 4 5", max_tokens=20 + i, ignore_eos=True).json["usage"] for i in range(4)]
            usage.append(s.complete("1 2", max_tokens=7, n=3, ignore_eos=True).json["usage"])
            *_, last = s.chat_stream("Hi", max_tokens=9, ignore_eos=True, stream_options={"include_usage": True})
            usage.append(last["usage"])
            tokens = sum(u["completion_tokens"] for u in usage)
            eventually(lambda: metrics(s)["sluice_num_requests_running"] == 0)
            m = metrics(s)
            self.assertEqual(m["vllm:generation_tokens_total"], tokens)
            self.assertEqual(m["vllm:request_generation_tokens_sum"], tokens)
            self.assertEqual(m['vllm:request_success_total{finished_reason="length"}'], 8)
            self.assertEqual(m["vllm:time_to_first_token_seconds_count"], 8)
            self.assertEqual(m["vllm:inter_token_latency_seconds_count"], tokens - 8)
            self.assertEqual(m["vllm:request_params_n_sum"], 8)
            self.assertEqual(m["vllm:request_params_n_count"], 6)
            self.assertGreaterEqual(m["vllm:e2e_request_latency_seconds_sum"], m["vllm:request_inference_time_seconds_sum"])
            self.assertGreater(m["sluice_http_sent_bytes_total"], 0)

    def test_clients_that_go_and_clients_that_are_refused(self):
        with Server("--max-running-requests", 1, "--max-queued-requests", 1) as s:
            running = s.stream("/v1/completions", ENDLESS)
            next(iter(running))
            eventually(lambda: metrics(s)["sluice_num_requests_running"] == 1)
            waiting = s.connect()
            waiting.request("POST", "/v1/completions", '{"prompt": "Hi", "max_tokens": 2}')
            eventually(lambda: metrics(s)["sluice_num_requests_waiting"] == 1)
            self.assertEqual(s.complete("Hi", max_tokens=2).status, 429)
            self.assertEqual(metrics(s)["vllm:admission_rejections_total"], 1)
            running.close()
            self.assertEqual(waiting.getresponse().status, 200)
            waiting.close()
            eventually(lambda: metrics(s)['vllm:request_success_total{finished_reason="abort"}'] == 1)
            eventually(lambda: metrics(s)['sluice_http_cancelled_total{reason="client_gone"}'] == 1)
            eventually(lambda: metrics(s)['sluice_state_slots{state="used"}'] == 0)

    def test_it_needs_the_key(self):
        with Server(env={"SLUICE_API_KEY": "secret"}) as s:
            self.assertEqual(s.get("/metrics").status, 401)
            m = metrics(s, Authorization="Bearer secret")
            self.assertEqual(m['sluice_http_rejected_total{reason="key"}'], 1)


if __name__ == "__main__":
    unittest.main()
