"""The page in headless Chromium, served by `python app.py`: pytest -m browser tests/app.

CONDIFF_SCREENSHOTS=DIR writes a picture of every tab there; CONDIFF_APP_RUNS=DIR takes the runs of that folder, not a tiny model.
"""

import os
import shutil
import signal
import time
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
pytest.importorskip("selenium")
from tests.app.browser import SIZE_LIMIT_MB, Page, likeness, serving
from tests.chromium import CHROMIUM, DRIVER

LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver"),
]


@pytest.fixture(scope="module")
def served(request, tmp_path_factory):
    """The server and its page, of a tiny model or of CONDIFF_APP_RUNS."""
    folder = tmp_path_factory.mktemp("served")
    own = os.environ.get("CONDIFF_APP_RUNS")
    runs = Path(own) if own else request.getfixturevalue("runs_that_follow_te")
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
    page.after("generate-images", lambda: page.choose("generate-contrast", "AXT2"))
    page.wait(lambda: page.one("#generate-te input[type=range]").get_attribute("min") != low)
    assert not page.all(".toast-body.error")
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
    assert "dB" in page.one("#reconstruct-note").text
    page.screenshot("reconstruct")
    page.click("reconstruct-save")
    with h5py.File(page.download("reconstruct-files", ".h5")) as file:
        assert {"reconstruction", "samples", "standard_deviation"} <= file.keys()


def test_an_uploaded_scan_is_reconstructed(page, scan):
    page.tab("Reconstruct")
    page.one("#reconstruct-source label:nth-of-type(2)").click()
    page.click("reconstruct-run")
    assert "no file is chosen" in page.error()
    page.upload("reconstruct-file", scan)
    page.wait(lambda: scan.name in page.one("#reconstruct-file").text.replace("\n", ""))
    page.after("reconstruct-images", lambda: page.click("reconstruct-run"))
    assert "AXT2, slice 1 (from 0) of 2" in page.one("#reconstruct-note").text
    page.screenshot("reconstruct_file")


def test_an_uploaded_nifti_is_translated(page, volume):
    page.tab("Translate")
    page.upload("translate-file", volume)
    page.wait(lambda: "slices" in page.one("#translate-note").text)
    page.click("translate-run")
    assert "source" in page.error()  # its contrast is unknown
    page.choose("translate-source", "AXT1")
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
    elif page.all("#evaluate-summary"):  # of a model that comes with condiff
        assert "copies of training images" in page.one("#evaluate-summary").text and page.all("#evaluate-table td")
        page.screenshot("evaluate")
    else:
        assert "evaluate.py ckpt=" in page.one("#evaluate-missing").text
        page.screenshot("evaluate")


def test_no_request_leaves_this_machine_and_nothing_stays(served):
    """The last test of the module: it ends the program."""
    page, process, temporary, contacted = served
    assert page.requests() <= {"127.0.0.1"}
    refused = [line for line in page.driver.get_log("browser") if "Content Security Policy" in line["message"]]
    assert not refused
    assert set(contacted.read_text().split()) <= {*LOCAL}
    assert [path.name for path in temporary.iterdir() if path.name.startswith("condiff-app-")]
    written = {path.name for path in temporary.parent.iterdir()}
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert not [*temporary.iterdir()]
    assert written <= {"site", "tmp", "runs", "browser", "downloads", "contacted.txt"}
    page.driver.get("about:blank")
