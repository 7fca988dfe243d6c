"""The page that draws in a browser: in headless Chromium, the numbers are those of condiff."""

import functools
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from shutil import which

import numpy as np
import pytest
import torch

from condiff.checkpoint import Checkpoint
from condiff.diffusion.guidance import classifier_free
from condiff.diffusion.samplers import dpmpp_2m
from condiff.export import web
from tests.conftest import TINY_RUN


def test_what_the_page_reads(trained_once):
    about = web.description(Checkpoint.read(trained_once))
    assert about["contrasts"] == ["AXT1", "AXT1POST", "AXT2", "AXFLAIR"] and about["parameters"] == {}
    assert about["guidance"]["scale"] == 1.5 and len(about["levels"]) == 100 and json.dumps(about, allow_nan=False)


@pytest.fixture
def browser(tmp_path):
    pytest.importorskip("selenium")
    from tests import chromium

    if not (chromium.CHROMIUM and chromium.DRIVER):
        pytest.skip("no Chromium")
    driver = chromium.start(tmp_path)
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture
def serve():
    servers = []

    def start(folder):
        handler = functools.partial(SimpleHTTPRequestHandler, directory=folder)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/index.html"

    yield start
    for server in servers:
        server.shutdown()


@pytest.mark.browser
@pytest.mark.skipif(which("npm") is None, reason="no npm")
@pytest.mark.parametrize("words", [[], ["model=acquisition", "data=phantom_protocols"]], ids=["contrast", "acquisition"])
def test_the_browser_draws_our_images(run_entry, tmp_path, browser, serve, words):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    run_entry("train.py", *words, *TINY_RUN)
    run_entry("export.py", "out=page", "format=web")
    browser.get(serve(tmp_path / "page"))
    WebDriverWait(browser, 120).until(lambda page: page.find_element(By.ID, "status").text.startswith("Drawn in"))
    checkpoint = Checkpoint.read("runs/now")
    model, spec = checkpoint.model(), checkpoint.spec()
    noise = torch.randn(spec.shape, generator=torch.Generator().manual_seed(0))
    known = {"slice": 0.4, "te": 100.0, "tr": 5000.0} if words else {}
    script = """
        const [noise, known, done] = arguments, { sample, condition, levels } = window.condiff;
        const cond = condition("AXT2", known);
        sample(Float32Array.from(noise), cond, 7, 2.0).then((x) => done([[...x], [...cond], levels(7)]));
    """
    drawn, cond, sigmas = browser.execute_async_script(script, noise.flatten().tolist(), known)
    expected = spec.conditioning.encode("AXT2", known, extrapolate=True)
    np.testing.assert_allclose(cond, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(sigmas[:-1], model.schedule.steps(7)[:-1].numpy(), rtol=0.01)
    denoise = classifier_free(model, scale=2.0, interval=checkpoint.config["guidance"]["interval"])
    grid = torch.tensor(sigmas, dtype=torch.float64)
    *_, x = dpmpp_2m(denoise, noise[None] * sigmas[0], grid, expected[None])
    np.testing.assert_allclose(np.reshape(drawn, x.shape), x.numpy(), atol=2e-3)
    sliders = {each.get_attribute("name") for each in browser.find_elements(By.TAG_NAME, "input")}
    assert {"guidance", "steps", "seed"} <= sliders and ({"slice"} <= sliders) == bool(words)
    assert browser.get_log("browser") == []
