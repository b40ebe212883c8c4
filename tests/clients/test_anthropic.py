"""Anthropic's own Python client against the server. Needs the package `anthropic`; exits with 77 where it is not installed."""

import importlib.util
import pathlib
import re
import sys
import tempfile
import unittest

if not importlib.util.find_spec("anthropic"):
    print("skipped: no Python module anthropic")
    sys.exit(77)

import anthropic

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "server"))

from scripted_model import scripted_model
from server import SOURCE, Server

QUESTION = "Jon has 83 buttons. Jon finds 88 more. Jon sells 60. How many buttons are there in the end?"
ANSWER = "83 + 88 = 171. 171 - 60 = 111. The answer is 111."
USER = {"role": "user", "content": QUESTION}
ADD = {"name": "add", "description": "Adds.", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}}


class Case(unittest.TestCase):
    KEY = "alpha"

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.server = cls.enterClassContext(Server(*cls.args()))
        cls.client = cls.enterClassContext(cls.connect())

    @classmethod
    def args(cls):
        return "--served-model-name", "demo", "--api-key", cls.KEY

    @classmethod
    def connect(cls, **fields):
        return anthropic.Anthropic(base_url=f"http://127.0.0.1:{cls.server.port}", **{"api_key": cls.KEY, "max_retries": 0, **fields})

    def ask(self, call=None, **fields):
        return (call or self.client.messages.create)(**{"model": "demo", "max_tokens": 64, "messages": [USER], **fields})


class Messages(Case):
    def test_message(self):
        m = self.ask()
        self.assertEqual((m.type, m.role, m.model, m.stop_reason, m.stop_sequence), ("message", "assistant", "demo", "end_turn", None))
        (block,) = m.content
        self.assertEqual((block.type, block.text), ("text", ANSWER))
        self.assertGreater(m.usage.output_tokens, 20)
        self.assertTrue(m.id.startswith("msg_"))
        raw = self.ask(self.client.messages.with_raw_response.create)
        self.assertEqual(raw.parse()._request_id, raw.headers["x-request-id"])

    def test_what_the_client_sends_is_what_it_means(self):
        ignored = {"cache_control": {"type": "ephemeral"}, "metadata": {"user_id": "u"}, "thinking": {"type": "disabled"}, "service_tier": "auto"}
        self.assertEqual(self.ask(**ignored).content[0].text, ANSWER)
        m = self.ask(stop_sequences=[" 171."])
        self.assertEqual((m.content[0].text, m.stop_reason, m.stop_sequence), ("83 + 88 =", "stop_sequence", " 171."))
        m = self.ask(messages=[USER, {"role": "assistant", "content": "83 + 88 ="}])
        self.assertEqual(m.content[0].text, ANSWER.removeprefix("83 + 88 ="))
        first = self.ask(max_tokens=3)
        self.assertEqual(first.stop_reason, "max_tokens")
        self.ask(messages=[USER, first.to_param(), {"role": "user", "content": "Go on."}])

    def test_stream(self):
        with self.ask(self.client.messages.stream) as stream:
            events = list(stream)
            final = stream.get_final_message()
        kinds = [e.type for e in events]
        deltas = [e for e in events if e.type == "content_block_delta"]
        self.assertEqual([k for k in kinds if k not in ("content_block_delta", "text")],
                         ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"])  # fmt: skip
        self.assertGreater(len(deltas), 5)
        self.assertEqual("".join(d.delta.text for d in deltas), ANSWER)
        whole = self.ask()
        self.assertEqual((final.content[0].text, final.stop_reason, final.usage.output_tokens), (ANSWER, whole.stop_reason, whole.usage.output_tokens))
        raw = list(self.ask(stream=True))
        self.assertEqual((raw[0].type, raw[-1].type), ("message_start", "message_stop"))

    def test_count_tokens_is_what_usage_says(self):
        messages = [{"role": "user", "content": "You are a careful clerk. " * 30 + QUESTION}]
        expected = self.client.messages.count_tokens(model="demo", messages=messages).input_tokens
        # Salted: nothing of it is in the cache.
        cold = self.ask(messages=messages, max_tokens=1, extra_body={"cache_salt": "anthropic"}).usage
        self.assertEqual((cold.input_tokens, cold.cache_read_input_tokens, cold.cache_creation_input_tokens), (expected, 0, 0))
        with self.ask(self.client.messages.stream, messages=messages, max_tokens=4, extra_body={"cache_salt": "anthropic"}) as stream:
            warm = next(iter(stream)).message.usage
            self.assertGreaterEqual(warm.cache_read_input_tokens, 64)
            self.assertEqual(warm.input_tokens + warm.cache_read_input_tokens, expected)
            final = stream.get_final_message().usage
            self.assertEqual((final.input_tokens, final.cache_read_input_tokens), (warm.input_tokens, warm.cache_read_input_tokens))


class Tools(Case):
    ASKED = {"messages": [{"role": "user", "content": "sum"}], "tools": [ADD]}

    @classmethod
    def args(cls):
        call = '<tool_call>\n{"name": "add", "arguments": {"a": 171, "b": "x"}}\n</tool_call>'
        return scripted_model(SOURCE, cls.folder, {"sum": call}), *super().args()

    def test_a_call_and_its_result(self):
        m = self.ask(**self.ASKED)
        (call,) = [b for b in m.content if b.type == "tool_use"]
        self.assertEqual((m.stop_reason, call.name, call.input), ("tool_use", "add", {"a": 171, "b": "x"}))
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "171"}
        self.assertEqual(self.ask(messages=[*self.ASKED["messages"], m.to_param(), {"role": "user", "content": [result]}], tools=[ADD], max_tokens=1).usage.output_tokens, 1)

    def test_stream(self):
        with self.ask(self.client.messages.stream, **self.ASKED) as stream:
            parts = [e.partial_json for e in stream if e.type == "input_json"]
            m = stream.get_final_message()
        (call,) = [b for b in m.content if b.type == "tool_use"]
        self.assertEqual((m.stop_reason, call.input, "".join(parts)), ("tool_use", {"a": 171, "b": "x"}, '{"a": 171, "b": "x"}'))


class Errors(Case):
    def fails(self, error, status, kind, **fields):
        with self.assertRaises(error) as caught:
            self.ask(**fields)
        e = caught.exception
        self.assertEqual((type(e), e.status_code, e.type), (error, status, kind))
        self.assertEqual(e.request_id, e.body["request_id"])
        return e

    def test_classes(self):
        self.fails(anthropic.BadRequestError, 400, "invalid_request_error", extra_body={"temperature": 2})
        self.fails(anthropic.NotFoundError, 404, "not_found_error", model="other")
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
        e = self.fails(anthropic.HTTPNotImplementedError, 501, "invalid_request_error", messages=[{"role": "user", "content": [image]}])
        self.assertIn("messages[0].content[0].type", e.api_message)
        self.fails(anthropic.ContentTooLargeError, 413, "request_too_large", system="x" * (9 << 20))
        with self.connect(api_key="beta") as other:
            self.fails(anthropic.AuthenticationError, 401, "authentication_error", call=other.messages.create)
        with self.connect(api_key=None, auth_token=self.KEY) as other:
            self.assertEqual(self.ask(other.messages.create, max_tokens=1).usage.output_tokens, 1)

    def test_a_stream_that_fails(self):
        with self.assertRaises(anthropic.APIStatusError) as caught:
            with self.ask(self.client.messages.stream, extra_body={"allowed_token_ids": [2045], "min_tokens": 1}) as stream:
                list(stream)
        self.assertEqual(caught.exception.type, "invalid_request_error")
        self.assertIn("no token is left", caught.exception.api_message)

    def test_what_is_not_offered_is_asked_once(self):
        def answers():
            metrics = self.server.get("/metrics", **{"X-Api-Key": self.KEY}).text
            return int(re.search(r'sluice_http_responses_total\{.*"5xx"\} (\d+)', metrics)[1])

        before = answers()
        with self.connect(max_retries=3) as stubborn, self.assertRaises(anthropic.HTTPNotImplementedError):
            self.ask(stubborn.messages.create, tool_choice={"type": "any"}, tools=[ADD])
        self.assertEqual(answers(), before + 1)


if __name__ == "__main__":
    unittest.main()
