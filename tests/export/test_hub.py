"""The upload, to a hub that records what it gets."""

import sys
from types import SimpleNamespace

import pytest

from tests.conftest import bad

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def uploads(monkeypatch):
    seen = []
    monkeypatch.setattr(hub.HfApi, "create_repo", lambda api, name, **how: seen.append((name, how)) or f"https://hub/{name}")
    monkeypatch.setattr(hub.HfApi, "repo_info", lambda api, name: SimpleNamespace(private="public" not in name))
    monkeypatch.setattr(
        hub.HfApi, "upload_folder", lambda api, folder_path, **how: seen.append(sorted(p.name for p in folder_path.iterdir()))
    )
    return seen


def test_the_folder_is_uploaded_to_a_private_repository(trained_once, run_entry, uploads, capsys):
    run_entry("export.py", f"ckpt={trained_once}", "out=heads", "push=me/heads")
    assert uploads == [("me/heads", {"private": True, "exist_ok": True}), ["README.md", "config.json", "model.safetensors"]]
    assert "uploaded    https://hub/me/heads (private)" in capsys.readouterr().out


def test_a_public_repository_gets_nothing(trained_once, run_entry, uploads, capsys):
    line = bad(capsys, run_entry, "export.py", f"ckpt={trained_once}", "out=heads", "push=me/public")
    assert "push=me/public: is a public repository" in line and len(uploads) == 1


def test_refusals_are_one_line_and_the_folder_stays(trained_once, run_entry, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["export.py", f"ckpt={trained_once}"]
    assert "push=a b/c: not uploaded (" in bad(capsys, run_entry, *words, "out=heads", "push='a b/c'")
    assert (tmp_path / "heads/model.safetensors").is_file()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    line = bad(capsys, run_entry, *words, "out=more", "push=me/heads")
    assert line.endswith('push=me/heads: needs the package huggingface_hub; pip install "condiff[hub]"')
