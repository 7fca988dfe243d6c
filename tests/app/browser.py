"""Drives the page of `python app.py` in headless Chromium: the server in a process of its own, and a browser's view of it."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests import chromium
from tests.conftest import ROOT

PATIENCE = 120  # seconds
SIZE_LIMIT_MB = 1
WATCH = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        host = arguments[1][0] if event == "socket.connect" and isinstance(arguments[1], tuple) else arguments[0]
        if isinstance(host, (str, bytes)):
            with open(os.environ["CONTACTED"], "a") as file:
                print(host if isinstance(host, str) else host.decode(), file=file)
sys.addaudithook(watch)
"""  # of every process of the server: which hosts it contacts


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def serving(folder, *words):
    """Runs `python app.py` in a folder. Gives its port, the process, its temporary folder, and the file of contacted hosts."""
    (folder / "site").mkdir()
    (folder / "site/sitecustomize.py").write_text(WATCH)
    (folder / "tmp").mkdir()
    port, contacted = free_port(), folder / "contacted.txt"
    paths = os.pathsep.join([str(folder / "site"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths, "TMPDIR": str(folder / "tmp"), "CONTACTED": str(contacted)}
    call = [sys.executable, ROOT / "app.py", f"port={port}", "accelerator=cpu", f"size_limit_mb={SIZE_LIMIT_MB}", *words]
    process = subprocess.Popen(call, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in process.stdout:
            if line.startswith("page "):
                break
        else:
            raise AssertionError("the page did not open")
        yield port, process, folder / "tmp", contacted
    finally:
        process.kill()
        process.wait()


class Page:
    """The page in a browser."""

    def __init__(self, port, folder):
        self.downloads, self.shots = folder / "downloads", os.environ.get("CONDIFF_SCREENSHOTS")
        self.driver = chromium.start(folder)
        self.driver.get(f"http://127.0.0.1:{port}/")

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def wait(self, condition):
        """The first true value of a condition."""
        return WebDriverWait(self.driver, PATIENCE, poll_frequency=0.1).until(lambda _: condition())

    def one(self, css):
        return self.wait(lambda: next((element for element in self.all(css) if element.is_displayed()), None))

    def tab(self, name):
        self.wait(lambda: next((tab for tab in self.all("button[role=tab]") if tab.text == name), None)).click()

    def click(self, identifier):
        element = self.one(f"#{identifier}")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def sources(self, identifier):
        """The pictures in an element, as the text of their URLs."""
        return [image.get_attribute("src") for image in self.all(f"#{identifier} img")]

    def after(self, identifier, action):
        """The pictures of an element once an action has changed them."""
        before = self.sources(identifier)
        action()
        self.wait(lambda: self.sources(identifier) not in ([], before))
        return [pixels(source) for source in self.sources(identifier)]

    def settled(self, identifier, seconds=3.0):
        """The pictures of an element once they have not changed for some seconds."""
        sources, since = self.sources(identifier), time.monotonic()
        while time.monotonic() - since < seconds or not sources:
            time.sleep(0.1)
            if (now := self.sources(identifier)) != sources:
                sources, since = now, time.monotonic()
        return [pixels(source) for source in sources]

    def drag(self, identifier, share):
        """Moves a slider by a share of its length, and lets go."""
        handle = self.one(f"#{identifier} input[type=range]")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", handle)
        width, value = handle.size["width"], float(handle.get_attribute("value"))
        low, high = (float(handle.get_attribute(name)) for name in ("min", "max"))
        begin = round((value - low) / (high - low) * (width - 16) - (width - 16) / 2)
        chain = ActionChains(self.driver, duration=60).move_to_element_with_offset(handle, begin, 0).click_and_hold()
        for _ in range(6):
            chain = chain.move_by_offset(round(share * width / 6), 0)
        chain.release().perform()

    def choose(self, identifier, name):
        """Chooses an entry of a list."""
        self.one(f"#{identifier} input").click()
        entries = f"#{identifier} li, ul[role=listbox] li"
        self.wait(lambda: next((entry for entry in self.all(entries) if name in entry.text), None)).click()

    def upload(self, identifier, path):
        for clear in self.all(f"#{identifier} button[aria-label='Clear']"):
            clear.click()
        self.wait(lambda: self.all(f"#{identifier} input[type=file]"))[0].send_keys(str(path))

    def error(self, name=""):
        """The text of the error line, which is then closed."""
        toast = self.one(".toast-body.error")
        text = toast.text
        print(text.replace("\n", " | "))
        if name:
            self.screenshot(name)
        for close in self.all(".toast-close"):
            close.click()
        self.wait(lambda: not self.all(".toast-body.error"))
        return text

    def download(self, identifier, suffix):
        """A file of a list of downloads, in the folder of the browser."""
        link = self.wait(lambda: next(iter(self.all(f"#{identifier} a[download$='{suffix}']")), None))
        target = self.downloads / link.get_attribute("download")
        self.driver.execute_script("arguments[0].click()", link)
        self.wait(lambda: target.is_file() and target.stat().st_size)
        return target

    def screenshot(self, name):
        if self.shots:
            Path(self.shots).mkdir(parents=True, exist_ok=True)
            height = self.driver.execute_script("return document.documentElement.scrollHeight")
            self.driver.set_window_size(1300, max(height + 140, 700))
            time.sleep(0.5)
            self.driver.save_screenshot(f"{self.shots}/{name}.png")
            self.driver.set_window_size(1300, 1000)

    def requests(self):
        """The hosts of all requests of the page so far."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        return {urlsplit(url).hostname for url in urls if url.startswith(("http", "ws"))}


def pixels(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))), dtype=float)


def likeness(a, b):
    """The correlation of two pictures."""
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]
