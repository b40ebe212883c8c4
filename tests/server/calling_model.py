"""The demo model made to call a function: for its word " answer" the tokenizer has the text of a call, and no merge leads to it."""

import json
import pathlib

from server import SOURCE

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 171, "b": "x"}}\n</tool_call>'


def write_calling_model(directory):
    directory = pathlib.Path(directory)
    model = SOURCE / "demo/model"
    for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer_config.json"):
        (directory / name).symlink_to(model / name)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    bpe = tokenizer["model"]
    token = bpe["vocab"].pop("Ġanswer")
    bpe["vocab"][CALL.replace(" ", "Ġ").replace("\n", "Ċ")] = token
    pairs = [m if isinstance(m, list) else m.split(" ") for m in bpe["merges"]]
    bpe["merges"] = [p for p in pairs if "Ġanswer" not in (*p, "".join(p))]
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    # What is in the comment says in which form the model calls.
    comment = '{# <tool_call> {"arguments"} </think> #}'
    (directory / "chat_template.jinja").write_text(comment + (model / "chat_template.jinja").read_text())
    return directory
