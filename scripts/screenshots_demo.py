"""demo.png and demo_lottery.png: the page of `tfinit demo`, from a real browser.

    .venv/bin/python scripts/screenshots_demo.py --out docs

Needs playwright and Debian's chromium (or another one, named by TFINIT_CHROMIUM).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM = os.environ.get("TFINIT_CHROMIUM") or shutil.which("chromium")
WIDTH, HEIGHT = 1280, 1700  # all in sight: what is scrolled away is not drawn
FOUR = "?seed=1"  # a link waits for its reader
# Down to where the tickets no longer win.
LOTTERY = "?seed=1&pane=he&tab=lottery&levels=12&prune_fraction=0.35&steps=1000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(), help="the directory that they go into")
    out = parser.parse_args().out
    server = subprocess.Popen(
        [Path(sys.executable).with_name("tfinit"), "demo", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = re.search(r"http://\S+", server.stdout.readline()).group()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(
                viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light"
            )
            train(page, address + FOUR)
            shoot(page, out / "demo.png", until="section[aria-labelledby=curves-title]")
            train(page, address + LOTTERY)
            page.click("#lottery-start")
            page.wait_for_selector("body[data-levels='13'][data-state=done]", timeout=300_000)
            # The sparsest ticket that is as good as the dense network, near enough.
            accuracies = page.eval_on_selector_all(
                "#levels-table tbody tr", "all => all.map(one => Number(one.dataset.testAccuracy))"
            )
            good = [n for n, one in enumerate(accuracies) if one >= accuracies[0] - 0.01]
            page.select_option("#level", str(max(good)))
            shoot(page, out / "demo_lottery.png", until="#levels-table")
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


def train(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("body[data-state=paused]", timeout=120_000)
    page.click("#start")
    page.wait_for_selector("body[data-state=done]", timeout=300_000)


def shoot(page: Page, path: Path, until: str) -> None:
    """From the top of the page to the lower end of something."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    box = page.locator(until).bounding_box()
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": box["y"] + box["height"] + 16}
    page.screenshot(path=path, clip=clip)
    # A third of the bytes, and nothing that can be seen.
    picture = Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
