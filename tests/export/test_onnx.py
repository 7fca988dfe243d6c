"""The ONNX file computes what the network does, at any batch and size."""

import json
import shutil

import numpy as np
import pytest
import torch

from condiff.checkpoint import Checkpoint
from condiff.export import onnx

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def test_equal_to_torch(trained_once, tmp_path):
    checkpoint = Checkpoint.read(trained_once)
    model = checkpoint.model()
    out = onnx.save(checkpoint, tmp_path / "given")
    session = ort.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    columns, sigmas = json.loads(about["columns"]), json.loads(about["sigmas"])
    assert columns[2] == "contrast AXT2" and json.loads(about["shape"]) == [1, 16, 16]
    assert len(sigmas) == 21 and sigmas[-1] == 0 and sigmas == sorted(sigmas, reverse=True)
    generator = torch.Generator().manual_seed(0)
    for batch, rows, cols in ((1, 16, 16), (3, 24, 40)):
        x = torch.randn(batch, 1, rows, cols, generator=generator)
        sigma, cond = torch.rand(batch, generator=generator) + 0.1, torch.eye(len(columns))[:batch]
        (x0,) = session.run(None, {"x": x.numpy(), "sigma": sigma.numpy(), "cond": cond.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(x0, model(x, sigma, cond).numpy(), atol=1e-4)
    assert b'File "/' not in (out / "model.onnx").read_bytes()  # no path of this machine
    assert (out / "model.safetensors").is_file() and (out / "README.md").is_file()
    shutil.rmtree(out)
