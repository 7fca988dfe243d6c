"""The site of the documentation: sphinx-build -W docs docs/_build"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "condiff"
copyright = "the condiff authors, MIT"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "condiff"
nb_execution_mode = "off"  # the tour shows its committed outputs
myst_heading_anchors = 3  # links to headings: page.md#heading-in-lower-case
napoleon_use_ivar = True  # attributes of a dataclass once, not twice
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True

MARKUP = re.compile(r"(`{1,2})(?P<code>[^`]+)\1|[\\\\*|_`]")


def plain(app, what, name, obj, options, lines):
    """Docstrings are plain text with `code`: what reStructuredText would read as markup in them stays text."""

    def escaped(match):
        return f"\\ ``{' '.join(match['code'].split())}``\\ " if match["code"] else "\\" + match[0]

    lines[:] = MARKUP.sub(escaped, "\n".join(lines)).split("\n")


def setup(app):
    app.connect("autodoc-process-docstring", plain, priority=100)  # before napoleon's 500
