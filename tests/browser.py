"""A real browser for pages: `from browser import page`. Anything on the console, and any request, fails the test."""

import shutil
from collections.abc import Iterator

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser found ({', '.join(BROWSERS)}); on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium) -> Iterator:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    shown, complaints = context.new_page(), []
    shown.on("console", lambda message: complaints.append(f"console: {message.text}"))
    shown.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    shown.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    shown.on("request", lambda request: request.url.startswith("file:") or complaints.append(request.url))
    yield shown
    context.close()
    assert complaints == []
