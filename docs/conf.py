"""Sphinx configuration. Build with `make docs`."""

import os
import re
import sys
from pathlib import Path

from sphinx.ext.autosummary import Autosummary

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small networks

import skimpute

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import generate  # noqa: E402  (docs/generate.py, found through the line above)

# Pages that are made, not typed; before Sphinx looks for its sources.
generate.write_pages(DOCS / "generated")

project = "skimpute"
author = "The skimpute developers"
copyright = f"2026, {author}"
version = release = skimpute.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "py:obj"

html_theme = "pydata_sphinx_theme"
html_title = f"skimpute {version}"
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"install": [], "benchmarks": [], "changelog": []}
html_show_sourcelink = False

autosummary_generate = True
numpydoc_show_class_members = False  # the page template lists them

GALLERIES = ["1_first_steps", "2_going_further", "3_papers"]
sphinx_gallery_conf = {
    # One by one: examples/benchmarks runs for hours and is no part of the gallery.
    "examples_dirs": [f"../examples/{name}" for name in GALLERIES],
    "gallery_dirs": [f"auto_examples/{name}" for name in GALLERIES],
    "filename_pattern": r"/plot_",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skimpute",),
    "reset_modules": ("matplotlib",),
    "abort_on_example_error": True,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "download_all_examples": False,
}


class PlainAutosummary(Autosummary):
    """Tables of names whose one-line summaries leave out marks of references."""

    def get_items(self, names):
        return [
            (name, signature, re.sub(r" \[[\w-]+\]_", "", summary), real_name)
            for name, signature, summary, real_name in super().get_items(names)
        ]


def skip_inherited(app, what, name, obj, skip, options):
    """Leave out what scikit-learn adds to every estimator.

    Its texts refer to pages of scikit-learn's own guide, which are not here.
    """
    module = getattr(obj, "__module__", None) or ""
    if module.split(".")[0] == "sklearn" or name.endswith("_request"):
        return True
    return skip


def setup(app):
    app.add_directive("autosummary", PlainAutosummary, override=True)
    app.connect("autodoc-skip-member", skip_inherited)
