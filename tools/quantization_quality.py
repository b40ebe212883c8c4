#!/usr/bin/env python3
"""How far quantised weights move a model's next-token distributions: KL divergence against the model as it is, over tasks' prompts and
answers.

    tools/quantization_quality.py build/release/bin/sluice demo/model demo/tasks.jsonl \\
        int8=/tmp/demo-int8 int4=/tmp/demo-int4 other='!program {out} {ids}'

A variant is a folder as `sluice quantize` writes it, or, behind !, another program: {ids} becomes the token ids, {out} a file that it writes
logits to, [tokens, vocabulary] in fp32 without a header. Needs numpy."""

import argparse
import json
import pathlib
import shlex
import struct
import subprocess
import tempfile

import numpy as np


def text_of(task):  # ChatML, which the demo model was trained on
    return "<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{worked}<|im_end|>\n".format(**task)


def tokens(program, model, text):
    out = subprocess.run([program, "tokenize", model, "--parse-special", "--json"], input=text, capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def safetensors_logits(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    t = json.loads(data[8 : 8 + size])["logits"]
    begin, end = t["data_offsets"]
    return np.frombuffer(data[8 + size + begin : 8 + size + end], np.float32).reshape(t["shape"])


def logits(program, ids, variant, folder):
    out, ids_file = folder / "logits", folder / "ids"
    if variant.startswith("!"):
        command = []
        for part in shlex.split(variant[1:]):
            command += map(str, ids) if part == "{ids}" else [part.format(out=out)]
        subprocess.run(command, capture_output=True, check=True)
        return np.fromfile(out, np.float32).reshape(len(ids), -1)
    ids_file.write_text(" ".join(map(str, ids)))
    subprocess.run([program, "score", variant, "--ids-file", ids_file, "--out", out], check=True)
    return safetensors_logits(out)


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("tasks")
    parser.add_argument("variants", nargs="+", metavar="NAME=VARIANT")
    parser.add_argument("--limit", type=int, default=0, help="only the first so many of each task")
    o = parser.parse_args()
    variants = dict(v.split("=", 1) for v in o.variants)
    taken, divergences, agreement = {}, {v: [] for v in variants}, {v: [] for v in variants}
    with tempfile.TemporaryDirectory() as name:
        for line in pathlib.Path(o.tasks).read_text().splitlines():
            task = json.loads(line)
            taken[task["task"]] = taken.get(task["task"], 0) + 1
            if o.limit and taken[task["task"]] > o.limit:
                continue
            ids = tokens(o.program, o.model, text_of(task))
            want = log_softmax(logits(o.program, ids, o.model, pathlib.Path(name)))
            for v, variant in variants.items():
                got = log_softmax(logits(o.program, ids, variant, pathlib.Path(name)))
                divergences[v].append((np.exp(want) * (want - got)).sum(-1))
                agreement[v].append(want.argmax(-1) == got.argmax(-1))
    print("| weights | positions | mean KL | 99 % | largest | same best token |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for v in variants:
        kl, same = np.concatenate(divergences[v]), np.concatenate(agreement[v])
        print(f"| {v} | {len(kl)} | {kl.mean():.3e} | {np.quantile(kl, 0.99):.3e} | {kl.max():.2e} | {same.mean():.4%} |")


main()
