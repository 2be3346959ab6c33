"""Sphinx configuration; the pages of the methods are written from the registry before each build."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import refopt

project = "refopt"
author = "The refopt maintainers"
release = refopt.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    # MathJax from the disk: neither the build nor the reader's browser asks the network for anything.
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "numpydoc",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
# `refopt.minimize` in a docstring is a link, where the reference has it.
default_role = "py:obj"
python_maximum_signature_line_length = 80
autodoc_member_order = "bysource"
exclude_patterns = ["_build", "tables", "check", "made"]
html_theme = "furo"
html_title = "refopt"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["finder.js"]
html_show_sourcelink = False
html_show_copyright = False
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
suppress_warnings = ["ref.python", "ref.any"]


def setup(app: Any) -> None:
    """Write the methods' pages when a build begins; autodoc then leaves out what they have said."""
    from api import own_words, whole
    from pages import only_arguments, write

    def told(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        own_words(lines, obj)
        # A method's page has said the rest.
        (only_arguments if app.env.docname.startswith("methods/") else whole)(lines)

    app.connect("builder-inited", lambda app: write(pathlib.Path(app.srcdir)))
    # Before numpydoc, which reads the sections that are left.
    app.connect("autodoc-process-docstring", told, priority=1)
