"""OpenAI's own Python client: what it reads of our answers, and which of its errors ours become."""

import asyncio
import json
import pathlib
import tempfile
import time
import unittest

from clients import needs

needs(modules=["openai"])

import openai
from scripted_model import scripted_model
from server import SOURCE, Server, eventually, metrics

QUESTION = "Jon has 83 buttons. Jon finds 88 more. Jon sells 60. How many buttons are there in the end?"
ANSWER = "83 + 88 = 171. 171 - 60 = 111. The answer is 111."
ENDLESS = {"prompt": "Hi", "max_tokens": 30000, "extra_body": {"ignore_eos": True}}


def user(text=QUESTION):
    return {"model": "demo", "messages": [{"role": "user", "content": text}]}


def client(server, retries=0, **fields):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", **{"api_key": "none", "max_retries": retries, **fields})


class Case(unittest.TestCase):
    FLAGS = ("--served-model-name", "demo", "--max-body-bytes", 1 << 20)

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server(*cls.FLAGS))
        cls.ai = cls.enterClassContext(client(cls.server))


class Chat(Case):
    def test_answer(self):
        c = self.ai.chat.completions.create(**user(), logprobs=True, top_logprobs=2)
        (choice,) = c.choices
        self.assertEqual((c.object, c.model, choice.message.role, choice.message.content), ("chat.completion", "demo", "assistant", ANSWER))
        self.assertEqual((choice.finish_reason, choice.message.tool_calls, choice.message.refusal), ("stop", None, None))
        self.assertLess(abs(c.created - time.time()), 60)
        self.assertEqual((c.usage.prompt_tokens, c.usage.total_tokens), (37, 37 + c.usage.completion_tokens))
        tokens = choice.logprobs.content
        self.assertEqual(b"".join(bytes(t.bytes) for t in tokens).decode(), ANSWER)
        for t in tokens:
            self.assertEqual((len(t.top_logprobs), t.top_logprobs[0].token, t.top_logprobs[0].logprob), (2, t.token, t.logprob))
            self.assertGreaterEqual(t.logprob, t.top_logprobs[1].logprob)

    def test_stream_is_the_answer(self):
        chunks = list(self.ai.chat.completions.create(**user(), stream=True, stream_options={"include_usage": True}, logprobs=True))
        whole = self.ai.chat.completions.create(**user(), logprobs=True)
        parts = [c.choices[0] for c in chunks if c.choices]
        self.assertEqual("".join(p.delta.content or "" for p in parts), ANSWER)
        self.assertEqual((parts[0].delta.role, parts[-1].finish_reason), ("assistant", "stop"))
        self.assertEqual(len({c.id for c in chunks}), 1)
        self.assertEqual([t for p in parts if p.logprobs for t in p.logprobs.content], whole.choices[0].logprobs.content)
        self.assertEqual([bool(c.usage) for c in chunks], [False] * (len(chunks) - 1) + [True])
        self.assertEqual((chunks[-1].choices, chunks[-1].usage.completion_tokens), ([], whole.usage.completion_tokens))

    def test_the_clients_own_accumulator(self):
        with self.ai.chat.completions.stream(**user(), n=2, stream_options={"include_usage": True}) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        self.assertEqual([(c.index, c.message.content, c.finish_reason) for c in final.choices], [(i, ANSWER, "stop") for i in (0, 1)])
        self.assertLessEqual({"chunk", "content.delta", "content.done"}, kinds)
        self.assertEqual(final.usage.total_tokens, 37 + final.usage.completion_tokens)

    def test_choices_are_draws_of_a_seed(self):
        asked = {**user("Hi"), "n": 3, "temperature": 2, "seed": 7, "max_tokens": 24}
        texts = [[c.message.content for c in self.ai.chat.completions.create(**asked).choices] for _ in range(2)]
        self.assertEqual(texts[0], texts[1])
        self.assertGreater(len(set(texts[0])), 1)

    def test_raw_response(self):
        raw = self.ai.chat.completions.with_raw_response.create(**user(), extra_headers={"X-Request-Id": "mine-1"})
        self.assertEqual((raw.status_code, raw.headers["x-request-id"], raw.request_id), (200, "mine-1", "mine-1"))
        self.assertEqual(raw.parse().choices[0].message.content, ANSWER)
        self.assertTrue(self.ai.models.with_raw_response.list().headers["x-request-id"])

    def test_a_broken_off_stream_frees_its_slot(self):
        with self.ai.completions.create(model="demo", **ENDLESS, stream=True) as stream:
            next(iter(stream))
        eventually(lambda: metrics(self.server)["sluice_num_requests_running"] == 0)

    def test_models(self):
        self.assertEqual([m.id for m in self.ai.models.list()], ["demo"])
        self.assertEqual((self.ai.models.retrieve("demo").object), "model")


class Completions(Case):
    def test_answer_and_stream(self):
        asked = {"model": "demo", "prompt": ["83 + 88 =", "171 - 60 ="], "max_tokens": 8, "n": 2, "logprobs": 2}
        whole = self.ai.completions.create(**asked)
        self.assertEqual((whole.object, [c.index for c in whole.choices]), ("text_completion", [0, 1, 2, 3]))
        texts, tokens, usage = [""] * 4, [[] for _ in range(4)], None
        for chunk in self.ai.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for c in chunk.choices:
                texts[c.index] += c.text
                tokens[c.index] += zip(c.logprobs.tokens, c.logprobs.token_logprobs) if c.logprobs else ()
        self.assertEqual(texts, [c.text for c in whole.choices])
        self.assertEqual(tokens, [list(zip(c.logprobs.tokens, c.logprobs.token_logprobs)) for c in whole.choices])
        self.assertEqual(usage, whole.usage)
        for c in whole.choices:
            self.assertEqual("".join(c.logprobs.tokens), c.text)
            self.assertTrue(all(0 < len(top) <= 3 for top in c.logprobs.top_logprobs))

    def test_echo(self):
        c = self.ai.completions.create(model="demo", prompt="83 + 88 =", max_tokens=1, echo=True, logprobs=0).choices[0]
        self.assertTrue(c.text.startswith("83 + 88 ="))
        self.assertIsNone(c.logprobs.token_logprobs[0])
        self.assertTrue(all(p <= 0 for p in c.logprobs.token_logprobs[1:]))

    def test_stop(self):
        c = self.ai.chat.completions.create(**user(), stop=[" The"]).choices[0]
        self.assertEqual((c.message.content, c.finish_reason), (ANSWER[: ANSWER.index(" The")], "stop"))
        c = self.ai.chat.completions.create(**user(), max_completion_tokens=3).choices[0]
        self.assertEqual((c.message.content, c.finish_reason), (ANSWER[:2] + " +", "length"))


class Async(Case):
    def test_many_at_once(self):
        async def ask(ai, i):
            if i % 2:
                return (await ai.chat.completions.create(**user())).choices[0].message.content
            stream = await ai.chat.completions.create(**user(), stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in stream])

        async def all_of_them():
            async with openai.AsyncOpenAI(base_url=str(self.ai.base_url), api_key="none", max_retries=0) as ai:
                self.assertEqual([m.id async for m in await ai.models.list()], ["demo"])
                return await asyncio.gather(*(ask(ai, i) for i in range(16)))

        self.assertEqual(asyncio.run(all_of_them()), [ANSWER] * 16)


class Errors(Case):
    def refused(self, kind, status, call, **expected):
        with self.assertRaises(kind) as caught:
            call()
        e = caught.exception
        self.assertIs(type(e), kind)
        self.assertEqual(e.status_code, status)
        self.assertTrue(e.request_id)
        self.assertEqual({k: getattr(e, k) for k in expected}, expected, e)
        self.assertIn(e.body["message"], str(e))
        return e

    def test_requests(self):
        chat, models = self.ai.chat.completions.create, self.ai.models
        bad, missing, other = openai.BadRequestError, openai.NotFoundError, openai.InternalServerError
        self.refused(bad, 400, lambda: chat(**user(), temperature=-1), param="temperature", type="invalid_request_error")
        self.refused(bad, 400, lambda: chat(**user("word " * 60_000)), param="messages", code="context_length_exceeded")
        self.refused(bad, 400, lambda: self.ai.completions.create(model="demo", prompt=[2**31]), param="prompt")
        self.refused(missing, 404, lambda: chat(**{**user(), "model": "gpt-4"}), param="model", code="model_not_found")
        self.refused(missing, 404, lambda: models.retrieve("gpt-4"), param="model", code="model_not_found")
        self.refused(missing, 404, lambda: self.ai.files.list(), code="not_found")
        self.refused(openai.APIStatusError, 413, lambda: chat(**user("x" * (2 << 20))))
        # Not offered: it says so once, and is not tried again.
        again = client(self.server, retries=3)
        self.refused(other, 501, lambda: again.embeddings.create(model="demo", input="x"), code="not_supported")
        form = {"type": "json_object"}
        self.refused(other, 501, lambda: again.chat.completions.create(**user(), response_format=form), param="response_format")
        self.assertEqual(metrics(self.server)['sluice_http_responses_total{code="5xx"}'], 2)

    def test_an_error_in_a_stream(self):
        stream = self.ai.completions.create(model="demo", prompt="Hi", stream=True, extra_body={"allowed_token_ids": [2045], "min_tokens": 1})
        with self.assertRaises(openai.APIError) as caught:
            list(stream)
        self.assertIn("no token is left", str(caught.exception))

    def test_keys(self):
        with Server(*self.FLAGS, "--api-key", "secret") as s:
            self.refused(openai.AuthenticationError, 401, lambda: client(s).models.list(), code="invalid_api_key")
            self.assertEqual([m.id for m in client(s, api_key="secret").models.list()], ["demo"])

    def test_busy_and_tried_again(self):
        with Server(*self.FLAGS, "--max-running-requests", 1, "--max-queued-requests", 1) as s:
            ai = client(s)
            running = ai.completions.create(model="demo", **ENDLESS, stream=True)
            next(iter(running))
            eventually(lambda: metrics(s)["sluice_num_requests_running"] == 1)
            waiting = ai.completions.create(model="demo", prompt="Hi", max_tokens=1, stream=True)
            once = lambda ai: ai.completions.create(model="demo", prompt="Hi", max_tokens=1)
            e = self.refused(openai.RateLimitError, 429, lambda: once(ai), type="rate_limit_error")
            self.assertEqual(e.response.headers["retry-after"], "1")
            begin = time.monotonic()
            self.refused(openai.RateLimitError, 429, lambda: once(client(s, retries=1)))
            self.assertGreaterEqual(time.monotonic() - begin, 1)  # it waited as long as it was told
            running.close()
            self.assertTrue(list(waiting))
            self.assertEqual(once(client(s, retries=3)).usage.completion_tokens, 1)

    def test_draining_and_gone(self):
        with Server(*self.FLAGS, "--drain-timeout", 60) as s:
            ai = client(s)
            stream = ai.completions.create(model="demo", **ENDLESS, stream=True)
            next(iter(stream))
            s.signal()
            eventually(lambda: s.get("/ready").status == 503)
            e = self.refused(openai.InternalServerError, 503, lambda: ai.chat.completions.create(**user()))
            self.assertGreaterEqual(int(e.response.headers["retry-after"]), 1)
            stream.close()  # the last one: it may go now
            self.assertEqual(s.process.wait(20), 0)
            with self.assertRaises(openai.APIConnectionError):
                ai.models.list()

    def test_timeout(self):
        with self.assertRaises(openai.APITimeoutError):
            self.ai.with_options(timeout=0.2).completions.create(model="demo", **ENDLESS)


WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}}  # fmt: skip
CALLS = [{"city": "Zürich", "days": 3}, {"city": "東京 \"\\ 👋🏽"}]
FORMS = {
    "json": lambda arguments: json.dumps({"name": "get_weather", "arguments": arguments}, ensure_ascii=False),
    "xml": lambda arguments: "<function=get_weather>\n" + "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in arguments.items()) + "</function>",
}


def called(form, calls):
    return "\n".join(f"<tool_call>\n{FORMS[form](c)}\n</tool_call>" for c in calls)


class Scripted(unittest.TestCase):
    """With models that answer one-call, two-calls and no-call."""

    def served(self, form):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        texts = {"one-call": "Let me see.\n" + called(form, CALLS[:1]), "two-calls": "<think>\nTwo cities.\n</think>\n\n" + called(form, CALLS),
                 "no-call": "There is <tool_call> in it."}  # fmt: skip
        return client(self.enterContext(Server(scripted_model(SOURCE, folder, texts, form), "--served-model-name", "demo")))


class Tools(Scripted):
    def streamed(self, ai, asked):
        """The message that the deltas make, and each call's deltas in order."""
        content, reasoning, calls, finish = "", "", [], None
        for chunk in ai.chat.completions.create(**asked, stream=True):
            (choice,) = chunk.choices
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            finish = choice.finish_reason or finish
            for d in choice.delta.tool_calls or []:
                if d.index == len(calls):
                    self.assertTrue(d.id)
                    calls.append({"name": d.function.name, "arguments": "", "deltas": 0})
                self.assertEqual(d.index, len(calls) - 1)  # one after the other
                calls[-1]["arguments"] += d.function.arguments or ""
                calls[-1]["deltas"] += 1
        return content, reasoning, calls, finish

    def test_calls(self):
        for form in FORMS:
            ai = self.served(form)
            for name, calls, reasons in (("one-call", CALLS[:1], ""), ("two-calls", CALLS, "Two cities.")):
                with self.subTest(form=form, name=name):
                    asked = {**user(name), "tools": [WEATHER]}
                    c = ai.chat.completions.create(**asked).choices[0]
                    self.assertEqual(c.finish_reason, "tool_calls")
                    self.assertEqual([(t.type, t.function.name, json.loads(t.function.arguments)) for t in c.message.tool_calls],
                                     [("function", "get_weather", arguments) for arguments in calls])  # fmt: skip
                    self.assertEqual(len({t.id for t in c.message.tool_calls}), len(calls))
                    content, reasoning, streamed, finish = self.streamed(ai, asked)
                    self.assertEqual((content or None, reasoning, finish), (c.message.content, reasons, "tool_calls"))
                    self.assertEqual([s["arguments"] for s in streamed], [t.function.arguments for t in c.message.tool_calls])
                    self.assertTrue(all(s["deltas"] > 2 for s in streamed), "arguments come as they are written")
                    self.go_on(ai, asked, c.message)
            c = ai.chat.completions.create(**user("no-call"), tools=[WEATHER]).choices[0]
            self.assertEqual((c.finish_reason, c.message.content), ("stop", "There is <tool_call> in it."))
            c = ai.chat.completions.create(**user("one-call"), tools=[WEATHER], tool_choice="none").choices[0]
            self.assertEqual((c.finish_reason, c.message.tool_calls), ("stop", None))

    def go_on(self, ai, asked, message):
        """The client's own message goes back with the tools' results."""
        results = [{"role": "tool", "tool_call_id": t.id, "content": "no-call"} for t in message.tool_calls]
        c = ai.chat.completions.create(**{**asked, "messages": [*asked["messages"], message, *results]}).choices[0]
        self.assertEqual((c.finish_reason, c.message.content), ("stop", "There is <tool_call> in it."))

    def test_the_clients_own_accumulator(self):
        with self.served("json").chat.completions.stream(**user("two-calls"), tools=[WEATHER]) as stream:
            done = [e.arguments for e in stream if e.type == "tool_calls.function.arguments.done"]
            final = stream.get_final_completion().choices[0]
        self.assertEqual([json.loads(d) for d in done], CALLS)
        self.assertEqual([json.loads(t.function.arguments) for t in final.message.tool_calls], CALLS)


class Responses(Scripted):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--served-model-name", "demo"))
        cls.ai = client(cls.server)

    def test_calls(self):
        tool = {"type": "function", **WEATHER["function"], "strict": False}
        for form in FORMS:
            ai = self.served(form)
            for name, text, reasons, calls in (("one-call", "Let me see.", [], CALLS[:1]), ("two-calls", "", ["Two cities."], CALLS)):
                with self.subTest(form=form, name=name):
                    asked = {"model": "demo", "input": [{"role": "user", "content": name}], "tools": [tool]}
                    r = ai.responses.create(**asked)
                    self.assertEqual((r.object, r.status, r.error, r.output_text.strip()), ("response", "completed", None, text))
                    self.assertEqual([part.text.strip() for o in r.output if o.type == "reasoning" for part in o.content], reasons)
                    self.assertEqual([json.loads(o.arguments) for o in r.output if o.type == "function_call"], calls)
                    self.assertEqual(r.usage.total_tokens, r.usage.input_tokens + r.usage.output_tokens)
                    self.assertEqual(r.usage.output_tokens_details.reasoning_tokens > 0, bool(reasons))
                    self.streamed(ai, asked, r)
                    results = [{"type": "function_call_output", "call_id": o.call_id, "output": "no-call"} for o in r.output if o.type == "function_call"]
                    r = ai.responses.create(**{**asked, "input": [*asked["input"], *r.output, *results]})
                    self.assertEqual(r.output_text, "There is <tool_call> in it.")

    def streamed(self, ai, asked, whole):
        """The client puts the events together: what comes out is the answer, piece by piece as well."""
        shape = lambda r: [o.to_dict() | {"id": None, "call_id": None} for o in r.output]
        with ai.responses.stream(**asked) as stream:
            events = list(stream)
            final = stream.get_final_response()
        self.assertEqual([e.sequence_number for e in events], list(range(len(events))))
        self.assertEqual([e.type for e in events[:2]] + [events[-1].type], ["response.created", "response.in_progress", "response.completed"])
        self.assertEqual(shape(final), shape(events[-1].response))
        self.assertEqual([self.texts(o) for o in final.output], [self.texts(o) for o in whole.output])
        for index, item in enumerate(final.output):
            deltas = [e.delta for e in events if e.type.endswith(".delta") and e.output_index == index]
            self.assertGreater(len(deltas), 2)
            self.assertEqual("".join(deltas), "".join(self.texts(item)))
        kinds = lambda end: sum(e.type == f"response.output_item.{end}" for e in events)
        self.assertEqual((kinds("added"), kinds("done")), (len(final.output), len(final.output)))

    @staticmethod
    def texts(item):
        return [item.arguments] if item.type == "function_call" else [part.text for part in item.content]

    def test_answers_and_refusals(self):
        ai = self.ai
        r = ai.responses.create(model="demo", input=QUESTION)
        self.assertEqual((r.output_text, r.status, r.usage.input_tokens), (ANSWER, "completed", 37))
        r = ai.responses.create(model="demo", input=QUESTION, max_output_tokens=3)
        self.assertEqual((r.status, r.incomplete_details.reason, r.output_text), ("incomplete", "max_output_tokens", ANSWER[:4]))
        with self.assertRaises(openai.BadRequestError) as caught:
            ai.responses.create(model="demo", input=QUESTION, previous_response_id="resp_1")
        self.assertEqual(caught.exception.param, "previous_response_id")
        with self.assertRaises(openai.NotFoundError):
            ai.responses.retrieve("resp_1")
        with self.assertRaises(openai.NotFoundError):
            ai.responses.create(model="gpt-4", input="x")


if __name__ == "__main__":
    unittest.main()
