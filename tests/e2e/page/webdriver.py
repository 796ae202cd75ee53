"""A WebDriver client of the few calls that we need: chromedriver from Debian, nothing from PyPI."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"left": "\ue012", "up": "\ue013", "right": "\ue014", "down": "\ue015", "enter": "\ue007", "escape": "\ue00c", "home": "\ue011", "end": "\ue010",
        "tab": "\ue004"}


def missing():
    """Why there can be no browser here; None when there can."""
    for program, package in (("chromedriver", "chromium-driver"), ("chromium", "chromium")):
        if shutil.which(program) is None:
            return f"there is no {program} (Debian package {package})"
    return None


class Browser:
    """A headless Chromium with a profile of its own. Use as a context."""

    def __init__(self, width=1280, height=900, dark=False, scale=1):
        self._size, self._dark, self._scale = (width, height), dark, scale
        self._session = None

    def __enter__(self):
        self._folder = tempfile.mkdtemp(prefix="regfeatd-browser-")
        self._log = open(os.path.join(self._folder, "driver.log"), "w+", encoding="utf-8")
        # Port 0: the driver takes a free one and says which.
        self._driver = subprocess.Popen(["chromedriver", "--port=0", "--log-level=WARNING"], stdout=self._log, stderr=subprocess.STDOUT,
                                        env={**os.environ, "HOME": self._folder})
        try:
            self._url = f"http://127.0.0.1:{self._driver_port()}"
            arguments = ["--headless=new", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars", f"--force-device-scale-factor={self._scale}",
                         f"--user-data-dir={self._folder}/profile", "--window-size={},{}".format(*self._size)]
            if os.geteuid() == 0:
                arguments.append("--no-sandbox")  # Chromium's own sandbox does not start as root
            options = {"args": arguments, "binary": shutil.which("chromium")}
            answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}})
            self._session = answer["sessionId"]
            self.devtools("Emulation.setDeviceMetricsOverride", width=self._size[0], height=self._size[1], deviceScaleFactor=self._scale,
                          mobile=self._size[0] < 600)
            self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            if self._session:
                self._call("DELETE", f"/session/{self._session}")
        finally:
            self._driver.terminate()
            self._driver.wait()
            self._log.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _driver_port(self):
        for _ in range(300):
            with open(self._log.name, encoding="utf-8") as log:
                for line in log:
                    if "started successfully on port" in line:
                        return int(line.rstrip(".\n").rsplit(" ", 1)[1])
            if self._driver.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError("chromedriver does not start: " + open(self._log.name, encoding="utf-8").read())

    def _call(self, method, path, body=None):
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def _post(self, path, **body):
        return self._call("POST", f"/session/{self._session}{path}", body)

    def devtools(self, command, **parameters):
        return self._post("/goog/cdp/execute", cmd=command, params=parameters)

    def open(self, url):
        self._post("/url", url=url)

    def run(self, script, *arguments):
        """The value of a script's `return`."""
        return self._post("/execute/sync", script=script, args=list(arguments))

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? null", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", selector)

    def element(self, selector):
        return self._post("/element", using="css selector", value=selector)

    def click(self, selector):
        self._post(f"/element/{self.element(selector)[ELEMENT]}/click")

    def hover(self, x, y, press=False):
        """Moves the pointer to a point of the viewport, as a person's hand does."""
        moves = [{"type": "pointerMove", "duration": 30, "x": round(x), "y": round(y), "origin": "viewport"}]
        if press:
            moves += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._post("/actions", actions=[{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": moves}])

    def press(self, *names):
        keys = [{"type": kind, "value": KEYS[name]} for name in names for kind in ("keyDown", "keyUp")]
        self._post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": keys}])

    def wait(self, script, *arguments, seconds=30):
        """Until the script returns something true; returns that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script, *arguments)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"did not happen within {seconds} s: {script} {arguments}")

    def console(self):
        """What the page has complained about: errors, refused resources, violations of the security policy."""
        return [entry["message"] for entry in self._post("/se/log", type="browser") if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, file, whole=False):
        parameters = {"format": "png"}
        if whole:
            size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
            parameters.update(captureBeyondViewport=True, clip={"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1})
        with open(file, "wb") as out:
            out.write(base64.b64decode(self.devtools("Page.captureScreenshot", **parameters)["data"]))
