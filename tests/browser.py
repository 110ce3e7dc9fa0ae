"""A real headless Chromium with a page in it that may not use the network."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, Request, sync_playwright

_PATIENCE = 3000  # times 20 ms
NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def executable() -> str | None:
    """Return the browser of this machine: CHROMIUM names it, else the first on PATH; None if there is none."""
    return os.environ.get("CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: Browser, file: Path, scheme: str = "light", width: int = 1180) -> Iterator[Page]:
    """Open a file as a person would; a request of anything else, or an error of the page, fails at the end."""
    scheme_: object = scheme
    context = browser.new_context(color_scheme=scheme_, viewport={"width": width, "height": 900})  # type: ignore[arg-type]
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith(("data:", file.as_uri())):
            asked.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(file.as_uri())
    try:
        yield page
    finally:
        context.close()
    assert asked == []
    assert errors == []


def wait_until(page: Page, script: str) -> None:
    """Wait until a script gives true (Playwright's own way needs `eval`, which the page's policy forbids)."""
    for _ in range(_PATIENCE):
        if page.evaluate(script):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"never true: {script}")
