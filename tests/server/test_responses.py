"""/v1/responses over HTTP: what the demo model answers, what is refused, and that nothing is kept."""

import json
import unittest

from server import Server

PATH = "/v1/responses"
QUESTION = "Jon has 83 buttons. Jon finds 88 more. Jon sells 60. How many buttons are there in the end?"
ANSWER = "83 + 88 = 171. 171 - 60 = 111. The answer is 111."
TOOL = {"type": "function", "name": "f", "description": None, "parameters": {"type": "object"}, "strict": None}

# A body's other fields, the field that is named, the status.
REFUSED = [
    ({"input": None}, "input", 400),
    ({"input": 5}, "input", 400),
    ({"input": []}, "input", 400),
    ({"input": ["Hi"]}, "input[0]", 400),
    ({"input": [{"role": "user", "content": "x"}] * 2049}, "input", 400),
    ({"input": [{}]}, "input[0].type", 400),
    ({"input": [{"id": "msg_1"}]}, "input[0].type", 400),
    ({"input": [{"type": "message", "content": "x"}]}, "input[0].role", 400),
    ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", 400),
    ({"input": [{"role": "user"}]}, "input[0].content", 400),
    ({"input": [{"role": "user", "content": 5}]}, "input[0].content", 400),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]}, "input[0].content[0].type", 400),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text", 400),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type", 400),
    ({"input": [{"type": "computer_call"}]}, "input[0].type", 501),
    ({"input": [{"type": "reasoning", "content": "x"}]}, "input[0].content", 400),
    ({"input": [{"type": "reasoning", "summary": [{"type": "text", "text": "x"}]}]}, "input[0].summary[0].type", 400),
    ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id", 400),
    ({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}, "input[0].name", 400),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments", 400),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{"}]}, "input[0].arguments", 400),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id", 400),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output", 400),
    ({"instructions": 5}, "instructions", 400),
    ({"model": "other"}, "model", 404),
    ({"max_output_tokens": 0}, "max_output_tokens", 400),
    ({"max_output_tokens": 32769}, "max_output_tokens", 400),
    ({"max_output_tokens": 5, "max_tokens": 0}, "max_tokens", 400),
    ({"min_tokens": 5, "max_output_tokens": 4}, "min_tokens", 400),
    ({"temperature": -1}, "temperature", 400),
    ({"top_p": 0}, "top_p", 400),
    ({"top_logprobs": 21}, "top_logprobs", 400),
    ({"include": ["everything"]}, "include", 400),
    ({"include": "message.output_text.logprobs"}, "include", 400),
    ({"stream": 1}, "stream", 400),
    ({"stream_options": {}}, "stream_options", 400),
    ({"tools": [TOOL]}, "tools", 400),
    ({"tools": [{}]}, "tools[0].type", 400),
    ({"tools": [{"type": "function"}]}, "tools[0].name", 400),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", 501),
    ({"tool_choice": "required"}, "tool_choice", 501),
    ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice", 501),
    ({"tool_choice": "maybe"}, "tool_choice", 400),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls", 400),
    ({"text": []}, "text", 400),
    ({"text": {"verbosity": "loud"}}, "text.verbosity", 400),
    ({"text": {"format": {}}}, "text.format.type", 400),
    ({"text": {"format": {"type": "json_object"}}}, "text.format", 501),
    ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}, "text.format", 501),
    ({"reasoning": "low"}, "reasoning", 400),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort", 400),
    ({"reasoning": {"summary": "long"}}, "reasoning.summary", 400),
    ({"metadata": []}, "metadata", 400),
    ({"metadata": {"a": 5}}, "metadata.a", 400),
    ({"metadata": {"a": None}}, "metadata.a", 400),
    ({"metadata": {"a": "x" * 513}}, "metadata.a", 400),
    ({"metadata": {"x" * 65: "a"}}, "metadata", 400),
    ({"metadata": {str(i): "" for i in range(17)}}, "metadata", 400),
    ({"store": "yes"}, "store", 400),
    ({"previous_response_id": "resp_1"}, "previous_response_id", 400),
    ({"conversation": "conv_1"}, "conversation", 400),
    ({"conversation": {"id": "conv_1"}}, "conversation", 400),
    ({"background": True}, "background", 400),
    ({"prompt": {"id": "pmpt_1"}}, "prompt", 400),
    ({"truncation": "never"}, "truncation", 400),
    ({"context_management": []}, "context_management", 501),
    ({"moderation": {"model": "m"}}, "moderation", 501),
    ({"max_tool_calls": 0}, "max_tool_calls", 400),
    ({"user": 5}, "user", 400),
    ({"n": 2}, "n", 501),
    ({"prompt_logprobs": 1}, "prompt_logprobs", 501),
    ({"return_token_ids": True}, "return_token_ids", 501),
    ({"input": "word " * 60_000, "truncation": "auto"}, "input", 400),
]  # fmt: skip


class Responses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--served-model-name", "demo")

    @classmethod
    def tearDownClass(cls):
        with cls.server:
            pass

    def ask(self, text=QUESTION, /, **fields):
        reply = self.server.post(PATH, {"input": text, **fields})
        self.assertEqual(reply.status, 200, reply.text)
        return reply.json

    def events(self, text=QUESTION, /, **fields):
        """The events of a stream, whose names and numbers are right."""
        connection = self.server.connect()
        connection.request("POST", PATH, json.dumps({"input": text, "stream": True, **fields}))
        response = connection.getresponse()
        self.assertEqual((response.status, response.headers["Content-Type"]), (200, "text/event-stream"))
        blocks = response.read().decode().split("\n\n")
        connection.close()
        self.assertEqual(blocks.pop(), "")
        out = []
        for block in blocks:
            if block.startswith(":"):
                continue
            name, data = block.split("\n")
            out.append(json.loads(data.removeprefix("data: ")))
            self.assertEqual(name, "event: " + out[-1]["type"])
            self.assertEqual(out[-1]["sequence_number"], len(out) - 1)
        return out

    def test_answer(self):
        o = self.ask(model="demo")
        self.assertEqual((o["object"], o["status"], o["model"], o["error"]), ("response", "completed", "demo", None))
        self.assertTrue(o["id"].startswith("resp_"))
        (item,) = o["output"]
        self.assertEqual((item["type"], item["role"], item["status"]), ("message", "assistant", "completed"))
        self.assertEqual(item["content"], [{"type": "output_text", "text": ANSWER, "annotations": [], "logprobs": []}])
        u = o["usage"]
        self.assertEqual((u["input_tokens"], u["total_tokens"]), (37, 37 + u["output_tokens"]))
        self.assertEqual((u["output_tokens_details"]["reasoning_tokens"], u["input_tokens_details"]["cached_tokens"]), (0, 0))
        self.assertGreaterEqual(o["completed_at"], o["created_at"])

    def test_stream_is_the_same(self):
        fields = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
        (whole,) = self.ask(**fields)["output"]
        events = self.events(**fields)
        deltas = [e for e in events if e["type"] == "response.output_text.delta"]
        self.assertEqual("".join(e["delta"] for e in deltas), ANSWER)
        (part,) = whole["content"]
        self.assertEqual([t for e in deltas for t in e["logprobs"]], part["logprobs"])
        self.assertEqual("".join(t["token"] for t in part["logprobs"]), ANSWER)
        self.assertTrue(all(len(t["top_logprobs"]) == 2 for t in part["logprobs"]))
        order = [e["type"].removeprefix("response.") for e in events if e not in deltas]
        self.assertEqual(order, ["created", "in_progress", "output_item.added", "content_part.added", "output_text.done",
                                 "content_part.done", "output_item.done", "completed"])  # fmt: skip
        last = events[-1]["response"]
        self.assertEqual(last["output"][0]["content"], whole["content"])
        self.assertEqual(last["output"][0]["id"], deltas[0]["item_id"])
        self.assertEqual({e["response"]["id"] for e in events if "response" in e}, {last["id"]})

    def test_cut(self):
        o = self.ask(max_output_tokens=3)
        self.assertEqual((o["status"], o["incomplete_details"]), ("incomplete", {"reason": "max_output_tokens"}))
        self.assertEqual((o["output"][0]["status"], o["output"][0]["content"][0]["text"]), ("incomplete", "83 +"))
        self.assertIsNone(o["completed_at"])
        last = self.events(max_output_tokens=3)[-1]
        self.assertEqual((last["type"], last["response"]["status"]), ("response.incomplete", "incomplete"))

    def test_a_failure_in_a_stream(self):
        # Only the engine sees that the one token that is allowed is banned.
        fields = {"allowed_token_ids": [2045], "min_tokens": 1}
        *_, error, last = self.events("Hi", **fields)
        self.assertEqual((error["type"], last["type"], last["response"]["status"]), ("error", "response.failed", "failed"))
        self.assertIn("no token is left", error["message"])
        self.assertEqual(last["response"]["error"], {"code": "invalid_prompt", "message": error["message"]})
        self.assertEqual(self.server.post(PATH, {"input": "Hi", **fields}).status, 400)

    def test_the_request_is_repeated(self):
        fields = {"instructions": "Be brief.", "max_output_tokens": 5, "metadata": {"a": "b"}, "temperature": 0.7, "top_p": 0.9,
                  "user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "parallel_tool_calls": False,
                  "tool_choice": "none", "tools": [TOOL], "max_tool_calls": 3, "truncation": "auto"}  # fmt: skip
        o = self.ask("Hi", **fields, store=True, service_tier="auto", background=False, text={"format": {"type": "text"}, "verbosity": "low"},
                     reasoning={"effort": "low", "summary": "auto"}, include=["reasoning.encrypted_content"], stream_options=None)  # fmt: skip
        self.assertEqual({key: o[key] for key in fields}, fields)
        self.assertEqual((o["store"], o["background"], o["service_tier"]), (False, False, "default"))
        self.assertEqual((o["text"], o["reasoning"]), ({"format": {"type": "text"}, "verbosity": "low"}, {"effort": "low", "summary": None}))
        o = self.ask("Hi", max_output_tokens=1)
        self.assertEqual((o["metadata"], o["tools"], o["tool_choice"], o["parallel_tool_calls"]), ({}, [], "auto", True))
        self.assertEqual((o["instructions"], o["temperature"], o["store"], o["previous_response_id"]), (None, 0, False, None))
        self.assertEqual(o["truncation"], "disabled")

    def test_a_conversation_is_that_of_chat(self):
        first = self.ask(instructions="Be brief.")
        items = [{"role": "user", "content": QUESTION}, *first["output"], {"role": "user", "content": [{"type": "input_text", "text": "Add 494 and 92."}]}]
        second = self.ask(items, instructions="Be brief.")
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION},
                    {"role": "assistant", "content": first["output"][0]["content"][0]["text"]}, {"role": "user", "content": "Add 494 and 92."}]  # fmt: skip
        chat = self.server.post("/v1/chat/completions", {"messages": messages}).json
        self.assertEqual(second["output"][0]["content"][0]["text"], chat["choices"][0]["message"]["content"])
        self.assertEqual(second["usage"]["input_tokens"], chat["usage"]["prompt_tokens"])
        self.assertGreaterEqual(second["usage"]["input_tokens_details"]["cached_tokens"], 64)

    def count(self, text, **fields):
        reply = self.server.post(PATH + "/input_tokens", {"input": text, **fields})
        self.assertEqual((reply.status, reply.json["object"], len(reply.json)), (200, "response.input_tokens", 2), reply.text)
        return reply.json["input_tokens"]

    def test_input_tokens(self):
        items = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": "Add 494 and 92."}]
        for text, fields in ((QUESTION, {}), (QUESTION, {"instructions": "Be brief."}), (items, {"truncation": "auto"})):
            self.assertEqual(self.count(text, **fields), self.ask(text, max_output_tokens=1, **fields)["usage"]["input_tokens"])
        self.assertGreater(self.count("word " * 60_000), 60_000)  # more than the context
        for more, param, status in ({"input": None}, "input", 400), ({"conversation": "c"}, "conversation", 400), ({"model": "other"}, "model", 404):
            reply = self.server.post(PATH + "/input_tokens", {"input": "Hi", **more})
            self.assertEqual((reply.status, reply.error["param"]), (status, param))

    def test_truncation(self):
        long = [{"role": "user", "content": "word " * 30_000}, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": QUESTION}]
        self.assertEqual(self.server.post(PATH, {"input": long}).error["code"], "context_length_exceeded")
        o = self.ask(long, truncation="auto")
        self.assertEqual((o["output"][0]["content"][0]["text"], o["usage"]["input_tokens"]), (ANSWER, 37))
        self.assertEqual(self.count(long, truncation="auto"), 37)

    def test_sampling(self):
        hot = {"temperature": 3, "max_output_tokens": 16, "ignore_eos": True}
        text = [self.ask("Tell me.", seed=seed, **hot)["output"] for seed in (7, 7, 8)]
        text = [o[0]["content"][0]["text"] for o in text]
        self.assertEqual(text[0], text[1])
        self.assertNotEqual(text[0], text[2])
        o = self.ask(stop=" 171.")
        self.assertEqual((o["status"], o["output"][0]["content"][0]["text"]), ("completed", "83 + 88 ="))
        self.assertEqual(self.ask(temperature=3, top_k=1)["output"][0]["content"][0]["text"], ANSWER)
        self.assertEqual(self.ask(request_id="mine", max_output_tokens=1)["id"], "resp_mine")

    def test_refusals(self):
        for more, param, status in REFUSED:
            with self.subTest(more=str(more)[:80]):
                reply = self.server.post(PATH, {"input": "Hi", **more})
                self.assertEqual(reply.status, status, reply.text)
                self.assertEqual(reply.error["param"], param)
                self.assertTrue("\n" not in reply.error["message"])
                self.assertIn(param, reply.error["message"].replace("the model ", "model "))

    def test_nothing_is_kept(self):
        response_id = self.ask("Hi", max_output_tokens=1, store=True)["id"]
        for method, more in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
            reply = self.server.request(method, f"{PATH}/{response_id}{more}")
            self.assertEqual((reply.status, reply.error["param"], reply.error["type"]), (404, "response_id", "invalid_request_error"))
            self.assertIn("keeps no responses", reply.error["message"])
        self.assertIn("\ufffd", self.server.get(PATH + "/%ff").error["message"])


if __name__ == "__main__":
    unittest.main()
