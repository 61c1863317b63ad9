"""Checks the reports of four runs in a browser: check.py WORK-DIRECTORY SCREENSHOT-DIRECTORY."""

import asyncio
import base64
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "status-page"))

from chromium import CONTRAST, Chromium

work, pictures = map(pathlib.Path, sys.argv[1:3])
failures = []

SECTIONS = {
    "breast_cancer": ["classes", "curves", "threshold", "importance", "subgroups", "worst", "speed", "settings"],
    "digits": ["learning", "classes", "curves", "robustness", "speed"],
    "diabetes": ["residuals", "dependence", "importance", "robustness"],
    "hostile": ["learning", "classes", "threshold", "dependence", "subgroups", "robustness"],
}
EVIL = "<img src=x onerror=alert(1)>"

# Elements that stick out of the window although nothing around them scrolls.
WIDE = """
[...document.body.querySelectorAll("*")].filter((e) => {
  if (e.closest(".scroll") && !e.classList.contains("scroll")) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map((e) => `${e.tagName}.${e.className.baseVal ?? e.className}`)
"""

# Texts of pictures that leave their picture, or lie over one another.
OVERLAPS = """
[...document.querySelectorAll("svg")].flatMap((svg) => {
  const outer = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()]);
  const out = texts.filter(([, b]) =>
    b.left < outer.left - 1 || b.right > outer.right + 1 || b.bottom > outer.bottom + 1);
  const over = texts.filter(([, a], i) => texts.some(([, b], j) =>
    j > i && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3));
  return [...out, ...over].map(([text]) => `${svg.getAttribute("aria-label")}: ${text}`);
})
"""


def expect(holds, what):
    print(f"{'ok    ' if holds else 'FAILED'}  {what}")
    if not holds:
        failures.append(what)


async def check(page, name):
    before = len(page.complaints)
    await page.open(f"file://{work / name / 'report.html'}")
    for section in SECTIONS[name]:
        expect(
            await page.evaluate(f"!!document.querySelector('section#{section} > *:nth-child(2)')"), f"{name}: {section}"
        )
    expect(
        await page.evaluate("document.querySelectorAll('script, link, img, iframe, object').length") == 0,
        f"{name}: no script, no link to another file",
    )
    loaded = await page.evaluate("performance.getEntriesByType('resource').map((e) => e.name)")
    expect(not loaded, f"{name}: asks for no other file {loaded or ''}")
    unnamed = await page.evaluate(
        "[...document.querySelectorAll('svg')].filter((s) => !s.getAttribute('aria-label')).length"
    )
    count = await page.evaluate("document.querySelectorAll('svg').length")
    expect(count > 2 and unnamed == 0, f"{name}: {count} pictures, each with a sentence for a screen reader")
    broken = await page.evaluate(
        "[...document.querySelectorAll('nav a')].filter((a) => !document.querySelector(a.getAttribute('href'))).length"
    )
    expect(broken == 0, f"{name}: every link of the contents leads somewhere")
    # The run file lists such words as missing values.
    figures = "[...document.querySelectorAll('section:not(#settings)')].map((s) => s.innerText).join(' ')"
    odd = await page.evaluate(f"/\\b(nan|NaN|inf|undefined|null)\\b/.exec({figures})?.[0]")
    expect(odd is None, f"{name}: no figure is {odd or 'NaN'}")
    for how, width, height, dark in (
        ("light", 1280, 900, False),
        ("dark", 1280, 900, True),
        ("phone", 390, 844, False),
        ("phone-dark", 390, 844, True),
    ):
        await page.window(width, height, dark)
        reach = await page.evaluate("document.documentElement.scrollWidth")
        wide = await page.evaluate(WIDE)
        expect(reach <= width and not wide, f"{name}, {how}: {reach} of {width} pixels wide {wide[:3] or ''}")
        poor = await page.evaluate(CONTRAST)
        expect(not poor, f"{name}, {how}: contrast of all text is 4.5 or more {poor[:3] or ''}")
        over = await page.evaluate(OVERLAPS)
        expect(not over, f"{name}, {how}: words in pictures are apart {over[:3] or ''}")
        await page.screenshot(pictures / f"{name}-{how}.png")
    await page.call("Emulation.setEmulatedMedia", {"media": "print"})
    paper = await page.call("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True})
    (pictures / f"{name}.pdf").write_bytes(base64.b64decode(paper["data"]))
    await page.call("Emulation.setEmulatedMedia", {"media": ""})
    expect(len(page.complaints) == before, f"{name}: no error, no dialog {page.complaints[before:] or ''}")


async def main():
    async with Chromium() as page:
        for name in SECTIONS:
            await page.window(1280, 900)
            await check(page, name)
        shown = await page.evaluate("document.body.innerText")
        expect(EVIL in shown and "</script>" in shown, "hostile: names stand there as text")
    card = (work / "hostile" / "model-card.md").read_text()
    expect("<img" not in card.replace("\\<img", ""), "hostile: the model card escapes names")
    print(f"{len(failures)} failed")
    sys.exit(1 if failures else 0)


asyncio.run(main())
