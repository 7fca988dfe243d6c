"""The page in headless Chromium, served by `python app.py`: pytest -m browser tests/app.

CONDIFF_SCREENSHOTS=DIR writes a picture of every tab there; CONDIFF_APP_RUNS=DIR takes the runs of that folder, not a tiny model.
"""

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

pytest.importorskip("gradio")
webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver"),
]
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1300,1000",
)  # fmt: skip
LOCAL = ("127.0.0.1", "localhost", "::1")
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
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={folder / 'browser'}"):
            options.add_argument(flag)
        self.downloads, self.shots = folder / "downloads", os.environ.get("CONDIFF_SCREENSHOTS")
        self.downloads.mkdir()
        options.add_experimental_option("prefs", {"download.default_directory": str(self.downloads)})
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options, Service(DRIVER))
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


@pytest.fixture(scope="module")
def served(request, tmp_path_factory):
    """The server and its page, of a tiny model or of CONDIFF_APP_RUNS."""
    folder = tmp_path_factory.mktemp("served")
    own = os.environ.get("CONDIFF_APP_RUNS")
    runs = Path(own) if own else request.getfixturevalue("acquisition_run").parent.parent
    shutil.copytree(runs, folder / "runs")
    with serving(folder) as (port, process, temporary, contacted):
        page = Page(port, folder)
        yield page, process, temporary, contacted
        page.driver.quit()


@pytest.fixture
def page(served):
    return served[0]


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A NIfTI volume: an ellipsoid of 150 by 190 mm in a field of view of 220 mm."""
    axes = np.meshgrid(*(np.linspace(-110, 110, 64),) * 2, np.linspace(-20, 20, 5), indexing="ij")
    inside = (axes[0] / 75) ** 2 + (axes[1] / 95) ** 2 + (axes[2] / 60) ** 2 < 1
    affine = np.diag([220 / 64, 220 / 64, 10, 1])
    affine[:3, 3] = -110, -110, -20
    path = tmp_path_factory.mktemp("volume") / "head.nii.gz"
    nib.save(nib.Nifti1Image((inside * (1 + 0.3 * np.cos(axes[0] / 9))).astype(np.float32), affine), path)
    return path


def test_te_changes_the_contrast_of_one_head(page):
    """The image with few steps while the slider moves, and the one with all steps after it, show the head of before."""
    [before] = page.settled("generate-images")
    begin = time.monotonic()
    page.after("generate-images", lambda: page.drag("generate-te", -0.4))
    answered = time.monotonic() - begin
    [after] = page.settled("generate-images")
    page.screenshot("generate")
    seed = page.one("#generate-seed input")
    seed.clear()
    [other] = page.after("generate-images", lambda: (seed.send_keys("7"), page.click("generate-run")))
    assert np.abs(after - before).mean() > 0.5
    assert likeness(before, after) > max(0.6, likeness(before, other) + 0.1)
    print(f"first image after the slider began to move: {answered:.2f} s")


def test_watch_it_denoise(page):
    page.click("generate-watch")
    page.wait(lambda: page.sources("generate-images")[0].startswith("data:image/gif"))
    page.screenshot("denoise")
    with Image.open(page.download("generate-files", ".gif")) as frames:
        assert frames.n_frames > 5


def test_sliders_follow_the_contrast(page):
    low = page.one("#generate-te input[type=range]").get_attribute("min")
    page.after("generate-images", lambda: choose(page, "generate-contrast", "AXT2"))
    page.wait(lambda: page.one("#generate-te input[type=range]").get_attribute("min") != low)
    begin = time.monotonic()
    page.after("generate-images", lambda: page.drag("generate-te", 0.3))
    print(f"first image after the slider began to move: {time.monotonic() - begin:.2f} s")
    page.settled("generate-images")
    assert "AXT2" in page.one("#generate-images figcaption").text
    page.screenshot("generate_t2")


def test_generated_nifti_is_downloaded(page):
    page.click("generate-save")
    image = nib.load(page.download("generate-files", ".nii.gz"))
    assert image.shape[2] == 1 and image.get_fdata().max() > 0.1
    assert {Path(link.get_attribute("download")).suffix for link in page.all("#generate-files a[download]")} == {
        ".png",
        ".gz",
        ".h5",
    }


def test_a_phantom_slice_is_reconstructed(page):
    page.tab("Reconstruct")
    page.after("reconstruct-images", lambda: page.click("reconstruct-run"))
    titles = [caption.text for caption in page.all("#reconstruct-images figcaption")]
    assert titles[:3] == ["zero-filled", "mean of the samples", "full scan"] and len(titles) == 6
    assert "dB" in page.one("#reconstruct-numbers").text
    page.screenshot("reconstruct")
    page.click("reconstruct-save")
    with h5py.File(page.download("reconstruct-files", ".h5")) as file:
        assert {"reconstruction", "samples", "standard_deviation"} <= file.keys()


def test_an_uploaded_nifti_is_translated(page, volume):
    page.tab("Translate")
    page.upload("translate-file", volume)
    page.wait(lambda: "slices" in page.one("#translate-note").text)
    page.click("translate-run")
    assert "source" in page.error()  # its contrast is unknown
    choose(page, "translate-source", "AXT1")
    pictures = page.after("translate-images", lambda: page.click("translate-run"))
    assert len(pictures) == 3
    page.screenshot("translate")
    page.click("translate-save")
    assert nib.load(page.download("translate-files", ".nii.gz")).get_fdata().max() > 0


def test_bad_uploads_give_one_line(page, tmp_path):
    page.tab("Translate")
    (tmp_path / "broken.nii.gz").write_bytes(b"no NIfTI")
    page.upload("translate-file", tmp_path / "broken.nii.gz")
    text = page.error("error_broken")
    assert "broken.nii.gz" in text and "Traceback" not in text and str(tmp_path) not in text
    (tmp_path / "large.nii.gz").write_bytes(bytes(SIZE_LIMIT_MB * 1_000_000 + 500_000))
    page.upload("translate-file", tmp_path / "large.nii.gz")
    text = page.error("error_size")
    assert "size" in text.lower() and "Traceback" not in text


def test_an_evaluation_or_the_command_that_makes_one(page):
    """The tiny model has none; runs of CONDIFF_APP_RUNS may."""
    page.tab("Evaluate")
    if page.all("#evaluate-name"):
        page.wait(lambda: page.all("#evaluate-table td"))
        page.screenshot("evaluate")
        page.click("evaluate-open")
        page.wait(lambda: page.all("#evaluate-page img"))
        time.sleep(1)
        page.screenshot("evaluate_page")
    else:
        assert "evaluate.py ckpt=" in page.one("#evaluate-missing").text
        page.screenshot("evaluate")


def test_no_request_leaves_this_machine_and_nothing_stays(served):
    """The last test of the module: it ends the program."""
    page, process, temporary, contacted = served
    assert page.requests() <= {"127.0.0.1"}
    refused = [line for line in page.driver.get_log("browser") if "Content Security Policy" in line["message"]]
    assert not refused
    assert set(contacted.read_text().split()) <= {*LOCAL, "0.0.0.0"}
    assert [path.name for path in temporary.iterdir() if path.name.startswith("condiff-app-")]
    written = {path.name for path in temporary.parent.iterdir()}
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert not [*temporary.iterdir()]
    assert written <= {"site", "tmp", "runs", "browser", "downloads", "contacted.txt"}
    page.driver.get("about:blank")


def choose(page, identifier, name):
    """Chooses an entry of a list."""
    page.one(f"#{identifier} input").click()
    page.wait(
        lambda: next((entry for entry in page.all(f"#{identifier} li, ul[role=listbox] li") if name in entry.text), None)
    ).click()
