"""Starts `sluice serve` on a free port and talks to it with http.client."""

import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

PROGRAM = os.environ["SLUICE_PROGRAM"]
SOURCE = pathlib.Path(os.environ["SLUICE_SOURCE"])
QUICK = bool(os.environ.get("SLUICE_QUICK"))  # sanitizer builds are ten times slower
PATIENCE = 60 if QUICK else 20


class Reply:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.text = response.read().decode()

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def error(self):
        return self.json["error"]


class Stream:
    """Server-sent events as they come."""

    def __init__(self, connection, response):
        self.connection, self.response = connection, response
        self.done = False

    def __iter__(self):
        for line in self.response:
            if not line.startswith(b"data: "):
                assert line == b"\n" or line.startswith(b":"), line
                continue
            if line == b"data: [DONE]\n":
                self.done = True
                continue
            assert not self.done, "an event behind [DONE]"
            yield json.loads(line[6:])
        self.close()

    def close(self):
        self.response.close()  # it holds the socket too
        self.connection.close()


class Server:
    def __init__(self, *args, env=None, **popen):
        self.log = tempfile.TemporaryFile("w+")
        command = [PROGRAM, "serve", "--port", "0", *map(str, args)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, env={**os.environ, **(env or {})}, **popen)
        self.line = self.process.stdout.readline()
        found = re.fullmatch(r"serving (\S+) at http://(\S+):(\d+)\n", self.line)
        assert found, f"{self.line!r} {self.stderr()}"
        self.name, self.port = found[1], int(found[3])

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error:
            self.process.kill()  # what failed may have left a stream open
        if self.process.poll() is None:
            self.stop()
        self.process.stdout.close()
        self.log.close()

    def stderr(self):
        self.log.seek(0)
        return self.log.read()

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def stop(self):
        self.signal()
        return self.process.wait(PATIENCE)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request(method, path, data, headers or {})
        reply = Reply(connection.getresponse())
        connection.close()
        return reply

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def post(self, path, body, **headers):
        return self.request("POST", path, body, headers)

    def stream(self, path, body):
        connection = self.connect()
        connection.request("POST", path, json.dumps({**body, "stream": True}))
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.headers["Content-Type"] == "text/event-stream"
        return Stream(connection, response)

    def chat(self, text, **fields):
        return self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **fields})

    def chat_stream(self, text, **fields):
        return self.stream("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **fields})

    def complete(self, prompt, **fields):
        return self.post("/v1/completions", {"prompt": prompt, **fields})


def metrics(server, **headers):
    """What /metrics says, by series without the labels that all have."""
    reply = server.get("/metrics", **headers)
    assert reply.status == 200, reply.text
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4"), reply.headers["Content-Type"]
    values = {}
    for line in reply.text.splitlines():
        if not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            values[re.sub(r'model_name="[^"]*",engine="0",?', "", series).replace("{}", "")] = float(value)
    return values


def eventually(condition):
    """Waits until a condition holds, and gives its value."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value
