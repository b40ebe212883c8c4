"""A server of streamed completions with known delays and known faults, for the tests of `sluice bench serve`."""

import asyncio
import json
import threading


class MockServer:
    """In a thread of its own, within a with block. A fault is chosen by the request's field "fault"."""

    def __init__(self, ttft=0.0, itl=0.0, tokens=None, usage=True, fault=None):
        self.ttft, self.itl, self.tokens, self.usage, self.fault = ttft, itl, tokens, usage, fault
        self.requests, self.times, self.keys = [], [], []
        self.connections = self.now = self.peak = 0

    def __enter__(self):
        started = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._main(started)))
        self.thread.start()
        started.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join()

    async def _main(self, started):
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=4096, limit=1 << 24)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await self.stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connection(self, reader, writer):
        self.connections += 1
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort() if self.fault == "dies" else writer.close()

    async def _request(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        self.keys.append(headers.get("authorization"))
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if path == "/v1/models":
            writer.write(self._plain(200, {"object": "list", "data": [{"id": "mock"}]}))
            return True
        self.times.append(self.loop.time())
        q = json.loads(body)
        self.requests.append((path, q))
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            return await self._answer(path, q, writer)
        finally:
            self.now -= 1

    def _plain(self, status, value, header=""):
        data = json.dumps(value).encode()
        return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{header}Content-Length: {len(data)}\r\n\r\n".encode() + data

    async def _answer(self, path, q, writer):
        fault = self.fault
        if fault == "every other" and len(self.requests) % 2 == 0:
            header = "Retry-After: 1\r\n" if len(self.requests) % 4 == 0 else ""
            writer.write(self._plain(429, {"error": {"message": "too many", "type": "rate_limit_error"}}, header))
            return True
        if fault == "silent":
            await asyncio.sleep(60)
        if fault == "no stream":
            writer.write(self._plain(200, {"choices": [{"text": "all at once"}]}))
            return True
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        chat = path.endswith("/chat/completions")
        count = self.tokens or q["max_tokens"]
        if chat:
            await self._send(writer, self._event({"delta": {"role": "assistant", "content": ""}, "finish_reason": None}))
        await asyncio.sleep(self.ttft)
        for i in range(count):
            if i > 0:
                await asyncio.sleep(self.itl)
            choice = {"delta": {"content": f"t{i} "}} if chat else {"text": f"t{i} "}
            await self._send(writer, self._event({**choice, "finish_reason": "length" if i + 1 == count else None}))
            if fault == "dies" and i == 1:
                await writer.drain()
                return False
            if fault == "bad json":
                await self._send(writer, b"data: {oops\n\n")
            if fault == "bad chunk":
                writer.write(b"zz\r\n")
                return False
        if fault == "cut short":
            return False
        if self.usage:
            n = len(q["prompt"]) if "prompt" in q else sum(len(m["content"].split()) for m in q["messages"])
            usage = {"prompt_tokens": n, "completion_tokens": count, "prompt_tokens_details": {"cached_tokens": n // 2}}
            await self._send(writer, f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n".encode())
        await self._send(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def _event(self, choice):
        return f"data: {json.dumps({'choices': [{'index': 0, **choice}]})}\n\n".encode()

    async def _send(self, writer, data):
        chunk = f"{len(data):x}\r\n".encode() + data + b"\r\n"
        if self.fault != "split":
            writer.write(chunk)
            return
        # Every chunk of one byte, every byte of the framing in a packet of its own.
        for c in data:
            for piece in (b"1", b"\r", b"\n", bytes([c]), b"\r", b"\n"):
                writer.write(piece)
                await asyncio.sleep(0)
