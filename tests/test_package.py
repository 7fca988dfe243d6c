"""What `pip install` brings: conf/ inside the package, a script for every command, nothing else; and that it works anywhere."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import condiff
from tests.conftest import ROOT, TINY_RUN

SOURCES = ("condiff", "conf", "setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
YAMLS = {str(path.relative_to(ROOT)) for path in (ROOT / "conf").rglob("*.yaml")}
ELSEWHERE = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # no checkout near
COMMANDS = {path.stem for path in (ROOT / "conf").glob("*.yaml")}


def copy_sources(folder):
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an archive of the sources, built from a copy of the repository."""
    source = tmp_path_factory.mktemp("source")
    copy_sources(source)
    build = "from setuptools import build_meta as b; print(b.build_wheel('dist')); print(b.build_sdist('dist'))"
    subprocess.run([sys.executable, "-c", build], check=True, cwd=source, capture_output=True)
    return source / "dist"


def test_wheel(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        about = f"condiff-{condiff.__version__}.dist-info"
        scripts = ConfigParser()
        scripts.read_string(wheel.read(f"{about}/entry_points.txt").decode())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "condiff").rglob("*.py")}
    shipped = {name for name in names if not name.startswith(about)}
    data = {
        str(path.relative_to(ROOT)) for folder in ("export/page", "weights") for path in (ROOT / "condiff" / folder).rglob("*.*")
    }
    assert shipped == modules | {f"condiff/{name}" for name in YAMLS} | {"condiff/data/phantom/mni152.npz"} | data
    assert {f"{about}/licenses/LICENSE", f"{about}/licenses/NOTICE"} < names
    assert dict(scripts["console_scripts"]) == {f"condiff-{name}": f"condiff.commands.scripts:{name}" for name in COMMANDS}


def test_archive_of_the_sources(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    data = {"condiff/data/phantom/mni152.npz", "condiff/weights/phantom/model.safetensors", "condiff/export/page/page.js"}
    assert names > YAMLS | {"setup.py", "NOTICE"} | data


def test_editable_install_beside_a_folder_of_its_name(tmp_path):
    """In the folder that holds the clone the package is imported, not the clone as a package without __init__.py."""
    clone = tmp_path / "condiff"
    clone.mkdir()
    copy_sources(clone)
    build = "from setuptools import build_meta as b; b.build_editable('dist')"
    subprocess.run([sys.executable, "-c", build], check=True, cwd=clone, capture_output=True)
    with zipfile.ZipFile(next(clone.glob("dist/*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    libraries = [path for path in sys.path if "site-packages" in path]  # without the .pth files there: one may name this clone
    code = (
        f"import site, sys; site.addsitedir('site'); sys.path += {libraries}; import condiff.configuration; "
        "print(condiff.__file__, condiff.configuration.CONF)"
    )
    isolated = [sys.executable, "-S", "-c", code]
    found = subprocess.run(isolated, capture_output=True, text=True, cwd=tmp_path, env=ELSEWHERE).stdout
    assert found.split() == [str(clone / "condiff/__init__.py"), str(clone / "conf")]


def test_import_loads_no_torch():
    code = "import sys, condiff; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "False\n"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The scripts of a fresh environment with the wheel; other libraries are those of this environment."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    install = [sys.executable, "-m", "pip", f"--python={folder}", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*install, str(next(built.glob("*.whl")))], check=True, env=ELSEWHERE)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([scripts / "python", "-c", where], check=True, capture_output=True, text=True, env=ELSEWHERE).stdout
    Path(packages.strip(), "others.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    return scripts


@pytest.mark.slow
def test_installed_commands_work_in_an_empty_folder(installed, cache, tmp_path):
    def run(command, *arguments):
        call = [installed / command, *arguments]
        done = subprocess.run(call, cwd=tmp_path, env=ELSEWHERE | {"CONDIFF_CACHE": str(cache)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    package = run("python", "-c", "import condiff; print(condiff.__file__)")
    assert Path(package).is_relative_to(installed.parent)
    for name in COMMANDS:
        assert f"  condiff-{name}" in run(f"condiff-{name}", "--help")
    tiny = ["experiment=smoke", *TINY_RUN[:-1]]
    run("condiff-train", *tiny)
    run("condiff-sample", "num_samples=1", "steps=2", "out=drawn", "accelerator=cpu")
    assert (tmp_path / "drawn/samples.png").is_file()
    run("condiff-train", *tiny, "trainer.devices=2", "hydra.run.dir=runs/two")
    assert (tmp_path / "runs/two/checkpoints/last.ckpt").is_file()
    run("condiff-train", "-m", "seed=0,1", *tiny, "hydra.sweep.dir=runs/sweep")
    assert len([*(tmp_path / "runs/sweep").glob("*/checkpoints/last.ckpt")]) == 2
