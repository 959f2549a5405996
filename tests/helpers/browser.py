"""A headless Chromium for tests, with what its pages asked for and complained about.

    with chromium() as browser, watched(browser, viewport={"width": 390, "height": 844}) as (page, log):
        page.goto(address)
        assert not log.errors and not log.remote

`page` is a playwright `Page`. The browser is the system's own (Debian: `apt install chromium`); none is downloaded.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOCAL = {None, "localhost", "127.0.0.1"}


@dataclass
class Log:
    """What the pages of a browser context did since `clear`."""

    errors: list[str] = field(default_factory=list)
    """Errors on the console, exceptions that no script caught, and files that were not found."""
    requests: list[str] = field(default_factory=list)
    """Addresses asked for (`data:` addresses are not listed)."""

    @property
    def remote(self) -> list[str]:
        """Addresses asked for on other hosts."""
        return [address for address in self.requests if urlsplit(address).hostname not in LOCAL]

    def clear(self) -> None:
        self.errors.clear()
        self.requests.clear()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; the test is skipped where the system has none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt install chromium)")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program) as browser:
        yield browser


@contextmanager
def watched(browser: Browser, **options) -> Iterator[tuple[Page, Log]]:
    """A page in a fresh context (no cookies, no storage) and its log.

    `options`: of playwright's `Browser.new_context`, such as `viewport` and `color_scheme`.
    """
    log = Log()
    with browser.new_context(**options) as context:
        context.set_default_timeout(90_000)  # milliseconds; a busy machine takes its time
        context.on("request", lambda request: log.requests.append(request.url))
        context.on("weberror", lambda error: log.errors.append(f"{error.page.url}: {error.error}"))
        context.on(
            "console", lambda message: message.type == "error" and log.errors.append(_sentence(message))
        )
        yield context.new_page(), log


def _sentence(message) -> str:
    return f"{message.location['url']}: {message.text}"
