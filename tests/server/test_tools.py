"""Tool calls and reasoning over HTTP, from models that write them: streamed they are what they are whole."""

import json
import tempfile
import unittest

from scripted_model import scripted_model
from server import SOURCE, Server

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}  # fmt: skip
ARGUMENTS = [{"city": "Zürich", "days": 3}, {"city": "東京"}]
CALLS = {
    "json": "\n".join('<tool_call>\n{"name": "get_weather", "arguments": %s}\n</tool_call>' % json.dumps(a, ensure_ascii=False) for a in ARGUMENTS),
    "xml": "\n".join("<tool_call>\n<function=get_weather>\n%s</function>\n</tool_call>"
                     % "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in a.items()) for a in ARGUMENTS),
}  # fmt: skip


class Tools(unittest.TestCase):
    def streamed(self, server, **fields):
        message, calls = {"content": "", "reasoning": ""}, []
        for chunk in server.chat_stream("call", **fields):
            delta = chunk["choices"][0]["delta"]
            for key in message:
                message[key] += delta.get(key) or ""
            for d in delta.get("tool_calls", ()):
                if d["index"] == len(calls):
                    calls.append({"name": d["function"]["name"], "arguments": "", "deltas": 0})
                self.assertEqual(d["index"], len(calls) - 1)
                calls[-1]["arguments"] += d["function"]["arguments"]
                calls[-1]["deltas"] += 1
        return message, calls, chunk["choices"][0]["finish_reason"]

    def test_calls(self):
        for form, calls in CALLS.items():
            folder = self.enterContext(tempfile.TemporaryDirectory())
            text = f"<think>\nTwo.\n</think>\n\nLet me see.\n{calls}"
            with self.subTest(form), Server(scripted_model(SOURCE, folder, {"call": text}, form)) as s:
                (choice,) = s.chat("call", tools=[TOOL]).json["choices"]
                message, found = choice["message"], choice["message"]["tool_calls"]
                self.assertEqual((message["content"].strip(), message["reasoning"].strip()), ("Let me see.", "Two."))
                self.assertEqual((choice["finish_reason"], [json.loads(c["function"]["arguments"]) for c in found]), ("tool_calls", ARGUMENTS))
                self.assertEqual(len({c["id"] for c in found}), 2)
                streamed, deltas, finish = self.streamed(s, tools=[TOOL])
                self.assertEqual((streamed, finish), ({k: message[k] for k in streamed}, "tool_calls"))
                self.assertEqual([d["arguments"] for d in deltas], [c["function"]["arguments"] for c in found])
                self.assertTrue(all(d["deltas"] > 2 for d in deltas), "arguments come as they are written")
                # Without tools it is all text.
                (choice,) = s.chat("call").json["choices"]
                self.assertEqual((choice["message"]["content"], choice["finish_reason"]), (f"Let me see.\n{calls}", "stop"))


if __name__ == "__main__":
    unittest.main()
