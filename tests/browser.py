"""Test helper: a headless Chromium, controlled through chromedriver with W3C WebDriver (JSON over HTTP)."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
DRIVER = shutil.which("chromedriver")
TAB, ENTER = "\ue004", "\ue007"

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the standard's key of an element reference
_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


class Browser:
    """A browser with one window."""

    def __init__(self, driver: httpx.Client):
        options = {"binary": CHROMIUM, "args": _ARGUMENTS}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self._driver, self._path = driver, "/session"
        self._path = f"/session/{self._post('', capabilities={'alwaysMatch': wanted})['sessionId']}"
        self._post("/timeouts", script=60_000)

    def open(self, url: str) -> None:
        self._post("/url", url=url)

    def resize(self, width: int, height: int) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def media(self, **features: str) -> None:
        """Set CSS media features, such as prefers_color_scheme="dark"."""
        found = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.devtools("Emulation.setEmulatedMedia", features=found)

    def script(self, code: str, *arguments: Any) -> Any:
        """Run the body of a JavaScript function with `arguments`; return its result."""
        return self._post("/execute/sync", script=code, args=arguments)

    def script_async(self, code: str, *arguments: Any) -> Any:
        """Run the body of a JavaScript function; return what it gives to its last argument, a function."""
        return self._post("/execute/async", script=code, args=arguments)

    def until(self, expression: str) -> Any:
        """Wait until a JavaScript expression is true; return its value. Fails after 60 s."""
        check = f"() => {{ const found = {expression}; found ? done(found) : setTimeout(check, 10) }}"
        code = f"const done = arguments[0], check = {check}; check()"
        return self._post("/execute/async", script=code, args=[])

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return self.script("return document.querySelector(arguments[0]).innerText", selector)

    def press(self, *keys: str) -> None:
        """Press and release keys one after the other, in the focused element."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def type(self, selector: str, text: str) -> None:
        """Type into an element, or set the path of a file input."""
        self._post(f"/element/{self._find(selector)[_ELEMENT]}/value", text=text)

    def click(self, selector: str) -> None:
        self._post(f"/element/{self._find(selector)[_ELEMENT]}/click")

    def draw(self, selector: str, points: list[tuple[int, int]], pointer: str = "mouse") -> None:
        """Draw a stroke with mouse, touch or pen; points are in pixels from the element's centre."""
        element = self._find(selector)
        moves = [{"type": "pointerMove", "duration": 5, "origin": element, "x": x, "y": y} for x, y in points]
        actions = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:], {"type": "pointerUp", "button": 0}]
        self._post(
            "/actions",
            actions=[{"type": "pointer", "id": pointer, "parameters": {"pointerType": pointer}, "actions": actions}],
        )

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Run a command of Chromium's DevTools protocol."""
        return self._post("/goog/cdp/execute", cmd=command, params=parameters)

    def console(self) -> list[str]:
        """Log messages and errors since the last call."""
        return [entry["message"] for entry in self._post("/se/log", type="browser")]

    def requests(self) -> list[str]:
        """The URLs requested since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._post("/se/log", type="performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def close(self) -> None:
        self._driver.delete(self._path)

    def _find(self, selector: str) -> dict[str, str]:
        return self._post("/element", using="css selector", value=selector)

    def _post(self, path: str, **body: Any) -> Any:
        response = self._driver.post(self._path + path, json=body)
        value = response.json()["value"]
        assert response.is_success, f"{value['error']}: {value['message']}"
        return value


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser in a new session, closed at the end."""
    with subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            started = next(line for line in process.stdout if "started successfully" in line)
            port = started.split()[-1].rstrip(".")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as driver:
                opened = Browser(driver)
                try:
                    yield opened
                finally:
                    opened.close()
        finally:
            process.terminate()
