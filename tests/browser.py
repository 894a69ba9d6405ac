"""A page in a headless Chromium, and what is wrong with it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str:
    """Give the path of a browser; skip where there is none."""
    named = os.environ.get("ACTLAB_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if named is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one in ACTLAB_BROWSER")
    return named


def _fetched(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:", "blob:")) else [url]


@contextmanager
def opened(
    path: Path, width: int, height: int = 900, **context: Any
) -> Iterator[tuple[Page, list]]:
    """Open a file; give the page, and a list of its errors and of what it asks a network for."""
    said: list[str] = []
    browser_path = find()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path)
        try:
            page = browser.new_page(viewport={"width": width, "height": height}, **context)
            page.on("console", lambda each: said.append(f"{each.type}: {each.text}"))
            page.on("pageerror", lambda each: said.append(str(each)))
            page.on("request", lambda each: said.extend(_fetched(each.url)))
            page.goto(path.as_uri())
            yield page, said
        finally:
            browser.close()
