"""The built site, a server for it and a browser; without one of them the checks are skipped, and say why."""

from __future__ import annotations

import functools
import http.server
import json
import pathlib
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

SITE = pathlib.Path(__file__).parent.parent / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Nothing but the pages may ask for anything: Chromium's own calls home are off.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
# What is no request over a network: a page's own data, and Chromium's first tab.
INNER = ("data:", "blob:", "about:", "chrome:", "chrome-untrusted:")
# The formulas of a page are there when this is done; a page without formulas loads no MathJax.
TYPESET = """
const done = arguments[0];
(window.MathJax?.startup?.promise ?? Promise.resolve()).then(() => done(true));
"""


@pytest.fixture(scope="session")
def site() -> pathlib.Path:
    """Return the folder of the built pages."""
    if not (SITE / "index.html").is_file():
        pytest.skip("no built site: `make docs` builds it")
    return SITE


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and prints nothing."""

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def address(site: pathlib.Path) -> Iterator[str]:
    """Return the address that the site is served at."""
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@dataclass
class Reader:
    """A browser at the site."""

    driver: Any
    address: str

    def opens(self, page: str, scheme: str = "light", width: int = 1280) -> None:
        """Open a page in a colour scheme and width, and wait until its formulas are typeset."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(self.address + page)
        self.driver.execute_async_script(TYPESET)

    def asks(self, script: str, *args: Any) -> Any:
        """Return what a script in the page returns."""
        return self.driver.execute_script(script, *args)

    def complaints(self) -> list[str]:
        """Return the console's messages since the last call, and the requests that left the server."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            url = event["params"].get("request", {}).get("url", "")
            if event["method"] == "Network.requestWillBeSent" and not url.startswith((self.address, *INNER)):
                said.append(f"request to {url}")
        return said


@pytest.fixture(scope="session")
def reader(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Return the browser."""
    selenium = pytest.importorskip("selenium.webdriver", reason="no selenium: it is in the extra `docs`")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no Chromium with its chromedriver on the PATH: the pages are not looked at in a browser")
    options = selenium.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = selenium.Chrome(options=options, service=selenium.ChromeService(executable_path=driver))
    chrome.set_script_timeout(60)
    yield Reader(chrome, address)
    chrome.quit()
