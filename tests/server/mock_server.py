"""A server with the routes that the page uses, whose answers a test chooses by what it writes. Alone, it serves the page for
work on it: python3 tests/server/mock_server.py [PORT]."""

import http.server
import json
import math
import pathlib
import sys
import threading
import time

WEB = pathlib.Path(__file__).resolve().parent.parent.parent / "server" / "web"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
# As server/web.cc sends it: what the page does must be allowed by it.
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
          "form-action 'none'; frame-ancestors 'none'")

MARKDOWN = """Two sorted lists merge in **one pass**: compare the heads, take the smaller, and go on. It costs *O(n + m)* time.

```python
from collections.abc import Iterable

def merge(a: list[int], b: list[int]) -> list[int]:
    \"\"\"Both must be sorted; equal items keep their order.\"\"\"
    out, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if b[j] < a[i]:  # strictly: a goes first
            out.append(b[j])
            j += 1
        else:
            out.append(a[i])
            i += 1
    return out + a[i:] + b[j:]
```

### How it compares

| method | time | stable | memory |
| :-- | --: | :-: | --: |
| `merge(a, b)` | O(n + m) | yes | 1.0x |
| `sorted(a + b)` | O(n log n) | yes | 1.5x |
| heap of 2 | O(n log 2) | no | 1.1x |

1. Take care of **empty** lists: both slices may be empty.
   - `a[i:]` copies
   - so does `b[j:]`
2. For many lists, use [`heapq.merge`](https://docs.python.org/3/library/heapq.html#heapq.merge).

> A merge reads each item once, so it suits files as well as lists.
"""
CHINESE = "门控增量规则把**状态**写成矩阵：每一步先*遗忘*，再写入。\n\n- 第一项：`S ← e^g S`\n- 第二项：写入 👍🏽 👨‍👩‍👧 🎉\n\n**注意：**窗口是 64 个词元。"
UNSAFE = ('<img src=x onerror="document.title=1"> <script>document.title = "broken"</script> [bad](javascript:document.title=1) '
          "![picture](http://203.0.113.9/a.png) [good](http://127.0.0.1/ok)")
TOOLS = [{"name": "get_weather", "arguments": '{"city": "Zürich", "unit": "celsius", "days": [1, 2, 3]}'}]


class State:
    """What a test sets and reads."""

    def __init__(self, delay=0.004):
        self.delay = delay         # seconds between two pieces
        self.key = None            # the API key asked for
        self.requests = []         # bodies
        self.broken = threading.Event()  # a client went while it was answered
        self.polls = 0             # each poll of the status moves the mock by a second
        self.busy = 0              # times to answer 429
        self.gone = False          # hang up on every request


def pieces(text, size=5):
    return [text[i : i + size] for i in range(0, len(text), size)]


def answer_to(text):
    """Deltas of the answer."""
    if "think" in text:
        for p in pieces("The user wants a merge. Two pointers are enough.\n\nI should mention empty lists, and that it is stable."):
            yield {"reasoning_content": p, "reasoning": p}
    if "weather" in text:
        for i, call in enumerate(TOOLS):
            yield {"tool_calls": [{"index": i, "id": f"call_{i}", "type": "function", "function": {"name": call["name"], "arguments": ""}}]}
            for p in pieces(call["arguments"]):
                yield {"tool_calls": [{"index": i, "function": {"arguments": p}}]}
        return
    if "endless" in text:
        while True:
            yield {"content": "and on "}
    if "unsafe" in text:
        body = UNSAFE
    elif "long" in text:
        body = (MARKDOWN + "\n") * 60
    elif "中" in text:
        body = CHINESE
    elif "merge" in text:
        body = MARKDOWN
    else:
        body = "83 + 88 = 171. 171 - 60 = 111. The answer is 111."
    for p in pieces(body, 400 if "long" in text else 5):
        yield {"content": p}


def status(n):
    """Counters after n seconds of a load that comes and goes."""
    def load(t):
        return max(0.0, 0.6 + 0.4 * math.sin(t / 37) + 0.12 * math.sin(t / 7.3) + 0.03 * math.sin(t * 1.7))
    total = sum(load(t) for t in range(n))
    running, waiting = round(14 * load(n)), max(0, round(9 * (load(n) - 0.85) * 3))
    snapshots = min(40, 4 + n // 9)
    prompt = total * 2600
    share = 0.35 + 0.5 * min(1, n / 240)
    cached = int(sum(load(t) * 2600 * (0.35 + 0.5 * min(1, t / 240)) for t in range(n)))
    live = min(2048 - 900, running * 46)
    return {
        "model": "sluice-demo", "version": "0.1.0", "device": "cpu", "max_context": 32768, "time_s": float(n), "draining": False,
        "requests": {"running": running, "waiting": waiting, "waiting_tokens": waiting * 310, "finished": int(total * 3), "cancelled": n // 60,
                     "failed": 0, "preemptions": n // 90},
        "tokens": {"prompt_computed": int(prompt) - cached, "prompt_cached": cached, "generated": int(total * 640), "drafted": int(total * 400),
                   "accepted": int(total * 374)},
        "engine": {"steps": int(total * 120), "failed_steps": 0, "busy_s": total * 0.8, "last_step_s": 0.0083},
        "state_slots": {"total": 64, "live": running, "snapshots": snapshots, "free": 64 - running - snapshots},
        "kv_pages": {"total": 2048, "live": live, "cached": min(900, n * 4), "free": 2048 - live - min(900, n * 4), "page_tokens": 64},
        "prefix_cache": {"queries": int(total * 3), "hits": int(total * 3 * share), "query_tokens": int(prompt), "hit_tokens": cached,
                         "evictions": n // 7},
    }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state = None

    def log_message(self, *_):
        pass

    def send(self, code, body, content_type="application/json", headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in (("Content-Type", content_type), ("Content-Length", str(len(data))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def error(self, code, message, headers=()):
        self.send(code, {"error": {"message": message, "type": "invalid_request_error", "code": None, "param": None}}, headers=headers)

    def allowed(self):
        if not self.state.key or self.headers.get("Authorization") == f"Bearer {self.state.key}":
            return True
        self.error(401, "no API key, or a wrong one")
        return False

    def do_GET(self):
        path = self.path.split("?")[0]
        file = WEB / ("index.html" if path == "/" else path.removeprefix("/web/"))
        if path == "/" or (path.startswith("/web/") and file.is_file()):
            return self.send(200, file.read_bytes(), TYPES[file.suffix], [("Content-Security-Policy", POLICY), ("Cache-Control", "no-cache")])
        if not self.allowed():
            return None
        if path == "/v1/models":
            return self.send(200, {"object": "list", "data": [{"id": "sluice-demo", "object": "model", "created": 0, "owned_by": "sluice"}]})
        if path == "/status.json":
            self.state.polls += 1
            return self.send(200, status(self.state.polls))
        return self.error(404, "no such path")

    def parse_request(self):
        if super().parse_request() and not self.state.gone:
            return True
        self.close_connection = True
        return False

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        self.state.requests.append(body)
        text = body["messages"][-1]["content"].split("\n\n")[-1]
        if self.state.busy > 0:
            self.state.busy -= 1
            self.error(429, "too many requests wait", [("Retry-After", "1")])
        elif "refuse" in text:
            self.error(400, "temperature: must be from 0 to 2")
        else:
            self.stream(text)

    def stream(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        count = 0
        try:
            time.sleep(self.state.delay * 10)
            self.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
            for delta in answer_to(text):
                time.sleep(self.state.delay)
                self.event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
                count += 1
                if "cut" in text and count == 5:
                    time.sleep(0.5)  # a browser throws away what the page has not yet read when a stream breaks
                    self.close_connection = True
                    return
            self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if "weather" in text else "stop"}]})
            self.event({"choices": [], "usage": {"prompt_tokens": 412, "completion_tokens": count, "total_tokens": 412 + count,
                                                 "prompt_tokens_details": {"cached_tokens": 384}}})
            self.chunk(b"data: [DONE]\n\n")
            self.chunk(b"")
        except OSError:
            self.close_connection = True
            self.state.broken.set()

    def event(self, value):
        self.chunk(b"data: " + json.dumps({"object": "chat.completion.chunk", "id": "chatcmpl-1", "model": "sluice-demo", **value}).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


class MockServer:
    """with MockServer() as server: server.url, server.state"""

    def __init__(self, port=0, delay=0.004):
        self.state = State(delay)
        handler = type("BoundHandler", (Handler,), {"state": self.state})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    with MockServer(int(sys.argv[1]) if len(sys.argv) > 1 else 8080, delay=0.02) as mock:
        print(mock.url)
        threading.Event().wait()
