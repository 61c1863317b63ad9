"""Photographs pages of a web server: photograph.py LIST-OF-ADDRESSES DIRECTORY."""

import asyncio
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "status-page"))

from chromium import Chromium


async def main():
    async with Chromium() as page:
        await page.window(1400, 1000)
        for number, address in enumerate(pathlib.Path(sys.argv[1]).read_text().split()):
            await page.open(address)
            # Pages of MLflow draw themselves when their data have come.
            await page.until("document.body.innerText.length > 400 && !document.querySelector('[aria-busy=true]')", 20)
            await asyncio.sleep(2)
            await page.screenshot(pathlib.Path(sys.argv[2]) / f"mlflow-{number}.png")


asyncio.run(main())
