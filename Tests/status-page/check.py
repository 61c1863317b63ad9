"""Checks the status page: check.py ADMIN-ADDRESS WORK-DIRECTORY SCREENSHOT-DIRECTORY SERVER-PID."""

import asyncio
import json
import os
import pathlib
import shutil
import signal
import sys
import urllib.error
import urllib.request

from chromium import CONTRAST, Chromium

admin, work, pictures, server_pid = sys.argv[1], *map(pathlib.Path, sys.argv[2:4]), int(sys.argv[4])
failures = []

HOSTILE = ["<img src=x onerror=alert(1)>.ntb", '"><script>alert(2)']


def expect(holds, what):
    print(f"{'ok    ' if holds else 'FAILED'}  {what}")
    if not holds:
        failures.append(what)


def get(path):
    try:
        with urllib.request.urlopen(f"http://{admin}{path}", timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def check_http():
    status, headers, _ = get("/")
    policy = headers["Content-Security-Policy"] or ""
    expect(status == 200 and "default-src 'none'" in policy and "unsafe" not in policy, "the page has a strict policy")
    expect(headers["X-Content-Type-Options"] == "nosniff", "types are not guessed")
    status, _, body = get("/status.json")
    document = json.loads(body)
    models = {model["model"]: model for model in document["models"]}
    expect(status == 200 and set(models) == {"wine", "diabetes"}, "/status.json names both models")
    rejected = [v for v in models["wine"]["versions"] if v["state"] == "rejected"]
    expect(len(rejected) == 1 and rejected[0]["reason"], "/status.json tells why a version was rejected")
    expect({problem["path"] for problem in document["problems"]} >= set(HOSTILE), "/status.json names stray files")
    status, _, body = get("/events?after=1&limit=2")
    expect(status == 200 and [e["sequence"] for e in json.loads(body)["events"]] == [2, 3], "/events pages")
    status, _, body = get("/events?after=x")
    expect(status == 400 and "after: expected a whole number" in body, "/events refuses what is no number, in words")


async def check_contents(page, how):
    text = await page.evaluate("document.body.innerText")
    for word in ("wine", "diabetes", "serves version 1", "rejected", "ready", "release"):
        expect(word in text, f'{how}: says "{word}"')
    shown = await page.evaluate("[...document.querySelectorAll('.foreign')].map((e) => e.textContent)")
    expect(all(name in shown for name in HOSTILE), f"{how}: hostile names stand there as text")
    expect(
        await page.evaluate("document.querySelectorAll('img, script:not([src])').length") == 0,
        f"{how}: no element came out of a name",
    )
    expect(await page.evaluate("document.querySelectorAll('#events li').length") > 3, f"{how}: lists events")


async def check_accessibility(page):
    tree = (await page.call("Accessibility.getFullAXTree"))["nodes"]

    def named(role):
        return [n for n in tree if n.get("role", {}).get("value") == role and not n.get("ignored")]

    pictures_ = named("image") + named("img") + named("graphics-document")
    expect(pictures_ and all(n["name"].get("value") for n in pictures_), "curves have names for a screen reader")
    expect(len(named("table")) == 2 and all(n["name"].get("value") for n in named("table")), "tables have captions")
    levels = await page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]))")
    expect(levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:])), "headings skip no level")
    await page.evaluate("document.activeElement.blur()")
    await page.press("Tab")
    expect(await page.evaluate("document.activeElement.className") == "skip", "the first Tab reaches the skip link")
    await page.press("Enter")
    expect(await page.until("document.activeElement.id === 'models'", 3), "the skip link leads to the models")


async def check_liveness(page):
    expect(await page.until("!!document.querySelector('#model-wine .spark .line')", 10), "a curve is drawn")
    rate = "parseFloat([...document.querySelectorAll('#model-wine figcaption b')][0]?.textContent)"
    expect(await page.until(f"{rate} > 50", 15), "requests a second are shown without a reload")
    p99 = await page.evaluate("[...document.querySelectorAll('#model-wine figcaption b')][1].textContent")
    expect(any(unit in p99 for unit in ("µs", "ms")), f"p99 is shown: {p99}")
    # Focus and nodes survive a refresh.
    await page.evaluate(
        "window.kept = document.querySelector('#model-wine'); document.querySelector('#foot a').focus()"
    )
    shutil.copy(work / "store/wine/1.ntb", work / "store/diabetes/7.ntb")
    expect(
        await page.until("!!document.getElementById('version-diabetes-7-reason')", 15),
        "a version that is dropped and rejected appears without a reload",
    )
    expect(
        await page.evaluate("kept.isConnected && document.activeElement === document.querySelector('#foot a')"),
        "a refresh keeps elements and focus",
    )
    await page.evaluate("document.querySelector('#foot button').click()")
    os.remove(work / "store/diabetes/7.ntb")
    await asyncio.sleep(5)
    expect(await page.evaluate("!!document.getElementById('version-diabetes-7-reason')"), "Pause stops the refresh")
    await page.evaluate("document.querySelector('#foot button').click()")
    expect(await page.until("!document.getElementById('version-diabetes-7-reason')"), "Resume goes on")


async def check_windows(page):
    for name, width, height, dark in (
        ("wide", 1280, 900, False),
        ("narrow", 360, 780, False),
        ("dark", 1280, 900, True),
        ("narrow-dark", 360, 780, True),
    ):
        await page.window(width, height, dark)
        await asyncio.sleep(0.3)
        reach = await page.evaluate("document.documentElement.scrollWidth")
        expect(reach <= width, f"{name}: {reach} of {width} pixels wide")
        poor = await page.evaluate(CONTRAST)
        expect(not poor, f"{name}: contrast of all text is 4.5 or more{': ' + '; '.join(poor) if poor else ''}")
        await page.screenshot(pictures / f"{name}.png")


async def main():
    check_http()
    async with Chromium() as page:
        await page.window(1280, 900)
        await page.call("Emulation.setScriptExecutionDisabled", {"value": True})
        await page.open(f"http://{admin}/")
        await check_contents(page, "without scripts")
        await page.call("Emulation.setScriptExecutionDisabled", {"value": False})
        await page.open(f"http://{admin}/?again")
        await check_contents(page, "with scripts")
        await page.until("!!document.querySelector('#model-wine .spark .line')")
        await check_accessibility(page)
        await check_liveness(page)
        await check_windows(page)
        expect(not page.complaints, f"no error, no violation of the policy, no dialog {page.complaints or ''}")
        os.kill(server_pid, signal.SIGTERM)
        expect(
            await page.until("document.getElementById('connection').textContent.startsWith('No answer since')", 20),
            "says when the server is gone",
        )
        expect(
            await page.evaluate("document.body.classList.contains('stale')"), "and shows that what stands there is old"
        )
        await page.window(1280, 900)
        await page.screenshot(pictures / "gone.png")
    print(f"status page: {'FAILED: ' + '; '.join(failures) if failures else 'all holds'}")
    sys.exit(1 if failures else 0)


asyncio.run(main())
