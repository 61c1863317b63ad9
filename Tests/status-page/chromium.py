"""Controls a headless Chromium over the DevTools protocol, with just enough commands to test a page."""

import asyncio
import base64
import json
import re
import shutil
import tempfile

import websockets

# Contrast of every text with its background: WCAG 2.2, 1.4.3.
CONTRAST = """
(() => {
  const parse = (text) => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return { rgb: n.slice(0, 3), a: n[3] ?? 1 };
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = parse(getComputedStyle(element).backgroundColor);
      if (colour.a === 1) return colour.rgb;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.body.querySelectorAll("*")) {
    const says = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!says || element.closest(".unseen, .skip") || !element.checkVisibility()) continue;
    const a = luminance(parse(getComputedStyle(element).color).rgb), b = luminance(behind(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)];
})()
"""


class Chromium:
    """One browser with one page. Use as `async with Chromium() as page`."""

    async def __aenter__(self):
        self._profile = tempfile.mkdtemp(prefix="needletail-chromium.")
        self._process = await asyncio.create_subprocess_exec(
            shutil.which("chromium") or "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            f"--user-data-dir={self._profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        address = None
        while address is None:
            line = (await asyncio.wait_for(self._process.stderr.readline(), 30)).decode(errors="replace")
            if not line:
                raise RuntimeError("chromium ended before it listened")
            found = re.search(r"ws://\S+", line)
            address = found.group(0) if found else None
        # The browser would stop writing, and then stop, if its pipe were full.
        self._drain = asyncio.create_task(self._process.stderr.read())
        self._socket = await websockets.connect(address, max_size=None)
        self._next = 0
        self._waiting = {}
        self.complaints = []
        self._reader = asyncio.create_task(self._read())
        target = await self._call("Target.createTarget", {"url": "about:blank"}, session=None)
        attached = await self._call(
            "Target.attachToTarget", {"targetId": target["targetId"], "flatten": True}, session=None
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(self, *_):
        self._reader.cancel()
        await self._socket.close()
        self._process.terminate()
        await self._process.wait()
        self._drain.cancel()
        shutil.rmtree(self._profile, ignore_errors=True)

    async def _read(self):
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message:
                self._waiting.pop(message["id"]).set_result(message)
                continue
            method, values = message["method"], message.get("params", {})
            if method == "Page.javascriptDialogOpening":
                self.complaints.append(f"a dialog opened: {values['message']}")
                asyncio.create_task(self.call("Page.handleJavaScriptDialog", {"accept": True}))
            elif method == "Runtime.exceptionThrown":
                self.complaints.append(values["exceptionDetails"].get("text", "exception"))
            elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
                self.complaints.append(values["entry"]["text"])

    async def _call(self, method, values, session):
        self._next += 1
        message = {"id": self._next, "method": method, "params": values}
        if session:
            message["sessionId"] = session
        answer = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = answer
        await self._socket.send(json.dumps(message))
        result = await asyncio.wait_for(answer, 30)
        if "error" in result:
            raise RuntimeError(f"{method}: {result['error']['message']}")
        return result["result"]

    async def call(self, method, values=None):
        return await self._call(method, values or {}, self._session)

    async def open(self, url):
        await self.call("Page.navigate", {"url": url})
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def evaluate(self, expression):
        """Returns the value of a JavaScript expression, promises awaited, even with the page's scripts disabled."""
        answer = await self.call(
            "Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True}
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, expression, seconds=15):
        """Waits until an expression is true; returns False if it is not in time."""
        for _ in range(int(seconds * 10)):
            if await self.evaluate(expression):
                return True
            await asyncio.sleep(0.1)
        return False

    async def window(self, width, height, dark=False):
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        await self.call(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]},
        )

    async def press(self, key):
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": {"Tab": 9, "Enter": 13}[key]},
            )

    async def screenshot(self, path):
        # The whole page, not only the visible part.
        size = await self.evaluate("[innerWidth, Math.ceil(document.documentElement.getBoundingClientRect().height)]")
        picture = await self.call(
            "Page.captureScreenshot",
            {
                "format": "png",
                "captureBeyondViewport": True,
                "clip": {"x": 0, "y": 0, "width": size[0], "height": min(max(size[1], 1), 4000), "scale": 1},
            },
        )
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture["data"]))
