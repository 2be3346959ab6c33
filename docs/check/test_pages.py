"""The pages in a browser: wide and narrow, light and dark, with no word from the network."""

from __future__ import annotations

import html
import pathlib
import re

import api
import pytest
import refopt

PAGES = (
    "index",
    "methods/adam",
    "methods/kfac",
    "methods/cg",
    "finder",
    "papers",
    "kinds/optimizer",
    "census",
    "gallery",
    "benchmarks",
    "api/index",
    "api/running",
    "api/problems",
    "api/commands",
    "tutorial",
    "implementers",
    "collection",
    "changelog",
)
WITH_FORMULAS = ("methods/adam", "methods/kfac", "methods/cg", "gallery")
# What stands on the page's paper in a picture: curves, dots, level lines, words.
INK = {"polyline.c0": "stroke", "polyline.c1": "stroke", "polyline.c2": "stroke", "polyline.level": "stroke", "circle.plus": "fill",
       ".curves text": "fill"}  # fmt: skip
DOTS = {f".d{i}": "fill" for i in range(4)}
BROKEN = "mjx-merror, [data-mjx-error], .MathJax_Error"
_MATH = re.compile(r'class="math notranslate nohighlight">\s*(?:\\\(|\\\[)(.*?)(?:\\\)|\\\])\s*</', re.DOTALL)
PARSE = """
const [texts, done] = arguments;
const wrong = [];
(async () => {
  for (const text of texts) {
    const shown = await MathJax.tex2chtmlPromise(text, {display: true});
    const error = shown.querySelector("mjx-merror, [data-mjx-error]");
    if (error) wrong.push(text + ": " + (error.getAttribute("data-mjx-error") ?? error.textContent));
  }
  done(wrong);
})();
"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole(reader, page, scheme, width):
    reader.opens(f"{page}.html", scheme, width)
    assert reader.asks("return document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    if page in WITH_FORMULAS:
        assert reader.asks("return document.querySelectorAll('mjx-container').length") >= 4
    assert reader.asks(f"return document.querySelectorAll('{BROKEN}').length") == 0
    assert reader.complaints() == []


@pytest.mark.parametrize("page", ["methods/adam", "finder"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_are_the_schemes(reader, page, scheme):
    reader.opens(f"{page}.html", scheme)
    for what in ("body", "article td", "article h1"):
        ink = brightness(reader.asks(f"return getComputedStyle(document.querySelector('{what}')).color"))
        assert (ink > 128) == (scheme == "dark"), what
    paper = brightness(reader.asks("return getComputedStyle(document.body).backgroundColor"))
    assert (paper < 128) == (scheme == "dark")


@pytest.mark.parametrize(("page", "inks"), [("gallery", INK), ("benchmarks", DOTS)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_are_seen_in_both_schemes(reader, page, inks, scheme):
    """Each kind of ink is there, and stands out against the page by three to one, as WCAG wants of graphics."""
    reader.opens(f"{page}.html", scheme)
    paper = luminance(reader.asks("return getComputedStyle(document.body).backgroundColor"))
    for what, where in inks.items():
        ink = reader.asks(f"return getComputedStyle(document.querySelector('{what}')).{where}")
        light, dark = sorted((luminance(ink), paper), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3.0, (what, ink)


def luminance(colour):
    parts = [float(c) / 255 for c in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear))


def test_every_problem_of_the_gallery_has_a_picture(reader):
    reader.opens("gallery.html")
    parts = reader.asks("""
      return [...document.querySelectorAll("article section section")].map(
        (s) => [s.querySelector("h2").firstChild.textContent, s.querySelectorAll("figure svg").length]);
    """)
    assert {name for name, _ in parts} == {m.name for m in refopt.methods("problem")}
    assert [name for name, pictures in parts if not pictures] == []


def test_every_object_of_the_reference_has_its_anchor(site):
    text = "".join(file.read_text(encoding="utf-8") for file in (site / "api").glob("*.html"))
    missing = [name for name, _ in api.objects() if f'id="{name}"' not in text]
    assert missing == []
    assert "Parameters" in text and "Raises" in text


def brightness(colour):
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_every_formula_of_the_site_is_one_to_mathjax(reader, site):
    found = {html.unescape(tex).strip() for page in pages(site) for tex in _MATH.findall(page)}
    assert len(found) > 1000
    reader.opens("methods/adam.html")
    assert reader.driver.execute_async_script(PARSE, sorted(found)) == []


def pages(site: pathlib.Path):
    return (file.read_text(encoding="utf-8") for file in site.rglob("*.html"))
