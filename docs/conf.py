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
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
myst_enable_extensions = ["dollarmath"]
numpydoc_show_class_members = False
exclude_patterns = ["_build", "tables"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "sidebar_width": "260px"}
suppress_warnings = ["ref.python", "ref.any", "docutils"]


def setup(app: Any) -> None:
    """Write the methods' pages when a build begins."""
    from pages import write

    app.connect("builder-inited", lambda app: write(pathlib.Path(app.srcdir) / "methods"))
