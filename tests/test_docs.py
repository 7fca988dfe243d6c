"""What people read: commands compose, pictures and links exist, every choice of conf/ is in a table, prose is short."""

import functools
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

from condiff.commands.cli import check_kinds
from condiff.commands.command_line import CONF, allow_checkpoint_fields, quote_for_hydra
from condiff.commands.options import OPTIONS, check
from condiff.data.fastmri.layout import FastMRI
from condiff.data.fastmri.reader import read_magnitude
from condiff.data.index import index

ROOT = CONF.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted(ROOT.glob("docs/*.md")),
]
COMMAND = re.compile(r"(?:python (\w+)\.py|condiff-(\w+))(?= |$)(.*?)(?=&&|$)", re.MULTILINE)
OF_CHECKPOINT = ("data", "sampler", "guidance", "clamp")  # groups whose fields a checkpoint decides
CHECKPOINT = next(ROOT.glob("tests/fixtures/*.ckpt"))
PARSER = OverridesParser.create()


def fenced(page):
    """The code blocks of a page."""
    return re.findall(r"^ *```[\w{}-]*\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)


def prose(page):
    """The lines of a page outside code blocks and tables, a paragraph each list."""
    text = re.sub(r"^ *(```|:::).*?^ *\1", "\n", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    paragraphs = (part.split("\n") for part in re.split(r"\n\s*\n", text))
    return [lines for part in paragraphs if (lines := [line for line in part if line and not line.startswith(("|", "#", "!["))])]


def commands():
    for page in PAGES:
        for block in [*fenced(page), *re.findall(r"(?<!`)`((?:python \w+\.py|condiff-\w+) [^`\n]+)`", page.read_text())]:
            for script, installed, rest in COMMAND.findall(block.replace("\\\n", " ")):
                yield pytest.param(script or installed, rest, id=f"{page.stem}: {script or installed} {rest.strip()}"[:100])


@functools.cache
def compose(script, *words):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(script, list(words), return_hydra_config=True)


def one_of_each(word):
    """A word, of a sweep its first choice; None where that is an interval."""
    parsed = PARSER.parse_override(word)
    if not parsed.is_sweep_override():
        return word
    choices = [str(choice) for choice in parsed.sweep_string_iterator()] if parsed.is_discrete_sweep() else []
    return f"{parsed.get_key_element()}={choices[0]}" if choices else None


@pytest.mark.parametrize(("script", "rest"), commands())
def test_command_composes(script, rest, monkeypatch):
    """And every value is of its option's kind and range. RUN, DIR, FILE stay; a sweep has the first of its choices."""
    words = [word for word in shlex.split(rest, comments=True) if word != "…"]
    sweep = "-m" in words
    words = [word for word in quote_for_hydra(words) if not word.startswith("-")]
    assert sweep or not any(PARSER.parse_override(word).is_sweep_override() for word in words), "a sweep needs -m"
    words = [one for word in words if not word.startswith("hydra") and (one := one_of_each(word))]
    if script in ("sample", "evaluate", "likelihood"):
        words = allow_checkpoint_fields(*OF_CHECKPOINT)(words)
    cfg = compose(script, *words)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg)
    check_kinds(compose(script, *(word for word in words if (CONF / word.split("=")[0]).is_dir())))
    check(cfg, OPTIONS[script])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http", "mailto")):
            continue
        name, _, heading = target.partition("#")
        path = page if not name else page.parent / name
        assert path.exists(), target
        assert not heading or heading in headings(path), target


def headings(page):
    """The anchors of a page: headings in lower case with dashes."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", sorted(path for path in CONF.rglob("*.yaml") if path.parent != CONF), ids=str)
def test_every_choice_is_in_a_table(path):
    """In the row of its group, `group=`, or in the table whose heading that is."""
    group = "[./]".join(path.parent.relative_to(CONF).parts)
    tables = [table for page in PAGES for table in re.findall(r"(?:^\|.*\n)+", page.read_text(), re.MULTILINE)]
    rows = [row for table in tables for row in table.splitlines() if re.search(f"`{group}=`", row)]
    rows += [table for table in tables if re.search(f"`{group}=`", table.splitlines()[0])]
    assert any(re.search(rf"(?<![\w-]){path.stem}(?![\w-])", row) for row in rows), f"{group}={path.stem} is in no table"


def test_example_of_the_parts_runs():
    """The Python of docs/concepts.md, on a small checkpoint, whose condition has 44 numbers."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/concepts.md").read_text(), re.DOTALL)
    smaller = {
        "RUN/checkpoints/last.ckpt": str(CHECKPOINT),
        "eye(4)": "eye(44)",
        "steps(20)": "steps(4)",
        "repeats=5": "repeats=1",
    }
    for whole, small in smaller.items():
        assert whole in block
        block = block.replace(whole, small)
    names = {}
    exec(block, names)
    assert all(names[name].isfinite().all() for name in ("images", "inpainted", "varied", "between"))


def test_example_of_own_images_is_read(tmp_path, monkeypatch):
    """The Python of docs/data.md writes volumes that the index takes, with their pixel size."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/data.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(block, {"__name__": "__main__"})
    volumes = index(tmp_path, tmp_path / "cache", FastMRI()).volumes
    assert [volume.patient for volume in volumes] == ["head0", "head1", "head2", "head3"]
    images, pixel_mm = read_magnitude(volumes[0].path)
    assert images.shape == (10, 128, 128) and pixel_mm == pytest.approx((1.8, 1.8))


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_short(page):
    """Lines of at most 100 characters; in the README paragraphs of at most five lines."""
    for lines in prose(page):
        assert all(len(line) <= 100 for line in lines if "](" not in line), lines
        if page.name == "README.md" and not lines[0].startswith("- "):
            assert len(lines) <= 5, lines


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, ("sphinx", "myst_nb", "furo"))), reason='pip install -e ".[docs]"')
def test_site_builds_without_a_warning(tmp_path):
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "get_started.html").is_file() and "mean error: zero-filled" in (tmp_path / "tour.html").read_text()


def test_every_page_is_on_the_site():
    index = (ROOT / "docs/index.md").read_text()
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.ipynb")]
    assert all(re.search(rf"^{page.stem}$", index, re.MULTILINE) for page in pages if page.stem != "index")


def test_files_that_are_named_exist():
    """Paths of the repository in backticks."""
    for page in PAGES:
        for name in re.findall(r"`((?:condiff|conf|tests|benchmarks|docs)/[\w/.]+\.\w+)`", page.read_text()):
            assert Path(ROOT, name).is_file(), f"{page.name} names {name}"


def test_every_room_is_in_the_tree():
    tree = (ROOT / "CONTRIBUTING.md").read_text()
    assert all(f" {room.parent.name}/ " in tree for room in ROOT.glob("condiff/**/__init__.py") if room.parent.name != "condiff")
