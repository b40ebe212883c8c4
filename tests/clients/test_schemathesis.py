"""Schemathesis asks the server for what /openapi.json allows and for what it does not, and holds each answer to it: the status, the
headers, the body, and whether the data was rightly taken or refused. Exit 77 where it is not installed.

Schemathesis loads this file too, as a module of hooks that see each case before and after it is sent."""

import atexit
import collections
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

KEY = "a-secret-key"
CONTEXT, VOCAB, CHOICES, TOP = 32768, 2048, 8, 20
MAX_TOKENS = 4  # of an answer: the cases are many
TEXT_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/responses/input_tokens", "/v1/messages", "/v1/messages/count_tokens",
              "/tokenize")  # fmt: skip
MESSAGES = ("/v1/messages", "/v1/messages/count_tokens")

# All checks are on. 501 is the answer to what is well-formed and not offered; an operation that may give it says so.
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "501"]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "501"]
[checks.negative_data_rejection]
expected-statuses = ["400", "404", "501"]
[[operations]]  # whose answers are not kept
include-path-regex = "/v1/responses/[{].*"
checks.positive_data_acceptance.expected-statuses = ["404"]
"""

# The demo model's, with calls. Templates of real models refuse many orders of messages, which no schema can say.
TEMPLATE = r"""{%- if tools %}{{- '<|im_start|>system\n' + (tools | tojson) }}
{{- '<tool_call>{"name": ..., "arguments": ...}</tool_call><|im_end|>\n' }}{%- endif %}
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' + message.content }}
{%- for call in message.tool_calls or [] %}{{- '<tool_call>' + (call.function | tojson) + '</tool_call>' }}{%- endfor %}
{{- '<|im_end|>\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""


# Hooks, in Schemathesis' process.


def is_count(value, most):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most and value == int(value)


def keep_sizes(value):
    """Whole numbers fit into 64 bits, and lengths are those of UTF-8, where a schema counts characters."""
    if isinstance(value, dict):
        return {key: keep_sizes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [keep_sizes(item) for item in value]
    if isinstance(value, str):
        text = value.encode(errors="replace")
        limit = next((n for n in (32, 64, 256, 1024, 65536) if len(value) <= n), len(text))
        return value if len(text) <= limit else text[:limit].decode(errors="ignore")
    return value % 2**63 if isinstance(value, int) and not -(2**63) <= value < 2**64 else value


def keep_length_rules(body, path):
    limits = [key for key in ("max_tokens", "max_completion_tokens", "max_output_tokens") if body.get(key) is not None]
    least = 0 if body.get("echo") is True or is_count(body.get("prompt_logprobs"), TOP) else 1
    for key in limits:
        if is_count(body[key], CONTEXT) and ("prompt" in body or body[key] > 0):
            body[key] = max(least, min(body[key], MAX_TOKENS))
    if not limits and path not in MESSAGES:  # where it is required
        body["max_tokens"] = MAX_TOKENS
    if is_count(body.get("min_tokens"), CONTEXT):
        counts = [body[key] for key in limits if is_count(body[key], CONTEXT)]
        body["min_tokens"] = min(body["min_tokens"], *counts, MAX_TOKENS)


def is_object(text):
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def keep_message_rules(messages):
    for message in messages:
        # As many messages as there may be are too many tokens if they are long.
        if len(messages) > CONTEXT // 32 and isinstance(message.get("content"), str):
            message["content"] = "x"
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            keep_arguments(call.get("function") if isinstance(call, dict) else None)


def keep_arguments(function):
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if isinstance(arguments, str) and not is_object(arguments):
        function["arguments"] = "{}"


def keep_rules(body, path):
    """Rules between fields, which the description tells and the schema does not: what is valid by the schema comes to be valid by
    them. What is not valid stays so."""
    if body.get("stream") is True and is_count(body.get("prompt_logprobs"), TOP):
        body["prompt_logprobs"] = None
    if isinstance(body.get("stream_options"), dict) and body.get("stream") in (False, None):
        body["stream_options"] = None
    if is_count(body.get("top_logprobs"), TOP) and body.get("logprobs") in (False, None):
        body["top_logprobs"] = 0
    keep_length_rules(body, path)
    bias = body.get("logit_bias")
    if isinstance(bias, dict) and all(key.isascii() and key.isdigit() and len(key) <= 9 for key in bias):
        body["logit_bias"] = {str(int(key) % VOCAB): value for key, value in bias.items()}
    if isinstance(body.get("prompt"), list) and is_count(body.get("n"), CHOICES) and body["n"] > 0:
        body["n"] = 1  # the queue holds so many choices
    if isinstance(body.get("messages"), list):
        keep_message_rules([m for m in body["messages"] if isinstance(m, dict)])
        last = body["messages"][-1] if body["messages"] else None
        if path in MESSAGES and isinstance(last, dict) and last.get("role") == "assistant":
            body["messages"].append({"role": "user", "content": "x"})
    for item in body["input"] if isinstance(body.get("input"), list) else []:
        keep_arguments(item)
    if body.get("continue_final_message") is True:
        body["continue_final_message"] = False


KNOWN = set()  # fields that the description names


def note_fields(schema):
    for part in schema.raw_schema["components"]["schemas"].values():
        KNOWN.update(part.get("properties", {}))


def register_hooks(path):
    import schemathesis

    counts = collections.Counter()

    def after_load_schema(context, schema):
        note_fields(schema)

    def before_call(context, case, kwargs):
        if not isinstance(case.body, dict):
            return
        for key, value in case.body.items():
            if key not in KNOWN or not isinstance(value, int) or case.operation.path in MESSAGES:  # else its range is in the schema
                case.body[key] = keep_sizes(value)
        if case.operation.path in TEXT_PATHS:
            keep_rules(case.body, case.operation.path)

    def after_call(context, case, response):
        mode = case.meta.generation.mode.value if case.meta else "probe"
        counts[case.operation.label, mode, response.status_code] += 1

    for hook in (after_load_schema, before_call, after_call):
        schemathesis.hook(hook)
    atexit.register(lambda: pathlib.Path(path).write_text(json.dumps([[*key, n] for key, n in counts.items()])))


if "SLUICE_CASES" in os.environ:
    register_hooks(os.environ["SLUICE_CASES"])


# The test.


def model_with_calls(folder):
    folder.mkdir()
    for file in (SOURCE / "demo" / "model").iterdir():
        if file.name != "chat_template.jinja":
            (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def run_schemathesis(url, folder, arguments):
    (folder / "schemathesis.toml").write_text(CONFIG)
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": pathlib.Path(__file__).stem, "SLUICE_CASES": str(folder / "cases.json")}
    environment["PYTHONPATH"] = os.pathsep.join([str(pathlib.Path(__file__).parent), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", folder / "schemathesis.toml", "--no-color", "run", url]
    command += ["--header", f"Authorization: Bearer {KEY}", "--report-json-path", folder / "report.json", "--continue-on-failure"]
    # How long a case takes to generate says nothing of the server.
    command += ["--suppress-health-check", "all", "--request-timeout", "120", "--generation-database", "none", *arguments]
    run = subprocess.run([*map(str, command)], env=environment, cwd=folder, capture_output=True, text=True, timeout=1800)
    if not (folder / "report.json").exists():
        raise RuntimeError(run.stdout + run.stderr)
    return run, json.loads((folder / "report.json").read_text()), json.loads((folder / "cases.json").read_text())


def table(cases):
    """Operation -> kind of data -> status -> cases."""
    rows = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
    for label, mode, status, n in cases:
        rows[label][mode][status] += n
    return rows


class Schemathesis(unittest.TestCase):
    def test_description(self):
        from server import Server

        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            arguments = [model_with_calls(folder / "model"), "--api-key", KEY, "--served-model-name", "model"]
            with Server(*arguments) as server:
                run, report, cases = run_schemathesis(f"http://127.0.0.1:{server.port}/openapi.json", folder, ARGUMENTS)
                self.assertEqual(server.stop(), 0, server.stderr())
        rows = table(cases)
        for label, kinds in sorted(rows.items()):
            for kind, statuses in sorted(kinds.items()):
                print(f"{label}, {kind}:", *(f"{n} x {status}" for status, n in sorted(statuses.items())))
        self.assertEqual((run.returncode, report["failures"], report["errors"]), (0, [], []), run.stdout + run.stderr)
        self.assertEqual(report["operations"]["tested"], report["operations"]["selected"])
        self.assertGreaterEqual(sum(n for *_, n in cases), LEAST_CASES)
        for path in TEXT_PATHS:  # neither was everything taken nor everything refused
            of = rows["POST " + path]
            self.assertGreaterEqual(min(of["positive"][200], of["negative"][400]), LEAST_CASES / 40, path)


if __name__ == "__main__":
    if importlib.util.find_spec("schemathesis") is None:
        print("skipped: schemathesis is not installed (PyPI)")
        sys.exit(77)
    SOURCE = pathlib.Path(os.environ["SLUICE_SOURCE"])
    sys.path.insert(0, str(SOURCE / "tests" / "server"))
    LEAST_CASES = 2000
    ARGUMENTS = ["--seed", "1", "--max-examples", "100"] + sys.argv[1:]  # given ones come last, and so count
    unittest.main(argv=sys.argv[:1], verbosity=2)
