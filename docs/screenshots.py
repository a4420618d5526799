"""Takes the screenshots of the docs from a finished `make demo`: python docs/screenshots.py

Needs Chromium on the machine (Debian: apt install chromium) and the development packages (`make test` installs them).
"""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent
RUN = DOCS.parent / "runs" / "demo"
WIDTH = 1280
SHOTS = {
    # name -> (address, keys, height, dark)
    "response": ("#9/advantage", ["ArrowRight"] * 15, 800, False),
    "compare": ("#4/r", ["c"], 1000, False),
    "overview": ("", ["o"], 800, True),
}


def main() -> None:
    folder = DOCS / "images" / "inspect"
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (address, keys, height, dark) in SHOTS.items():
            page = browser.new_page(
                viewport={"width": WIDTH, "height": height}, color_scheme="dark" if dark else "light"
            )
            page.goto((RUN / "inspect.html").resolve().as_uri() + address)
            page.wait_for_selector(".tokens")
            for key in keys:
                page.keyboard.press(key)
            page.wait_for_timeout(300)  # scrolling and what is drawn after it
            page.screenshot(path=folder / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
