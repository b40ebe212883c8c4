"""Bad requests: the status, the field that is named, and a server that goes on."""

import json
import unittest
import urllib.parse

from server import Server

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def message(**fields):
    return {"messages": [{"role": "user", "content": "Hi", **fields}]}


# Fields of both routes: (value, status).
COMMON = {
    "model": [(5, 400), ("other", 404), ([], 400)],
    "temperature": [(-0.1, 400), ("1", 400), (101, 400), ([], 400), (True, 400)],
    "top_p": [(0, 400), (1.1, 400), ({}, 400)],
    "top_k": [(-2, 400), (1.5, 400), (2**40, 400)],
    "min_p": [(-0.1, 400), (1.5, 400)],
    "repetition_penalty": [(0, 400), (-1, 400), ("x", 400)],
    "presence_penalty": [(2.1, 400)],
    "frequency_penalty": [(-2.1, 400)],
    "logit_bias": [({"1000000000": 1}, 400), ({"x": 1}, 400), ({"1": 101}, 400), ({"1": "a"}, 400), ([], 400),
                   ({str(i): 0 for i in range(1025)}, 400), ({"1": 0, "01": 0}, 400), ({"-1": 0}, 400)],
    "seed": [(1.5, 400), ("a", 400)],
    "stop": [("", 400), (["a", ""], 400), (["x"] * 17, 400), ("x" * 257, 400), (5, 400), ([5], 400)],
    "stop_token_ids": [([-1], 400), ([2048], 400), ([2**31], 400), (5, 400), (["a"], 400)],
    "allowed_token_ids": [([], 400), ([2048], 400)],
    "bad_words": [("x", 400), ([""], 400)],
    "min_tokens": [(-1, 400), (40000, 400)],
    "max_tokens": [(-1, 400), (10**12, 400), (1.5, 400), ("5", 400), (32769, 400)],
    "max_completion_tokens": [(-1, 400)],
    "n": [(0, 400), (9, 400), (10**12, 400), (1.5, 400)],
    "best_of": [(0, 400), (2, 501)],
    "stream": [("yes", 400), (1, 400)],
    "stream_options": [({}, 400), (5, 400)],
    "ignore_eos": [(1, 400)],
    "skip_special_tokens": [("x", 400)],
    "include_stop_str_in_output": [(0, 400)],
    "prompt_logprobs": [(21, 400), (-1, 400)],
    "truncate_prompt_tokens": [(0, 400), (-2, 400)],
    "priority": [("high", 400), (2**40, 400)],
    "cache_salt": [("", 400), (5, 400), ("x" * 257, 400)],
    "use_cache": [("no", 400)],
    "request_id": [(5, 400)],
    "user": [(5, 400)],
    "metadata": [([], 400)],
    "thinking_token_budget": [(-5, 400)],
    "chat_template": [("{{ 1 }}", 400)],
    "logits_processors": [(["x"], 400)],
    "response_format": [({"type": "json_object"}, 501), ({"type": "json_schema", "json_schema": {}}, 501), (5, 400)],
    "structured_outputs": [({"json": {}}, 501)],
    "guided_json": [({}, 501)],
    "guided_regex": [("a", 501)],
    "use_beam_search": [(True, 501), (5, 400)],
}  # fmt: skip

# A body's other fields and the field that is named.
CHAT_ONLY = [
    ({"messages": None}, "messages", 400),
    ({"messages": []}, "messages", 400),
    ({"messages": "Hi"}, "messages", 400),
    ({"messages": ["Hi"]}, "messages[0]", 400),
    ({"messages": [{"role": "user", "content": "x"}] * 2049}, "messages", 400),
    ({"messages": [{"content": "x"}]}, "messages[0].role", 400),
    ({"messages": [{"role": "user"}]}, "messages[0].content", 400),
    (message(role="robot"), "messages[0].role", 400),
    (message(content=5), "messages[0].content", 400),
    (message(content=["x"]), "messages[0].content[0]", 400),
    (message(content=[{"type": "image_url", "image_url": {"url": "http://x"}}]), "messages[0].content[0].type", 400),
    (message(content=[{"type": "text"}]), "messages[0].content[0].text", 400),
    (message(role="assistant", tool_calls=[{"type": "function"}]), "messages[0].tool_calls[0].function", 400),
    (message(role="assistant", tool_calls=[{"function": {"name": "f", "arguments": "{"}}]), "messages[0].tool_calls[0].function.arguments", 400),
    ({"max_tokens": 0}, "max_tokens", 400),
    ({"max_completion_tokens": 0}, "max_completion_tokens", 400),
    ({"max_tokens": 0, "max_completion_tokens": 5}, "max_tokens", 400),
    ({"logprobs": 1}, "logprobs", 400),
    ({"top_logprobs": 1}, "top_logprobs", 400),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", 400),
    ({"tools": [TOOL]}, "tools", 400),
    ({"tools": [TOOL] * 129}, "tools", 400),
    ({"tools": [{}]}, "tools[0].type", 400),
    ({"tools": [{"type": "function"}]}, "tools[0].function", 400),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", 400),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", 501),
    ({"tool_choice": "required"}, "tool_choice", 501),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", 501),
    ({"tool_choice": "maybe"}, "tool_choice", 400),
    ({"functions": []}, "functions", 400),
    ({"modalities": ["audio"]}, "modalities", 501),
    ({"audio": {}}, "audio", 501),
    ({"chat_template_kwargs": []}, "chat_template_kwargs", 400),
    ({"reasoning_effort": "huge"}, "reasoning_effort", 400),
    ({"continue_final_message": True}, "continue_final_message", 400),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", 400),
    ({"min_tokens": 5, "max_tokens": 4}, "min_tokens", 400),
]

COMPLETIONS_ONLY = [
    ({"prompt": None}, "prompt", 400),
    ({"prompt": 5}, "prompt", 400),
    ({"prompt": []}, "prompt", 400),
    ({"prompt": ""}, "prompt", 400),
    ({"prompt": [[]]}, "prompt", 400),
    ({"prompt": [-1]}, "prompt", 400),
    ({"prompt": [2048]}, "prompt", 400),
    ({"prompt": [2**31]}, "prompt", 400),
    ({"prompt": [1, "a"]}, "prompt", 400),
    ({"prompt": ["a", 1]}, "prompt", 400),
    ({"prompt": [[1], "a"]}, "prompt", 400),
    ({"prompt": ["a"] * 257}, "prompt", 400),
    ({"suffix": "end"}, "suffix", 400),
    ({"logprobs": True}, "logprobs", 400),
    ({"logprobs": 21}, "logprobs", 400),
    ({"max_tokens": 0}, "max_tokens", 400),
    ({"echo": "yes"}, "echo", 400),
    ({"prompt_embeds": "x"}, "prompt_embeds", 400),
]


class Refusals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-body-bytes", 1 << 20)

    @classmethod
    def tearDownClass(cls):
        with cls.server:
            pass

    def refused(self, reply, status, param=None, code=None):
        self.assertEqual(reply.status, status, reply.text)
        self.assertEqual(set(reply.error), {"message", "type", "param", "code"})
        self.assertEqual(reply.error["param"], param)
        self.assertTrue(reply.error["message"] and "\n" not in reply.error["message"])
        if param:
            self.assertIn(param, reply.error["message"].replace("the model ", "model "))
        if code:
            self.assertEqual(reply.error["code"], code)

    def test_fields_of_both_routes(self):
        for path, base in ((CHAT, {"messages": MESSAGES}), (COMPLETIONS, {"prompt": "Hi"})):
            for field, cases in COMMON.items():
                for value, status in cases:
                    with self.subTest(path=path, field=field, value=str(value)[:40]):
                        self.refused(self.server.post(path, {**base, field: value}), status, field)

    def test_fields_of_one_route(self):
        for path, base, cases in ((CHAT, {"messages": MESSAGES}, CHAT_ONLY), (COMPLETIONS, {"prompt": "Hi"}, COMPLETIONS_ONLY)):
            for more, param, status in cases:
                with self.subTest(path=path, more=str(more)[:80]):
                    self.refused(self.server.post(path, {**base, **more}), status, param)

    def test_bodies(self):
        hi = '{"prompt": "Hi", '
        for body in ("", "[]", "5", "null", "{", hi, hi + '"temperature": NaN}', hi + '"temperature": 1e999}', hi + '"seed": 18446744073709551616}',
                     hi + '"x": -9223372036854775809}', hi + '"n": 1, "n": 2}', hi + '"x": "\ud800"}'.encode("utf-8", "surrogatepass").decode("latin-1"),
                     '{"x": ' + "[" * 70 + "]" * 70 + "}", hi + '"x": [' + "0," * 200_000 + "0]}", b'{"prompt": "\xff"}', b"\xef\xbb\xbf{}"):  # fmt: skip
            with self.subTest(body=body[:60]):
                self.refused(self.server.post(COMPLETIONS, body), 400)
        self.refused(self.server.post(COMPLETIONS, "[" * 1_000_000), 400)
        self.refused(self.server.post(COMPLETIONS, " " * (2 << 20)), 413)

    def test_context(self):
        self.refused(self.server.complete([5] * 32768), 400, "prompt", "context_length_exceeded")
        self.refused(self.server.chat("word " * 60_000), 400, "messages", "context_length_exceeded")
        self.refused(self.server.complete([[5] * 30_000] * 4, echo=True, logprobs=20, max_tokens=0), 400, "prompt")
        self.refused(self.server.chat("1 " * 15_000, prompt_logprobs=20, n=8), 400, "messages")
        self.assertEqual(self.server.complete([5] * 40_000, truncate_prompt_tokens=8, max_tokens=1).status, 200)

    def test_routes(self):
        self.refused(self.server.get("/v2"), 404, code="not_found")
        self.refused(self.server.get(CHAT), 405, code="method_not_allowed")
        self.refused(self.server.get("/v1/models/gpt-4"), 404, "model", "model_not_found")
        reply = self.server.post("/v1/embeddings", {"input": "x"})
        self.refused(reply, 501, code="not_supported")
        self.assertEqual(reply.headers["X-Should-Retry"], "false")
        self.refused(self.server.post("/tokenize", {}), 400, "prompt")
        self.refused(self.server.post("/tokenize", {"prompt": ["a"]}), 400, "prompt")
        self.refused(self.server.post("/detokenize", {}), 400, "tokens")
        self.refused(self.server.post("/detokenize", {"tokens": [2048]}), 400, "tokens")

    def test_names_that_are_cut_stay_text(self):
        long, param = "a" + "\U0001d493\n" * 100, "messages[0].tool_calls[0].function.arguments"
        called = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": long}}]}
        self.refused(self.server.get("/v1/models/" + urllib.parse.quote(long)), 404, "model")
        self.refused(self.server.get("/v1/models/%ff"), 404, "model")
        self.refused(self.server.complete("Hi", model=long), 404, "model")
        self.refused(self.server.complete("Hi", logit_bias={long: 1}), 400, "logit_bias")
        self.refused(self.server.chat("Hi", reasoning_effort=long), 400, "reasoning_effort")
        self.refused(self.server.chat("Hi", messages=[called]), 400, param)

    def test_a_number_too_small_for_float_harms_no_other(self):
        other = self.server.stream(COMPLETIONS, {"prompt": "Hi", "max_tokens": 2000, "ignore_eos": True})
        events = iter(other)
        next(events)
        for field in ("top_p", "repetition_penalty"):
            reply = self.server.complete("Hi", max_tokens=2, temperature=1, **{field: 1e-60})
            self.assertEqual(reply.status, 200, reply.text)
        self.assertIn("choices", next(events))
        other.close()

    def test_nothing_left_to_draw(self):
        # Only the engine sees that the one token that is allowed is banned.
        reply = self.server.complete("Hi", allowed_token_ids=[2045], min_tokens=1)
        self.refused(reply, 400)
        self.assertIn("no token is left", reply.error["message"])
        s = self.server.stream(COMPLETIONS, {"prompt": "Hi", "allowed_token_ids": [2045], "min_tokens": 1})
        (only,) = s
        self.assertIn("no token is left", only["error"]["message"])
        self.assertFalse(s.done)

    def tearDown(self):
        self.assertEqual(self.server.complete("Hi", max_tokens=1).status, 200)


class Keys(unittest.TestCase):
    def test_keys(self):
        with Server("--api-key", "alpha", "--api-key", "beta") as s:
            for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "alpha"}, {"Authorization": "Bearer alph"}):
                reply = s.get("/v1/models", **headers)
                self.assertEqual((reply.status, reply.error["type"], reply.error["code"]), (401, "authentication_error", "invalid_api_key"))
                self.assertEqual(reply.headers["WWW-Authenticate"], "Bearer")
            self.assertEqual(s.get("/v1/models", Authorization="Bearer beta").status, 200)
            self.assertEqual(s.get("/v1/models", **{"X-Api-Key": "alpha"}).status, 200)
            self.assertEqual([s.get(p).status for p in ("/health", "/ready", "/tokenizer_info", "/openapi.json")], [200, 200, 401, 401])
            self.assertTrue(s.get("/openapi.json", **{"X-Api-Key": "alpha"}).json["security"])

    def test_key_from_the_environment(self):
        with Server(env={"SLUICE_API_KEY": "gamma"}) as s:
            self.assertEqual((s.get("/v1/models").status, s.get("/v1/models", Authorization="Bearer gamma").status), (401, 200))


class Queue(unittest.TestCase):
    def test_full_queue(self):
        with Server("--max-running-requests", 1, "--max-queued-requests", 1) as s:
            running = s.stream(COMPLETIONS, {"prompt": "Hi", "max_tokens": 30000, "ignore_eos": True})
            events = iter(running)
            next(events), next(events)  # with the second, the first one's step has been counted
            waiting = s.stream(COMPLETIONS, {"prompt": "Hi", "max_tokens": 2})
            replies = [s.complete("Hi", max_tokens=1) for _ in range(3)]
            for r in replies:
                self.assertEqual((r.status, r.error["type"]), (429, "rate_limit_error"))
                self.assertEqual(r.headers["Retry-After"], "1")
            self.assertEqual(s.post(COMPLETIONS, "{").status, 429, "a body is not looked at while the queue is full")
            self.assertEqual(s.post("/tokenize", {"prompt": "Hi"}).status, 200)
            running.close()
            self.assertTrue(list(waiting))
            self.assertTrue(waiting.done)
            never = s.complete("Hi", n=2, max_tokens=1)
            self.assertEqual((never.status, never.error["param"]), (400, "prompt"))


if __name__ == "__main__":
    unittest.main()
