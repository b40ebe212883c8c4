"""The page in a headless Chromium: against a mock whose answers have everything in them, and against the program itself."""

import json
import os
import pathlib
import re
import sys
import time
import unittest

from browser import Browser, chromium
from mock_server import MARKDOWN, MockServer

PROGRAM = os.environ.get("SLUICE_PROGRAM", "")
SCREENSHOTS = pathlib.Path(os.environ.get("SLUICE_SCREENSHOTS", "/tmp/sluice_screenshots"))
SIZES = {1280: 860, 390: 844}
QUESTION = "Jon has 83 buttons. Jon finds 88 more. Jon sells 60. How many buttons are there in the end?"
ANSWER = "83 + 88 = 171. 171 - 60 = 111. The answer is 111."

IDLE = "!document.querySelector('[aria-busy]') && document.getElementById('stop').hidden"
LAST = "[...document.querySelectorAll('.answer')].at(-1)"


# Random documents, each rendered whole and as it would stream; gives those where the two differ.
PIECES = r"""(async () => {
  const { MarkdownView, renderMarkdown } = await import("/web/markdown.js");
  const parts = ["para", " ", "\n", "\n\n", "# head", "- item", "  - inner", "* star", "1. one", "2) two", "> quote", "```", "```py\n", "~~~", "x = 1", "---", "===",
    "| a | b |", "|---|--:|", "| 1 | 2 |", "**bold**", "*em*", "_u_", "~~del~~", "`code`", "``", "[t](http://a/b)", "](", "[", "http://x.y/z.", "    indented",
    "\\*", "中文", "**注意：**", "👍🏽", "<br>", "- [x] done", "\r\n", "\t"];
  let seed = 1;
  const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
  const bad = [];
  for (let i = 0; i < 400; ++i) {
    let text = "";
    for (let k = 4 + random(40); k > 0; --k) text += parts[random(parts.length)] + (random(3) ? "" : "\n");
    const view = new MarkdownView();
    for (let at = 0; at < text.length;) {
      const size = 1 + random(9);
      view.append(text.slice(at, at + size));
      at += size;
      if (random(2)) view.render();
    }
    view.finish();
    if (view.el.outerHTML !== renderMarkdown(text).outerHTML) bad.push(text);
  }
  return bad.slice(0, 3);
})()""".replace("\\\\", "\\")


class Page(unittest.TestCase):
    """Common to both servers."""

    @classmethod
    def setUpClass(cls):
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def start(self, url, size=1280, scheme="light", path=""):
        b = self.browser
        b.new_page()
        b.size(size, SIZES[size])
        b.scheme(scheme)
        b.open(url + path)
        self.url = url

    def send(self, text):
        self.browser.js("document.getElementById('input').focus()")
        self.browser.type(text)
        self.browser.key("Enter")

    def ask(self, text):
        """Sends and waits for the whole answer; gives its text."""
        count = self.browser.js("document.querySelectorAll('.answer').length")
        self.send(text)
        self.browser.until(f"document.querySelectorAll('.answer').length > {count} && {IDLE}", 60)
        return self.browser.js(f"{LAST}.querySelector('.body').innerText").strip()

    def count(self, selector):
        return self.browser.js(f"{LAST}.querySelectorAll({json.dumps(selector)}).length")

    def text(self, selector):
        return self.browser.js(f"document.querySelector({json.dumps(selector)})?.innerText")

    def shot(self, name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.browser.screenshot(path)
        self.assertGreater(path.stat().st_size, 5000)

    def fits(self):
        """Nothing is wider than the page."""
        wide = self.browser.js("document.documentElement.scrollWidth - innerWidth")
        self.assertLessEqual(wide, 0)

    def asks_nobody_else(self, errors=()):
        outside = [u for u in self.browser.urls if not u.startswith((self.url, "about:"))]
        self.assertEqual(outside, [])
        self.assertEqual([e for e in self.browser.errors if not any(x in e for x in errors)], [])


class AgainstMock(Page):
    def setUp(self):
        self.mock = MockServer(delay=0.001)
        self.mock.__enter__()
        self.addCleanup(self.mock.__exit__)

    def shots(self, name, size):
        for scheme in ("light", "dark"):
            self.browser.scheme(scheme)
            self.shot(f"{name}_{size}_{scheme}")
        self.fits()

    def test_looks(self):
        for size in SIZES:
            with self.subTest(size=size):
                self.start(self.mock.url, size)
                self.browser.until("document.getElementById('model').innerText === 'sluice-demo'")
                self.shots("empty", size)
                self.ask("Please think, then merge two sorted lists")
                self.browser.js("document.getElementById('scroll').scrollTop = 0")
                self.shots("chat", size)
                self.ask("用中文解释")
                self.ask("weather?")
                self.shots("chat_end", size)
                self.browser.js("document.getElementById('open-settings').click()")
                self.shots("settings", size)
                self.browser.js("document.getElementById('settings').close()")
                if size < 600:
                    self.browser.js("document.getElementById('open-side').click()")
                    self.browser.until("document.getElementById('side').getBoundingClientRect().left === 0")
                    self.shots("side", size)
                    self.browser.key("Escape")
                    self.browser.until("document.getElementById('side').getBoundingClientRect().right <= 0")
                self.asks_nobody_else()

    def test_status(self):
        self.start(self.mock.url, path="#/status")
        self.browser.until("document.querySelectorAll('.plots svg .grid text').length > 20")
        self.browser.pass_time(120)
        self.assertGreaterEqual(self.mock.state.polls, 100)
        self.assertGreaterEqual(self.browser.js("document.querySelectorAll('.plots .line').length"), 11)
        # A line has a point for each second, or it plots something else than what was polled.
        points = self.browser.js("document.querySelector('.plots .line').getAttribute('d').split('L').length")
        self.assertGreater(points, 90)
        tiles = self.browser.js("document.querySelector('.tiles').innerText")
        self.assertRegex(tiles, r"Generated\s+\d+\s*tok/s")
        self.assertRegex(tiles, r"Cache hits\s+\d+\s*%")
        for scheme in ("light", "dark"):
            for size in SIZES:
                self.browser.scheme(scheme)
                self.browser.size(size, 1040 if size > 600 else 844)
                self.browser.pass_time(2)
                self.fits()
                self.shot(f"status_{size}_{scheme}")
        self.asks_nobody_else()

    def test_markdown(self):
        self.start(self.mock.url)
        self.ask("merge")
        self.assertEqual(self.browser.js(f"{LAST}.querySelector('pre code').textContent"), re.search(r"```python\n(.*?)\n```", MARKDOWN, re.S)[1])
        for selector, least in {"strong": 1, "em": 1, "figure .c-keyword": 8, ".c-comment": 1, ".c-string": 1, ".c-function": 2, "table": 1,
                                "tbody tr": 3, "td.right": 6, "td.center": 3, "ol > li": 2, "ol ul > li": 2, "blockquote": 1, "h4": 1,
                                'a[rel~="noopener"][target="_blank"]': 1, "figure button": 1}.items():
            self.assertGreaterEqual(self.count(selector), least, selector)
        self.assertRegex(self.text(".figures"), r"(?s)\d tokens/s.*\d+ tokens.*prompt 412.*384 cached")
        # The same text at once, as after a reload, gives the same elements as piece by piece.
        html = self.browser.js(f"{LAST}.querySelector('.md').outerHTML.replace(' streaming', '')")
        self.browser.js("window.stale = true; location.reload()")  # the page that goes is not taken for the one that comes
        self.browser.until(f"!window.stale && document.readyState === 'complete' && {LAST}?.querySelector('table')")
        self.assertEqual(self.browser.js(f"{LAST}.querySelector('.md').outerHTML"), html)

    def test_markdown_in_pieces_equals_whole(self):
        self.start(self.mock.url)
        different = self.browser.js(PIECES)
        self.assertEqual(different, [])

    def test_markdown_takes_no_longer_than_its_text(self):
        self.start(self.mock.url)
        for text, times in {"*a": 30000, "**a ": 20000, "[": 60000, "[a](": 20000, "![](": 20000, "`": 60000, "` ``": 20000, ">": 60000, "- ": 30000,
                            "> - ": 15000, "|": 60000, "|-": 30000, "a|b\n": 8000, "|-|\n": 8000, "<http://": 8000, "# ": 30000, "_": 60000,
                            "~~a": 20000, "\\": 60000, "1. a\n": 8000, "h": 60000, "https://a)": 8000, "http://((": 8000, "   - a\n": 5000,
                            "```": 20000, "(a": 30000, "a *b* **c** `d` ": 5000}.items():
            ms = self.browser.js("import('/web/markdown.js').then((m) => { const t = performance.now();"
                                 f"m.renderMarkdown({json.dumps(text)}.repeat({times})); return performance.now() - t; }})")
            self.assertLess(ms, 3000, text)

    def test_unsafe_text_stays_text(self):
        self.start(self.mock.url)
        shown = self.ask("unsafe")
        self.assertIn("<script>document.title", shown)
        self.assertIn("<img src=x", shown)
        for selector in ("img", "script", "[onerror]"):
            self.assertEqual(self.count(selector), 0, selector)
        links = self.browser.js(f"[...{LAST}.querySelectorAll('a')].map((a) => a.href)")
        self.assertEqual(links, ["http://203.0.113.9/a.png", "http://127.0.0.1/ok"])
        self.assertEqual(self.browser.js("document.title"), "Sluice")
        self.asks_nobody_else()

    def test_streams_and_stops(self):
        self.mock.state.delay = 0.01
        self.start(self.mock.url)
        for stop in (lambda: self.browser.key("Escape"), lambda: self.browser.js("document.getElementById('stop').click()")):
            self.mock.state.broken.clear()
            self.send("endless")
            length = self.browser.until(f"document.querySelector('[aria-busy] .md')?.textContent.length")
            self.browser.until(f"document.querySelector('[aria-busy] .md').textContent.length > {length + 30}")  # it grows
            stop()
            self.browser.until(IDLE)
            self.assertTrue(self.mock.state.broken.wait(10), "the server still streams")
            self.assertIn("stopped", self.browser.js(f"{LAST}.querySelector('.figures').innerText"))
            self.assertIn("and on and on", self.browser.js(f"{LAST}.innerText"))

    def test_reasoning_tools_and_what_is_sent(self):
        self.start(self.mock.url)
        self.ask("think and merge")
        self.assertEqual(self.browser.js(f"{LAST}.querySelector('details').open"), False)
        self.assertIn("Two pointers", self.browser.js(f"{LAST}.querySelector('details .md').textContent"))
        self.assertIn('"city": "Zürich"', self.ask("weather"))
        first, second = self.mock.state.requests
        self.assertEqual((first["model"], first["stream"], first["stream_options"]), ("sluice-demo", True, {"include_usage": True}))
        self.assertEqual([m["role"] for m in second["messages"]], ["user", "assistant", "user"])
        self.assertEqual(second["messages"][1]["content"], MARKDOWN)
        self.assertNotIn("temperature", second)
        # Settings: a system prompt and a temperature; a value out of range is not taken.
        for name, value in (("system", "Be short."), ("temperature", "0.5"), ("top_p", "7")):
            self.browser.js(f"document.getElementById('open-settings').click(); (() => {{ const f = document.querySelector('[name={name}]');"
                            f"f.value = {json.dumps(value)}; f.dispatchEvent(new Event('input')); document.getElementById('settings').close(); }})()")
        self.browser.js(f"{LAST}.querySelector('[data-action=regenerate]').click()")
        self.browser.until(IDLE)
        third = self.mock.state.requests[2]
        self.assertEqual((third["messages"][0], third["temperature"]), ({"role": "system", "content": "Be short."}, 0.5))
        self.assertNotIn("top_p", third)
        self.assertEqual(third["messages"][1:], second["messages"])  # asked again, not anew
        self.asks_nobody_else()

    def test_edit_chats_and_storage(self):
        self.start(self.mock.url)
        self.ask("first line")
        self.browser.js("document.querySelector('[data-action=edit]').click()")
        self.browser.js("document.querySelector('.edit textarea').value = 'merge instead'")
        self.browser.js("document.querySelector('.edit').requestSubmit()")
        self.browser.until(f"{IDLE} && document.querySelector('.answer table')")
        self.assertEqual(self.browser.js("[...document.querySelectorAll('.message')].length"), 2)
        self.assertEqual(self.mock.state.requests[1]["messages"], [{"role": "user", "content": "merge instead"}])
        self.browser.js("document.getElementById('new-chat').click()")
        self.browser.until("document.querySelector('.welcome')")
        self.ask("second")
        self.assertEqual(self.browser.js("[...document.querySelectorAll('.chats a')].map((a) => a.innerText)"), ["second", "merge instead"])
        self.browser.js("document.querySelectorAll('.chats a')[1].click()")
        self.browser.until("document.querySelector('.answer table')")
        self.browser.js("document.querySelector('.chats .current button').click()")
        self.browser.until("document.querySelectorAll('.chats a').length === 1")
        self.browser.js("document.querySelector('#toast button').click()")  # undo
        self.browser.until("document.querySelectorAll('.chats a').length === 2")
        # Shift+Enter is a line break.
        self.browser.js("document.getElementById('input').focus()")
        self.browser.type("one")
        self.browser.key("Enter", modifiers=8)
        self.browser.type("two")
        self.assertEqual(self.browser.js("document.getElementById('input').value"), "one\ntwo")

    def test_errors_say_what_to_do(self):
        self.start(self.mock.url)
        self.assertIn("temperature: must be from 0 to 2", self.ask("refuse"))
        self.mock.state.busy = 1
        self.assertIn("busy", self.ask("hello"))
        self.browser.until("![...document.querySelectorAll('.problem .solid')].at(-1).disabled")  # after Retry-After
        self.browser.js("[...document.querySelectorAll('.problem .solid')].at(-1).click()")
        self.browser.until(f"{IDLE} && {LAST}.innerText.includes('111')")
        self.assertIn("broke off", self.ask("cut merge"))
        self.assertIn("Two sorted", self.browser.js(f"{LAST}.innerText"))  # what came is kept
        self.mock.state.key = "the key"
        self.assertIn("asks for an API key", self.ask("hello again"))
        self.shot("error_1280_light")
        self.browser.js("document.querySelector('.key-form input').value = 'the key'; document.querySelector('.key-form').requestSubmit()")
        self.browser.until(f"{IDLE} && {LAST}.innerText.includes('111')")
        self.assertEqual(self.browser.js("Object.values({...localStorage}).some((v) => v.includes('the key'))"), False)
        self.mock.state.gone = True
        self.assertIn("cannot be reached", self.ask("anyone there?"))
        self.asks_nobody_else(("400", "401", "429", "ERR_", "Failed to load"))

    def test_long_answers_render_fast(self):
        self.mock.state.delay = 0
        self.start(self.mock.url)
        # Blocks that are done are not rendered again: no frame takes more than the last few away.
        self.browser.js("window.redone = 0; new MutationObserver((all) => { redone = Math.max(redone, all.filter((m) => m.target.matches('.md'))"
                        ".reduce((n, m) => n + m.removedNodes.length, 0)); }).observe(document.body, { childList: true, subtree: true })")
        self.ask("a long one")
        self.assertEqual(self.count("table"), 60)
        self.assertEqual(self.browser.js(f"{LAST}.querySelector('.md').children.length"), 60 * 6)
        redone = self.browser.js("redone")
        self.assertGreater(redone, 0)  # the open block was
        self.assertLess(redone, 8)


class AgainstProgram(Page):
    @classmethod
    def setUpClass(cls):
        if not PROGRAM:
            raise unittest.SkipTest("SLUICE_PROGRAM does not say where the program is")
        from server import Server

        cls.server = cls.enterClassContext(Server())
        cls.address = f"http://127.0.0.1:{cls.server.port}/"
        super().setUpClass()

    def test_chat_and_status(self):
        self.start(self.address)
        self.browser.until("document.getElementById('model').innerText")
        self.assertEqual(self.ask(QUESTION), ANSWER)
        self.assertRegex(self.browser.js(f"{LAST}.querySelector('.figures').innerText"), r"(?s)tokens/s.*\d+ tokens.*prompt \d+")
        for size in reversed(SIZES):
            self.browser.size(size, SIZES[size])
            self.fits()
            self.shot(f"program_chat_{size}_light")
        self.browser.js("location.hash = '#/status'")
        self.browser.until("document.querySelector('.totals dd')?.innerText === '1'")  # one request has finished
        time.sleep(2.5)
        self.shot("program_status_1280_light")
        self.asks_nobody_else()


if __name__ == "__main__":
    if not chromium():
        print("skipped: no chromium here (Debian's package: chromium)")
        sys.exit(77)
    unittest.main()
