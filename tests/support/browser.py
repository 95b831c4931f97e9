"""A real browser, Debian's Chromium without a window, driven by selenium."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

_SECONDS = 20


class Browser:
    """A page at a time, as wide and as dark as asked for; all that it says and asks is kept."""

    def __init__(self) -> None:
        options = ChromeOptions()
        options.binary_location = _program("chromium")
        options.add_argument("--headless=new")
        options.add_argument("--disable-dev-shm-usage")  # small in containers
        options.add_argument("--no-proxy-server")
        options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")  # no name leads anywhere
        if os.getuid() == 0:
            options.add_argument("--no-sandbox")  # which Chromium refuses to root
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # With both named, selenium looks for no download of its own.
        self.driver = Chrome(options, ChromeService(_program("chromedriver")))
        self.driver.set_page_load_timeout(_SECONDS)
        self.driver.set_script_timeout(_SECONDS)

    def open(self, page: Path, *, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Open a file, in a view of so many CSS pixels, as someone who likes light or dark."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get("about:blank")  # the same page again is a new page
        self.problems()
        self.requests()
        self.driver.get(page.resolve().as_uri())

    def problems(self) -> list[str]:
        """Return the warnings and errors of the console since they were last asked for."""
        entries = self._log("browser")
        return [e["message"] for e in entries if e["level"] in ("WARNING", "SEVERE")]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since they were last asked for."""
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

    def spills(self) -> bool:
        """Tell whether the page as a whole is wider than the view."""
        page = "document.documentElement"
        return bool(self.run(f"return {page}.scrollWidth > {page}.clientWidth"))

    def screenshot(self, file: Path) -> None:
        """Write what the view shows as a PNG."""
        file.write_bytes(self.driver.get_screenshot_as_png())

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()

    def _log(self, name: str) -> list[dict[str, Any]]:
        return self.driver.get_log(name)  # type: ignore[no-any-return, no-untyped-call] # as it is

    def _command(self, name: str, **arguments: object) -> None:
        self.driver.execute_cdp_cmd(name, arguments)


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"the tests need: apt-get install chromium chromium-driver; {name} is missing"
    return found
