"""The finder hides what does not fit, and the search finds."""

from __future__ import annotations

import pytest

SEEN = "return [...document.querySelectorAll('#methods tbody tr')].filter(r => r.offsetParent !== null).map(r => r.cells[0].textContent)"
TICK = "const box = document.querySelector(arguments[0]); box.click(); return box.checked"
RESULTS = """
const done = arguments[0], begun = Date.now();
(function look() {
  const found = [...document.querySelectorAll("#search-results li a")].map(a => a.getAttribute("href"));
  const rest = /Searching|Preparing/.test(document.querySelector("#search-results h2")?.textContent ?? "Searching");
  if (!rest || Date.now() - begun > 20000) done(found); else setTimeout(look, 100);
})();
"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_finder_hides_rows(reader, scheme, width):
    reader.opens("finder.html", scheme, width)
    everything = reader.asks(SEEN)
    assert len(everything) > 300

    assert reader.asks(TICK, "[name=have][value=grad]")
    gradients = reader.asks(SEEN)
    assert {"adam", "lion"} <= set(gradients)
    # Curvature, function values and problems are no methods of gradients only.
    assert not {"kfac", "mezo", "adahessian", "mlp"} & set(gradients)

    assert not reader.asks(TICK, "[name=have][value=grad]")
    assert reader.asks(TICK, "[name=have][value=value]")
    values = reader.asks(SEEN)
    assert "mezo" in values
    assert "adam" not in values
    assert 0 < len(values) < len(gradients) < len(everything)
    assert reader.asks("return document.getElementById('found').textContent").startswith(str(len(values)))
    assert reader.asks("return document.documentElement.scrollWidth") <= width
    assert reader.complaints() == []


def test_the_finder_reads_its_address(reader):
    reader.opens("finder.html?have=grad&words=sign+momentum")
    assert reader.asks("return document.querySelector('[name=have][value=grad]').checked")
    found = reader.asks(SEEN)
    assert found
    assert len(found) < 20


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(
    ("words", "page"),
    [("adam", "methods/adam.html"), ("kfac", "methods/kfac.html"), ("minimize", "api/running.html")],
)
def test_the_search_finds(reader, words, page, width):
    reader.opens(f"search.html?q={words}", "light", width)
    found = reader.driver.execute_async_script(RESULTS)
    assert page in [href.partition("?")[0].partition("#")[0] for href in found[:20]]
    assert reader.asks("return document.documentElement.scrollWidth") <= width
    assert reader.complaints() == []
