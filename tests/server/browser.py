"""Drives a headless Chromium through its debugging pipe; nothing but the standard library."""

import base64
import fcntl
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time


def chromium():
    """The program, or None."""
    return os.environ.get("SLUICE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page at a time. Everything but loopback is unknown to its resolver."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="sluice_browser_")
        low_in, self.write_end = os.pipe()
        self.read_end, low_out = os.pipe()
        # Out of the way of 3 and 4, where the browser looks for them.
        to_child, from_child = fcntl.fcntl(low_in, fcntl.F_DUPFD, 10), fcntl.fcntl(low_out, fcntl.F_DUPFD, 10)
        flags = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
                 "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--lang=en", f"--user-data-dir={self.profile}", "about:blank"]
        script = f'exec "$@" 3<&{to_child} 4>&{from_child} {to_child}<&- {from_child}>&-'
        self.process = subprocess.Popen(["bash", "-c", script, "browser", chromium(), *flags], pass_fds=(to_child, from_child),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in (low_in, low_out, to_child, from_child):
            os.close(fd)
        self.last_id, self.answers, self.events, self.session = 0, {}, queue.Queue(), None
        self.arrived = threading.Condition()
        self.closed = False
        self.urls, self.errors = [], []
        threading.Thread(target=self.read, daemon=True).start()
        self.context = None

    def new_page(self):
        """A fresh page with storage of its own; the one before is gone."""
        self.session, old = None, self.context
        self.context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=self.context)["targetId"]
        if old:
            self.call("Target.disposeBrowserContext", browserContextId=old)
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.urls.clear()
        self.errors.clear()

    def read(self):
        rest = b""
        while data := os.read(self.read_end, 1 << 16):
            *messages, rest = (rest + data).split(b"\0")
            for m in messages:
                self.take(json.loads(m))
        with self.arrived:
            self.closed = True
            self.arrived.notify_all()

    def take(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.urls.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
        with self.arrived:
            if "id" in message:
                self.answers[message["id"]] = message
            else:
                self.events.put(method)
            self.arrived.notify_all()

    def call(self, method, timeout=30, **params):
        self.last_id += 1
        request = {"id": self.last_id, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.write_end, json.dumps(request).encode() + b"\0")
        with self.arrived:
            if not self.arrived.wait_for(lambda: self.closed or request["id"] in self.answers, timeout):
                raise TimeoutError(method)
            if self.closed:
                raise RuntimeError("the browser has ended")
            answer = self.answers.pop(request["id"])
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def js(self, expression):
        """The value of an expression; a promise is waited for."""
        r = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in r:
            raise RuntimeError(r["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        return r["result"].get("value")

    def until(self, expression, timeout=15):
        """Waits until an expression is true, and gives its value."""
        end = time.monotonic() + timeout
        while (value := self.js(expression)) in (None, False, 0, ""):  # an element comes as {}
            if time.monotonic() > end:
                raise TimeoutError(expression)
            time.sleep(0.03)
        return value

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    def size(self, width, height):
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)

    def scheme(self, name):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name},
                                                                 {"name": "prefers-reduced-motion", "value": "reduce"}])

    def key(self, key, modifiers=0):
        code = {"Enter": 13, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, modifiers=modifiers,
                      **(text if kind == "keyDown" else {}))

    def type(self, text):
        self.call("Input.insertText", text=text)

    def pass_time(self, seconds):
        """Lets the page's clock run so far, as fast as it can; from then on it stands still between calls of this."""
        while not self.events.empty():
            self.events.get()
        self.call("Emulation.setVirtualTimePolicy", policy="pauseIfNetworkFetchesPending", budget=seconds * 1000)
        end = time.monotonic() + 60
        while self.events.get(timeout=max(0.1, end - time.monotonic())) != "Emulation.virtualTimeBudgetExpired":
            pass

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))

    def close(self):
        try:
            self.session = None
            self.call("Browser.close", timeout=5)
            self.process.wait(5)
        except (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.write_end)
        shutil.rmtree(self.profile, ignore_errors=True)
