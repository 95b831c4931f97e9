"""A real browser: Debian's Chromium, headless, driven by selenium."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

_SECONDS = 20


class Browser:
    """Shows one page at a time; keeps its console messages and its requests."""

    def __init__(self) -> None:
        options = ChromeOptions()
        options.binary_location = _program("chromium")
        options.add_argument("--headless=new")
        options.add_argument("--disable-dev-shm-usage")  # small in containers
        options.add_argument("--no-proxy-server")
        options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")  # no host name resolves
        if os.getuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium refuses its sandbox to root
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # With both paths given, selenium does not look for a download.
        self.driver = Chrome(options, ChromeService(_program("chromedriver")))
        self.driver.set_page_load_timeout(_SECONDS)
        self.driver.set_script_timeout(_SECONDS)

    def open(self, page: Path, *, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Open a file in a viewport of this size in CSS pixels, in a light or dark scheme."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get("about:blank")  # so that the same page is loaded again
        self.problems()
        self.requests()
        self.driver.get(page.resolve().as_uri())

    def problems(self) -> list[str]:
        """Return the warnings and errors of the console since the last call."""
        entries = self._log("browser")
        return [e["message"] for e in entries if e["level"] in ("WARNING", "SEVERE")]

    def requests(self) -> list[str]:
        """Return the URLs that were requested since the last call."""
        messages = (json.loads(e["message"])["message"] for e in self._log("performance"))
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - any of JSON
        """Return what a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str) -> None:
        """Wait until an expression in the page is true."""
        wait = WebDriverWait(self.driver, _SECONDS)
        wait.until(lambda driver: driver.execute_script(f"return {script}"), script)

    def overflows(self) -> bool:
        """Return whether the page is wider than the viewport."""
        page = "document.documentElement"
        return bool(self.run(f"return {page}.scrollWidth > {page}.clientWidth"))

    def screenshot(self, file: Path) -> None:
        """Write the viewport as a PNG."""
        file.write_bytes(self.driver.get_screenshot_as_png())

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()

    def _log(self, name: str) -> list[dict[str, Any]]:
        return self.driver.get_log(name)  # type: ignore[no-any-return, no-untyped-call] # of selenium

    def _command(self, name: str, **arguments: object) -> None:
        self.driver.execute_cdp_cmd(name, arguments)


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"the tests need: apt-get install chromium chromium-driver; {name} is missing"
    return found
