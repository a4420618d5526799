"""A real browser for pages: headless Chromium, which must not complain and must not ask anything of any network."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt install chromium)")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


class Tab:
    """An open page, what it complained about and what it asked for."""

    def __init__(self, page):
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda r: self.requests.append(r.url) if not r.url.startswith(("file:", "data:")) else None)


@contextmanager
def opened(path, width=1280, height=800, fragment="", **context):
    """Open a file in a tab of its own; afterwards it must have been silent, and must have fetched nothing."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = Tab(browser.new_context(viewport={"width": width, "height": height}, **context).new_page())
        tab.page.goto(path.resolve().as_uri() + fragment)
        yield tab.page
        browser.close()
        assert not tab.complaints, tab.complaints
        assert not tab.requests, tab.requests
