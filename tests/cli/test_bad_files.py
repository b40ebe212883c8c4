"""Damaged checkpoints: refused with one line that names the file, the tensor or field, what was found and what was wanted."""

import json
import pathlib
import struct
import unittest

from program import Checkpoint, DEMO, run

BIG = 1 << 63


def header(text, body=b""):
    blob = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(blob)) + blob + body


def one_tensor(dtype="F32", shape=(1,), offsets=(0, 4), body=b"\0" * 4):
    return header(json.dumps({"t": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}), body)


class BadFiles(unittest.TestCase):
    def refused(self, checkpoint, *words, command=("run", "-p", "Add 1 and 2.")):
        r = run(command[0], checkpoint.dir, *command[1:])
        self.assertEqual(r.returncode, 1, f"exit {r.returncode}: {r.stdout}{r.stderr}")
        self.assertEqual(r.stderr.count("\n"), 1, r.stderr)
        for word in words:
            self.assertIn(word, r.stderr)

    def weights(self, data, *words):
        with Checkpoint() as c:
            (c.dir / "model.safetensors").write_bytes(data)
            self.refused(c, "model.safetensors", *words)

    def test_row_1_header(self):
        for data in (
            b"",
            b"\0" * 7,
            b"\0" * 8,
            struct.pack("<Q", BIG) + b"{}",
            struct.pack("<Q", 2**64 - 1) + b"{}",
            struct.pack("<Q", 100_000_001) + b"{}",
            struct.pack("<Q", 1000) + b"{}",
            header("[1]"),
            header(b'{"\xff": 1}'),
            one_tensor() + b"junk",
        ):
            self.weights(data)

    def test_row_2_offsets(self):
        for offsets in ((4, 0), (0, 8), (4, 8), (0,), (0, 4, 8), (0.5, 4), (-4, 0), (0, 1e30)):
            self.weights(one_tensor(offsets=offsets), "t")
        a, b = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}
        self.weights(header(json.dumps({"a": a, "b": b}), b"\0" * 6), "b")

    def test_row_3_shapes_and_types(self):
        for shape in ((2**32, 2**32), (2**63, 2), (0,), (1,) * 9):
            self.weights(one_tensor(shape=shape), "t")
        self.weights(one_tensor(dtype="F4", shape=(9,)), "F4")
        self.weights(one_tensor(dtype="X1"), "X1")
        entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
        self.weights(header(f'{{"t":{entry},"t":{entry}}}', b"\0" * 4), "t")

    def index(self, c, weight_map, keep=False):
        (c.dir / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        if not keep:
            (c.dir / "model.safetensors").rename(c.dir / "model-00001-of-00001.safetensors")

    def test_row_5_index(self):
        with Checkpoint() as c:
            names = list(c.tensors())
            self.index(c, {n: "model-00001-of-00001.safetensors" for n in names})
            self.assertEqual(run("run", c.dir, "-p", "Add 494 and 92.").returncode, 0)
            for shard in ("missing.safetensors", "../model.safetensors", "/etc/passwd", "a/b.safetensors"):
                self.index(c, {n: shard for n in names}, keep=True)
                self.refused(c, shard)
            self.index(
                c,
                {**{n: "model-00001-of-00001.safetensors" for n in names}, "no.such": "model-00001-of-00001.safetensors"},
                keep=True,
            )
            self.refused(c, "no.such")

    def test_row_6_weights_against_config(self):
        with Checkpoint() as c:
            good = c.tensors()
            dtype, shape, data = good["model.layers.0.mlp.up_proj.weight"]
            c.write_tensors({**good, "model.layers.0.mlp.up_proj.weight": (dtype, shape[::-1], data)})
            self.refused(c, "model.layers.0.mlp.up_proj.weight", "[192, 512]", "[512, 192]")
            c.write_tensors({n: t for n, t in good.items() if ".mlp." not in n})
            self.refused(c, "model.layers.0.mlp.gate_proj.weight is missing", "more")
            c.write_tensors(good)
            c.edit_json("config.json", lambda v: v.update(tie_word_embeddings=False))
            self.refused(c, "lm_head.weight is missing")

    def test_row_7_not_finite(self):
        with Checkpoint() as c:
            tensors = c.tensors()
            name = "model.layers.5.mlp.down_proj.weight"
            dtype, shape, data = tensors[name]
            c.write_tensors({**tensors, name: (dtype, shape, data[:100] + b"\xc0\x7f" + data[102:])})
            self.refused(c, "layer 5", "not finite")

    def test_row_8_config(self):
        changes = {
            "num_attention_heads": 0,
            "num_key_value_heads": 3,
            "linear_num_value_heads": 5,
            "num_hidden_layers": 10**9,
            "hidden_size": -1,
            "head_dim": 0,
            "linear_conv_kernel_dim": 9,
            "hidden_act": "gelu",
            "vocab_size": 2**62,
            "layer_types": ["linear_attention"],
            "model_type": "no_such_model",
        }
        for field, value in changes.items():
            with Checkpoint() as c:
                c.edit_json("config.json", lambda v: v.update({field: value}))
                self.refused(c, "config.json", field)
        with Checkpoint() as c:
            (c.dir / "config.json").write_text(" " * (50 << 20))
            self.refused(c, "config.json")
            (c.dir / "config.json").write_text("[" * 100_000)
            self.refused(c, "config.json")

    def test_row_9_tokenizer(self):
        def change_model(**fields):
            return lambda v: v["model"].update(fields)

        with Checkpoint() as c:
            original = (c.dir / "tokenizer.json").read_text()
            vocab = json.loads(original)["model"]["vocab"]
            cases = [
                (lambda v: v["model"]["merges"].append("no such_piece_zz"), "such_piece_zz"),
                (change_model(vocab={**vocab, "duplicate": 5}), "5"),
                (change_model(vocab={**vocab, "far": 2**40}), "far"),
                (lambda v: v["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex="(["), "(["),
                (change_model(type="Unigram"), "Unigram"),
            ]
            for change, word in cases:
                (c.dir / "tokenizer.json").write_text(original)
                c.edit_json("tokenizer.json", change)
                self.refused(c, "tokenizer.json", word)

    def test_row_10_chat_template(self):
        templates = {
            "{% for i in range(10**9) %}{% endfor %}": "",
            "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}": "",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "",
            "{{ messages | no_such_filter }}": "no_such_filter",
            "{{ 'x' * 10**10 }}": "",
            "{{ raise_exception('not this way') }}": "not this way",
            "{{ ''.__class__.__mro__ }}": "",
            "{% if %}": "",
        }
        for template, words in templates.items():
            with Checkpoint() as c:
                (c.dir / "chat_template.jinja").write_text(template)
                self.refused(c, words)

    def test_missing_files_are_named(self):
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            with Checkpoint() as c:
                (c.dir / name).unlink()
                self.refused(c, name)
        with Checkpoint() as c:
            link = pathlib.Path(c.dir / "model.safetensors")
            link.rename(c.dir / "blob")
            link.symlink_to(c.dir / "blob")
            self.assertEqual(run("run", c.dir, "-p", "Add 494 and 92.").returncode, 0)
            link.unlink()
            link.symlink_to("/dev/zero")
            self.refused(c, "model.safetensors")


if __name__ == "__main__":
    unittest.main()
