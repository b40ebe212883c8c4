"""lm-evaluation-harness over /v1/completions, with our /tokenize as its tokenizer: its log-likelihoods are those of transformers, which
demo/oracle.safetensors has for each token of the demo model's prompts and answers."""

import json
import logging
import math
import os
import pathlib
import re
import struct
import tempfile
import unittest

from clients import needs

needs(modules=["lm_eval", "aiohttp", "tenacity"])

HOME = tempfile.TemporaryDirectory()  # gone at the end
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": HOME.name, "TQDM_DISABLE": "1"}

import lm_eval
from lm_eval.tasks import TaskManager
from server import SOURCE, Server

logging.disable(logging.WARNING)
TOLERANCE = 1e-3
DEMO = SOURCE / "demo"
CASES = [c for c in json.loads((DEMO / "oracle.json").read_text())["cases"] if re.match(r"math|.*\.0", c["key"])]  # the others are long


def oracle():
    """Name -> numbers of the tensors that are read here."""
    data = (DEMO / "oracle.safetensors").read_bytes()
    begin = 8 + struct.unpack_from("<Q", data)[0]
    kinds = {"input_ids": "i", "greedy_ids": "i", "next_logprobs": "f"}
    tensors = {}
    for name, t in json.loads(data[8:begin]).items():
        if kind := kinds.get(name.rpartition(".")[2]):
            first, last = t["data_offsets"]
            tensors[name] = struct.unpack_from(f"<{(last - first) // 4}{kind}", data, begin + first)
    return tensors


class Texts:
    """The oracle's conversations as texts, with the log-probability that transformers gives to any end of them."""

    def __init__(self, server):
        self.server, self.tensors = server, oracle()

    def ids(self, text):
        return self.server.post("/tokenize", {"prompt": text, "add_special_tokens": False}).json["tokens"]

    def all(self):
        for case in CASES:
            key = case["key"]
            text = case["prompt"] + case["text"] + "<|im_end|>"
            ids = [*self.tensors[f"{key}.input_ids"], *self.tensors[f"{key}.greedy_ids"]]
            assert self.ids(text) == ids, f"{key}: the tokens are not those of transformers"
            yield key, text

    def logprob(self, key, context):
        """Of all that follows `context`."""
        return math.fsum(self.tensors[f"{key}.next_logprobs"][len(self.ids(context)) - 1 :])


def questions(texts):
    """Endings of conversations from many places on; each with a few others if it is the end of an answer."""
    for key, text in texts.all():
        places = [m.start() for m in re.finditer(r" (?=\w)", text)]
        for at in places[len(places) // 6 :: max(1, len(places) // 3)]:
            yield {"context": text[:at], "choices": [text[at:]], "logprob": texts.logprob(key, text[:at])}
        if key.startswith("math"):
            at = text.rindex(" The answer")
            yield {"context": text[:at], "choices": [*wrong(text[at:]), text[at:]], "logprob": texts.logprob(key, text[:at])}


def wrong(answer):
    """With other digits of the number."""
    return [re.sub(r"\d(?=\.)", lambda m: str((int(m[0]) + step) % 10), answer) for step in (1, 4, 7)]


class LmEval(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--dtype", "fp32", "--served-model-name", "demo"))
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.questions = list(questions(Texts(cls.server)))
        (cls.folder / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in cls.questions))

    def evaluate(self, **arguments):
        """The log-likelihoods of each question's choices, and lm-eval's accuracy."""
        task = {"task": "endings", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(self.folder / "questions.jsonl")}},
                "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{context}}", "doc_to_choice": "{{choices}}",
                "doc_to_target": "{{choices | length - 1}}", "target_delimiter": "",
                "metric_list": [{"metric": "acc"}]}  # fmt: skip
        url = f"http://127.0.0.1:{self.server.port}/v1/completions"
        out = lm_eval.simple_evaluate("local-completions", model_args={"model": "demo", "base_url": url, "max_length": 4096, **arguments},
                                      tasks=[task], bootstrap_iters=0,
                                      task_manager=TaskManager(include_defaults=False))  # fmt: skip
        samples = sorted(out["samples"]["endings"], key=lambda s: s["doc_id"])
        return [[float(r[0][0]) for r in s["resps"]] for s in samples], out["results"]["endings"]["acc,none"]

    def test_loglikelihoods_are_those_of_transformers(self):
        for arguments in ({"batch_size": 16}, {"batch_size": 4, "num_concurrent": 4}):
            with self.subTest(**arguments):
                found, accuracy = self.evaluate(**arguments)
                self.assertEqual(len(found), len(self.questions))
                worst = max(abs(f[-1] - q["logprob"]) for f, q in zip(found, self.questions))
                print(f"{arguments}: {len(found)} endings, at most {worst:.1e} from transformers, acc {accuracy}")
                self.assertLess(worst, TOLERANCE)
                self.assertEqual(accuracy, 1)
        # That is transformers' accuracy too: it gives each right answer more than half of all.
        self.assertTrue(all(q["logprob"] > math.log(0.5) for q in self.questions if len(q["choices"]) > 1))


if __name__ == "__main__":
    unittest.main()
