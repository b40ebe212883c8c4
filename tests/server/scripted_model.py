"""Checkpoints whose answers are known: texts that hold tool calls and reasoning, which the demo model never writes.

Each token of a text is its own; the embedding says which token it is, the layers add nothing, and the head says which one follows.
"""

import itertools
import json
import math
import pathlib
import struct

DEMO = pathlib.Path("demo/model")
END = 2045  # <|im_end|> of the demo model, whose tokenizer is used

TEMPLATE = """{%- if tools %}{{- '<|im_start|>system\\nCall with <tool_call> and </tool_call>, after <think> and </think>. FORM\\n' }}
{%- for tool in tools %}{{- tool | tojson + '\\n' }}{% endfor %}{{- '<|im_end|>\\n' }}{% endif %}
{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content }}
{%- for call in m.tool_calls or [] %}{{- '\\n<tool_call>\\n' + call.function | tojson + '\\n</tool_call>' }}{% endfor %}
{{- '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}STARTS{% endif %}"""
FORMS = {"json": '{"name": NAME, "arguments": {}}', "xml": "<function=NAME><parameter=KEY>"}


def scripted_model(source, folder, texts, form="json"):
    """Writes a model that answers a last message which contains a name of `texts` with its text. Form: json (Hermes) or xml (Qwen)."""
    demo, folder = pathlib.Path(source) / DEMO, pathlib.Path(folder)
    config = json.loads((demo / "config.json").read_text())
    tokenizer = json.loads((demo / "tokenizer.json").read_text())
    vocab, added = tokenizer["model"]["vocab"], tokenizer["added_tokens"]
    ids = itertools.count(config["vocab_size"])
    follows, starts = {}, ""
    for name, text in texts.items():
        chain = [next(ids)]
        added.append({**added[0], "id": chain[0], "content": f"<|{name}|>"})
        for piece in pieces(spelled(text), vocab):
            chain.append(next(ids))
            vocab[piece] = chain[-1]
        follows |= dict(zip(chain, [*chain[1:], END]))
        starts += f"{{%- if '{name}' in messages[-1].content %}}{{{{- '<|{name}|>' }}}}{{% endif %}}"
    config |= {"vocab_size": next(ids), "hidden_size": 64 * math.ceil((len(follows) + 1) / 64), "num_hidden_layers": 2,
               "layer_types": ["linear_attention", "full_attention"], "tie_word_embeddings": False, "mtp_num_hidden_layers": 0,
               "intermediate_size": 64, "linear_num_key_heads": 1, "linear_num_value_heads": 1, "num_attention_heads": 1,
               "num_key_value_heads": 1}  # fmt: skip
    for name, value in (("config.json", config), ("tokenizer.json", tokenizer)):
        (folder / name).write_text(json.dumps(value))
    for name in ("generation_config.json", "tokenizer_config.json"):
        (folder / name).symlink_to(demo / name)
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("FORM", FORMS[form]).replace("STARTS", starts))
    write_safetensors(folder / "model.safetensors", weights(config, follows))
    return folder


def spelled(text):
    """As byte-level vocabularies spell it: a character for each byte, those that cannot be seen from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [b for b in range(256) if b not in seen]
    names = {b: chr(b) for b in seen} | {b: chr(0x100 + i) for i, b in enumerate(unseen)}
    return "".join(names[b] for b in text.encode())


def pieces(text, vocab):
    """Cuts a text into new tokens of three bytes or more; characters may be cut too."""
    cuts = []
    while text:
        piece = next((text[:n] for n in range(3, len(text) + 1) if text[:n] not in vocab and text[:n] not in cuts), None)
        if piece is None:
            cuts[-1] += text  # what is left has been there
            break
        cuts.append(piece)
        text = text[len(piece) :]
    return cuts


def weights(config, follows):
    """Name -> (shape, {index: bf16}); all else is zero."""
    h, i, vocab, d = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size", "head_dim"))
    v = config["linear_value_head_dim"]
    channels = 2 * config["linear_key_head_dim"] + v
    one, eight = 0x3F80, 0x4100
    state = {token: k + 1 for k, token in enumerate(follows)}  # state 0: any other token, which the end follows
    tensors = {
        "model.embed_tokens": ((vocab, h), {t * h + state.get(t, 0): one for t in range(vocab)}),
        "lm_head": ((vocab, h), {END * h: eight} | {after * h + state[t]: eight for t, after in follows.items()}),
        "model.norm": ((h,), {}),
    }  # fmt: skip
    mixers = {
        "linear_attn": {"in_proj_qkv.weight": (channels, h), "in_proj_z.weight": (v, h), "in_proj_b.weight": (1, h), "in_proj_a.weight": (1, h),
                        "conv1d.weight": (channels, 1, config["linear_conv_kernel_dim"]), "A_log": (1,), "dt_bias": (1,), "norm.weight": (v,),
                        "out_proj.weight": (h, v)},
        "self_attn": {"q_proj.weight": (2 * d, h), "k_proj.weight": (d, h), "v_proj.weight": (d, h), "o_proj.weight": (h, d),
                      "q_norm.weight": (d,), "k_norm.weight": (d,)},
    }  # fmt: skip
    tensors = {f"{name}.weight": tensor for name, tensor in tensors.items()}
    for layer, (mixer, shapes) in enumerate(mixers.items()):
        shapes = {f"{mixer}.{name}": shape for name, shape in shapes.items()}
        shapes |= {"input_layernorm.weight": (h,), "post_attention_layernorm.weight": (h,), "mlp.gate_proj.weight": (i, h),
                   "mlp.up_proj.weight": (i, h), "mlp.down_proj.weight": (h, i)}  # fmt: skip
        tensors |= {f"model.layers.{layer}.{name}": (shape, {}) for name, shape in shapes.items()}
    return tensors


def write_safetensors(path, tensors):
    header, data = {}, bytearray()
    for name, (shape, values) in tensors.items():
        begin = len(data)
        data += bytes(2 * math.prod(shape))
        for index, value in values.items():
            struct.pack_into("<H", data, begin + 2 * index, value)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
