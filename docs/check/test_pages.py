"""The pages in a browser: wide and narrow, light and dark, with no word from the network."""

from __future__ import annotations

import html
import pathlib
import re

import pytest

PAGES = (
    "index",
    "methods/adam",
    "methods/kfac",
    "methods/cg",
    "finder",
    "papers",
    "kinds/optimizer",
    "census",
)
WITH_FORMULAS = ("methods/adam", "methods/kfac", "methods/cg")
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


def brightness(colour):
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_every_formula_of_the_site_is_one_to_mathjax(reader, site):
    found = {html.unescape(tex).strip() for page in pages(site) for tex in _MATH.findall(page)}
    assert len(found) > 1000
    reader.opens("methods/adam.html")
    assert reader.driver.execute_async_script(PARSE, sorted(found)) == []


def pages(site: pathlib.Path):
    return (file.read_text(encoding="utf-8") for file in site.rglob("*.html"))
