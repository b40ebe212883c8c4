"""Anthropic's routes, asked over HTTP from the demo model."""

import json
import tempfile
import unittest

from scripted_model import scripted_model
from server import SOURCE, Server

QUESTION = "Jon has 83 buttons. Jon finds 88 more. Jon sells 60. How many buttons are there in the end?"
ANSWER = "83 + 88 = 171. 171 - 60 = 111. The answer is 111."
MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
ADD = {"name": "add", "description": "Adds.", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 171, "b": "x"}}\n</tool_call>'


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def text(words):
    return {"type": "text", "text": words}


def events_of(stream):
    """The events of a whole stream, each a name and its data."""
    assert stream.endswith("\n\n"), stream[-20:]
    events = []
    for part in stream[:-2].split("\n\n"):
        name, data = part.split("\n")
        assert name.startswith("event: ") and data.startswith("data: "), part
        event = json.loads(data[6:])
        assert event["type"] == name[7:], part
        events.append(event)
    return events


def assembled(events):
    """The message that a client makes of a stream."""
    message = events[0]["message"]
    partial = ""
    for e in events[1:]:
        kind = e["type"]
        if kind == "content_block_start":
            message["content"].append(e["content_block"])
        elif kind == "content_block_delta":
            block, delta = message["content"][e["index"]], e["delta"]
            if delta["type"] == "input_json_delta":
                partial += delta["partial_json"]
            else:
                key = delta["type"].removesuffix("_delta")
                block[key] += delta[key]
        elif kind == "content_block_stop" and partial:
            message["content"][e["index"]]["input"], partial = json.loads(partial), ""
        elif kind == "message_delta":
            message.update(e["delta"], usage=e["usage"])
    return message


class Case(unittest.TestCase):
    ARGS = ("--served-model-name", "demo")

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.ARGS)

    @classmethod
    def tearDownClass(cls):
        with cls.server:
            pass

    def ask(self, content, **fields):
        messages = content if isinstance(content, list) else [user(content)]
        body = {"model": "demo", "max_tokens": 64, "messages": messages, **fields}
        reply = self.server.post(MESSAGES, {k: v for k, v in body.items() if v is not None})
        self.assertEqual(reply.status, 200, reply.text)
        self.assertEqual(reply.headers["Request-Id"], reply.headers["X-Request-Id"])
        return reply

    def whole(self, content, **fields):
        return self.ask(content, **fields).json

    def events(self, content, **fields):
        reply = self.ask(content, stream=True, **fields)
        self.assertEqual(reply.headers["Content-Type"], "text/event-stream")
        return events_of(reply.text)

    def count(self, content, **fields):
        messages = content if isinstance(content, list) else [user(content)]
        reply = self.server.post(COUNT, {"model": "demo", "messages": messages, **fields})
        self.assertEqual(reply.status, 200, reply.text)
        self.assertEqual(list(reply.json), ["input_tokens"])
        return reply.json["input_tokens"]


class Messages(Case):
    def test_message(self):
        o = self.whole(QUESTION, cache_salt="fresh")
        self.assertTrue(o.pop("id").startswith("msg_"))
        usage = o.pop("usage")
        self.assertEqual(o, {"type": "message", "role": "assistant", "model": "demo", "content": [text(ANSWER)], "stop_reason": "end_turn", "stop_sequence": None})  # fmt: skip
        self.assertEqual((usage["input_tokens"], usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]), (37, 0, 0))
        self.assertGreater(usage["output_tokens"], 20)

    def test_stream_is_the_same_message(self):
        for fields in ({}, {"max_tokens": 3}, {"stop_sequences": [" 171."]}, {"temperature": 1, "seed": 3, "ignore_eos": True}):
            events = self.events(QUESTION, cache_salt="s", **fields)
            whole, streamed = self.whole(QUESTION, cache_salt="t", **fields), assembled(events)
            self.assertNotEqual(whole.pop("id"), streamed.pop("id"))
            self.assertEqual(streamed, whole)
            kinds = [e["type"] for e in events]
            self.assertEqual(kinds[:3], ["message_start", "ping", "content_block_start"])
            self.assertEqual(kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])
            self.assertEqual(set(kinds[3:-3]), {"content_block_delta"})
            self.assertGreater(len(kinds), 7)

    def test_ends(self):
        def end(**fields):
            o = self.whole(QUESTION, **fields)
            return "".join(b["text"] for b in o["content"]), o["stop_reason"], o["stop_sequence"]

        self.assertEqual(end(), (ANSWER, "end_turn", None))
        self.assertEqual(end(max_tokens=3), ("83 +", "max_tokens", None))
        self.assertEqual(end(stop_sequences=["zzz", " 171."]), ("83 + 88 =", "stop_sequence", " 171."))
        self.assertEqual(end(max_tokens=0), ("", "max_tokens", None))
        self.assertEqual(self.whole(QUESTION, max_tokens=0)["content"], [])

    def test_last_message_of_the_assistant_is_continued(self):
        begun = [user(QUESTION), assistant("83 + 88 =")]
        self.assertEqual(self.whole(begun)["content"], [text(ANSWER.removeprefix("83 + 88 ="))])
        self.assertEqual(assembled(self.events(begun))["content"], [text(ANSWER.removeprefix("83 + 88 ="))])
        self.assertEqual(self.whole([user(QUESTION), assistant([])])["content"], [text(ANSWER)])

    def test_the_prompt_is_that_of_chat(self):
        def tokens(messages):
            return len(self.server.post("/tokenize", {"messages": messages}).json["tokens"])

        system = {"role": "system", "content": "Be brief.\nAdd."}
        self.assertEqual(self.count(QUESTION), tokens([user(QUESTION)]))
        self.assertEqual(self.count(QUESTION, system="Be brief.\nAdd."), tokens([system, user(QUESTION)]))
        blocks = [{**text("Be brief."), "cache_control": {"type": "ephemeral"}}, text("Add.")]
        self.assertEqual(self.count([user([text(QUESTION)])], system=blocks), tokens([system, user(QUESTION)]))
        talk = [user("a"), user("b"), assistant("c"), user("d")]
        self.assertEqual(self.count(talk), tokens([user("a\nb"), *talk[2:]]))

    def test_count_is_what_usage_says(self):
        long = [user("You are a careful clerk. " * 30 + QUESTION)]
        expected = self.count(long)
        cold, warm = (self.whole(long, max_tokens=1, cache_salt="u")["usage"] for _ in range(2))
        self.assertEqual((cold["input_tokens"], cold["cache_read_input_tokens"]), (expected, 0))
        self.assertGreaterEqual(warm["cache_read_input_tokens"], 64)
        self.assertEqual(sum(warm[k] for k in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")), expected)
        # A stream says it in its first event.
        events = self.events(long, max_tokens=4, cache_salt="u")
        for e in (events[0]["message"], events[-2]):
            self.assertEqual({k: e["usage"][k] for k in warm if k.endswith("input_tokens")}, {k: warm[k] for k in warm if k.endswith("input_tokens")})

    def test_fields_that_change_nothing(self):
        fields = {"metadata": {"user_id": "u"}, "service_tier": "auto", "cache_control": {"type": "ephemeral"}, "thinking": {"type": "disabled"},
                  "top_k": 5, "top_p": 0.9, "temperature": 0, "tools": [], "tool_choice": {"type": "auto"}, "context_management": {"edits": []},
                  "stop_sequences": [], "model": None}  # fmt: skip
        self.assertEqual(self.whole(QUESTION, **fields)["content"], [text(ANSWER)])
        for headers in ({"anthropic-version": "2023-06-01", "anthropic-beta": "x,y"}, {"anthropic-version": "1"}):
            body = {"max_tokens": 1, "messages": [user("Hi")]}
            self.assertEqual(self.server.post(MESSAGES, body, **headers).status, 200)


class Tools(Case):
    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.server = Server(scripted_model(SOURCE, folder, {"sum": f"I add. {CALL} That is all."}), *cls.ARGS)

    def test_calls(self):
        whole = self.whole("sum", tools=[ADD])
        events = self.events("sum", tools=[ADD])
        for o in (whole, assembled(events)):
            before, call, after = o["content"]
            self.assertEqual((before, after), (text("I add."), text(" That is all.")))
            self.assertTrue(call.pop("id").startswith("toolu_"))
            self.assertEqual(call, {"type": "tool_use", "name": "add", "input": {"a": 171, "b": "x"}})
            self.assertEqual((o["stop_reason"], o["stop_sequence"]), ("tool_use", None))
        kinds = [e["type"] for e in events]
        self.assertEqual((kinds.count("content_block_start"), kinds.count("content_block_stop")), (3, 3))
        self.assertIn("input_json_delta", [e["delta"]["type"] for e in events if e["type"] == "content_block_delta"])

    def test_no_call_without_tools(self):
        for fields in ({}, {"tools": [ADD], "tool_choice": {"type": "none"}}, {"tools": [{**ADD, "name": "sub"}]}):
            o = self.whole("sum", **fields)
            self.assertEqual((o["content"], o["stop_reason"]), ([text(f"I add. {CALL} That is all.")], "end_turn"))

    def test_a_call_and_its_result_go_back(self):
        call = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}
        talk = [user(QUESTION), assistant([{"type": "thinking", "thinking": "hm", "signature": "s"}, text("So:"), call]),
                user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("171")]}, text("Go on.")])]  # fmt: skip
        function = {"name": "add", "arguments": {"a": 1}}
        chat = [user(QUESTION), {**assistant("So:"), "tool_calls": [{"type": "function", "id": "toolu_1", "function": function}]},
                {"role": "tool", "tool_call_id": "toolu_1", "content": "171"}, user("Go on.")]  # fmt: skip
        tool = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": ADD["input_schema"]}}
        expected = self.server.post("/tokenize", {"messages": chat, "tools": [tool]}).json["count"]
        self.assertEqual((self.count(talk, tools=[ADD]), self.whole(talk, tools=[ADD], max_tokens=1, cache_salt="r")["usage"]["input_tokens"]), (expected, expected))


# Fields, the field that the message begins with, and the status.
REFUSED = [
    ({"max_tokens": None}, "max_tokens: is missing", 400),
    ({"max_tokens": -1}, "max_tokens", 400),
    ({"max_tokens": 40000}, "max_tokens", 400),
    ({"messages": None}, "messages: is missing", 400),
    ({"messages": []}, "messages", 400),
    ({"messages": [user([{"type": "image", "source": {"type": "base64"}}])]}, "messages[0].content[0].type", 501),
    ({"messages": [user("word " * 60_000)]}, "messages", 400),
    ({"temperature": 1.1}, "temperature", 400),
    ({"top_p": 0}, "top_p", 400),
    ({"top_k": 1.5}, "top_k", 400),
    ({"stop_sequences": "x"}, "stop_sequences", 400),
    ({"stop_sequences": [""]}, "stop_sequences", 400),
    ({"stream": "yes"}, "stream", 400),
    ({"system": 5}, "system", 400),
    ({"tools": [ADD]}, "tools", 400),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type", 501),
    ({"tool_choice": {"type": "any"}}, "tool_choice.type", 501),
    ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, "thinking.budget_tokens", 400),
    ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "output_config.format", 501),
    ({"metadata": 5}, "metadata", 400),
    ({"mcp_servers": [{}]}, "mcp_servers", 501),
    ({"n": 2}, "n", 400),
]


class Refusals(Case):
    ARGS = ("--api-key", "alpha", "--max-body-bytes", 1 << 20)
    KEY = {"x-api-key": "alpha"}

    def refused(self, reply, status, kind, begin=""):
        self.assertEqual(reply.status, status, reply.text)
        self.assertEqual(set(reply.json), {"type", "error", "request_id"})
        self.assertEqual((reply.json["type"], set(reply.error), reply.error["type"]), ("error", {"type", "message"}, kind))
        self.assertEqual({reply.json["request_id"], reply.headers["X-Request-Id"]}, {reply.headers["Request-Id"]})
        self.assertTrue(reply.error["message"].startswith(begin), reply.error["message"])

    def test_fields(self):
        for more, begin, status in REFUSED:
            with self.subTest(more=str(more)[:80]):
                body = {"max_tokens": 1, "messages": [user("Hi")], **more}
                self.refused(self.server.post(MESSAGES, body, **self.KEY), status, "invalid_request_error", begin)
        self.assertEqual(self.server.post(MESSAGES, {"max_tokens": 1, "messages": [user("Hi")]}, **self.KEY).status, 200)

    def test_not_to_be_tried_again(self):
        reply = self.server.post(MESSAGES, {"max_tokens": 1, "messages": [user("Hi")], "container": "c"}, **self.KEY)
        self.assertEqual((reply.status, reply.headers["X-Should-Retry"]), (501, "false"))

    def test_what_the_server_finds(self):
        for path in (MESSAGES, COUNT):
            self.refused(self.server.post(path, {}), 401, "authentication_error")
            self.refused(self.server.get(path, **self.KEY), 405, "invalid_request_error")
            self.refused(self.server.post(path, " " * (2 << 20), **self.KEY), 413, "request_too_large")
            self.refused(self.server.post(path, "{", **self.KEY), 400, "invalid_request_error")
            self.refused(self.server.post(path, {"model": "other", "max_tokens": 1, "messages": [user("Hi")]}, **self.KEY), 404, "not_found_error")
        self.refused(self.server.get("/v1/messages/batches", **self.KEY), 404, "not_found_error")
        # Everywhere else it is OpenAI's shape.
        for path in ("/v1/chat/completions", "/v1/messagesx", "/v1/models"):
            self.assertEqual(set(self.server.get(path).error), {"message", "type", "param", "code"})

    def test_keys(self):
        body = {"max_tokens": 1, "messages": [user("Hi")]}
        for headers in (self.KEY, {"Authorization": "Bearer alpha"}):
            self.assertEqual(self.server.post(MESSAGES, body, **headers).status, 200)
        self.refused(self.server.post(MESSAGES, body, **{"x-api-key": "beta"}), 401, "authentication_error")

    def test_an_error_within_a_stream_is_an_event(self):
        # Only the engine sees that the one token that is allowed is banned.
        body = {"max_tokens": 2, "messages": [user("Hi")], "allowed_token_ids": [2045], "min_tokens": 1}
        self.refused(self.server.post(MESSAGES, body, **self.KEY), 400, "invalid_request_error")
        reply = self.server.post(MESSAGES, {**body, "stream": True}, **self.KEY)
        self.assertEqual(reply.status, 200)
        *_, last = events_of(reply.text)
        self.assertEqual((last["type"], last["error"]["type"]), ("error", "invalid_request_error"))
        self.assertIn("no token is left", last["error"]["message"])


class Load(unittest.TestCase):
    def test_full_queue(self):
        body = {"max_tokens": 30000, "messages": [user("Hi")], "ignore_eos": True}
        with Server("--max-running-requests", 1, "--max-queued-requests", 1) as s:
            running = s.stream("/v1/completions", {"prompt": "Hi", "max_tokens": 30000, "ignore_eos": True})
            events = iter(running)
            next(events), next(events)  # with the second, the first one's step has been counted
            waiting = s.stream("/v1/completions", {"prompt": "Hi", "max_tokens": 2})
            for stream in (False, True):
                reply = s.post(MESSAGES, {**body, "stream": stream})
                self.assertEqual((reply.status, reply.error["type"], reply.headers["Retry-After"]), (429, "rate_limit_error", "1"))
            running.close()
            self.assertTrue(list(waiting))

    def test_drain(self):
        with Server() as s:
            running = s.stream("/v1/completions", {"prompt": "Hi", "max_tokens": 30000, "ignore_eos": True})
            next(iter(running))
            s.signal()
            while s.get("/ready").status == 200:
                pass
            reply = s.post(MESSAGES, {"max_tokens": 1, "messages": [user("Hi")]})
            self.assertEqual((reply.status, reply.error["type"], reply.headers["Retry-After"]), (503, "overloaded_error", "1"))
            running.close()


if __name__ == "__main__":
    unittest.main()
