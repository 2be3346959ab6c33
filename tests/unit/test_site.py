"""What the site's pages are put together from."""

import ast
import re

import collection
import curves
import faults
import gallery
import held
import measured
import numpy as np
import refopt
import settled
import source
from bibtex import authors
from charts import HEIGHT, LEFT, WIDTH, contours, falling, spectrum
from pages import dialects, symbol
from prose import paragraph
from refopt.cli.catalogue import describe
from refopt.core.registry import entry
from rst import escaped


def test_census_and_museum_speak_of_registered_names():
    names = {m.name for m in refopt.methods()}
    assert {"adam", "lion"} <= faults.census().keys() <= names
    assert {"adam", "lion"} <= faults.museum().keys() <= names
    assert any(cls == "optax.adam" and out == "agrees" for _, cls, out, _ in faults.census()["adam"])


def test_the_benchmarks_table_is_read():
    assert {"adam", "shampoo"} <= measured.targets().keys() <= {m.name for m in refopt.methods()}


def test_a_class_is_shown_without_what_the_page_says_elsewhere():
    text = source.bare('@register("a")\nclass A:\n    """Words.\n\n    More.\n    """\n\n    x = 1\n')
    assert text == "class A:\n    x = 1"
    assert source.bare('def f():\n    """Words."""\n') == 'def f():\n    """Words."""'


def test_a_function_is_shown_with_what_it_calls():
    assert "def _iterate(" in source.helpers(entry("cg").obj)
    assert source.helpers(entry("adam").obj) == ""


def test_small_pieces():
    assert authors("A. B, C. D et al.") == "A. B and C. D and others"
    assert authors("T. Huang et al.") == "T. Huang and others"
    assert escaped("D. P. Kingma") == r"\D. P. Kingma"
    assert escaped("a_b |c|") == r"a\_b \|c\|"
    assert symbol("λ before the first step.") == r":math:`\lambda`"
    assert symbol("τ1 and τ2: the shares.") == ""
    assert symbol("v̂ is multiplied by β2.") == ""
    assert symbol("φ's first value.") == ""
    assert symbol("Include the last step.") == ""


def test_a_run_of_equations_is_displayed_with_what_ends_it():
    text = paragraph("where ``d = ||A||_F`` and ``p(x) = a x + b x^3``: five steps.")
    assert text.startswith("where")
    assert "p(x) &= a\\,x + b\\,x^{3}:" in text
    assert text.endswith("five steps.")


def test_a_curve_stays_in_its_picture():
    text = falling([([0.0, 50.0, 100.0, 300.0], [1.0, 1e-3, 0.0, 1e9])], "falls")
    points = [tuple(map(float, p.split(","))) for p in text.split('points="')[1].split('"')[0].split()]
    assert len(points) == 3
    assert all(LEFT <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)


def test_a_page_says_which_edits_the_evidence_notices(monkeypatch):
    """Of a text that has changed since, the page says so; and the records are of registered names."""
    sign = entry("sign-sgd")
    assert held.recorded().keys() <= {m.name for m in refopt.methods()}
    kept = {"date": "2026-11-28", "text": held.text_of(sign), "edits": 3, "survivors": ["a -> b"]}
    monkeypatch.setattr(held, "recorded", lambda: {"sign-sgd": kept})
    text = "\n".join(held.told(sign))
    assert "2 of 3 smallest edits of the rule's text." in text and "a -> b" in text
    kept |= {"text": "0" * 12, "survivors": []}
    assert "all 3 smallest edits of the rule's text, which has changed since" in held.told(sign)[0]
    assert held.told(entry("adam")) == []


def test_every_paper_of_the_collection_says_what_is_here():
    """282 papers; each has a row, and each of its names is a link or is told to be missing."""
    methods = refopt.methods()
    registered = {m.name for m in methods}
    text = collection.page(methods)
    assert len(collection.papers()) == 282 == text.count("   * - ") - 1
    for _, names in collection.papers():
        assert all((f"</methods/{n}>" if n in registered else f" {escaped(n)}") in text for n in names)
    found, missing, source = collection.here(
        "On the Convergence of Adam and Beyond", ["amsgrad", "nobody"], methods
    )
    assert found[0] == "amsgrad" and "adam-counterexample" in found and missing == ["nobody"]
    assert source is not None and source.key == entry("amsgrad").source.key


def test_a_spectrum_shows_sign_and_size():
    text = spectrum([1.0, -1e-4, 0.0], "spectrum")
    assert re.findall(r'class="(\w+)" cx', text) == ["plus", "minus", "plus"]
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', text)]
    assert heights[0] < heights[1] < heights[2] <= HEIGHT


def test_level_lines_stand_in_their_box():
    text = contours([[(0.0, 0.0), (1.0, 2.0)]], {"start": (0.5, 1.0)}, (0.0, 1.0, 0.0, 2.0), "levels")
    (left, bottom), (right, top) = (
        map(float, p.split(",")) for p in re.search('points="([^"]*)"', text)[1].split()
    )
    assert (left, right) == (LEFT, WIDTH - 14) and top < bottom < HEIGHT
    assert f'cx="{(left + right) / 2}"' in text and ">start<" in text


def test_a_method_of_so_many_steps_has_its_curve():
    """The noise of dp-mf is made for 40 steps."""
    dp_mf = entry("dp-mf")
    assert curves.horizon(dp_mf) == 40 and curves.horizon(entry("adam")) is None
    (figure,) = curves.drawn(dp_mf, {"logistic": curves.problems()["logistic regression, 100 examples"]})
    assert ">steps<" in figure and ">40<" in figure
    assert len(figure.partition('points="')[2].partition('"')[0].split()) == 41


def test_curves_stand_above_one_floor():
    assert curves.above(([0, 1], [3.0, 2.0]), 1.0, True) == ([0, 1], [1.0, 0.5])
    (_, values) = curves.above(([0, 1], [3.0, 1.0]), 1.0, False)
    assert values[0] == 1.0 and np.isnan(values[1]), "the least value found is not drawn as the optimum"
    assert curves.above(([0, 1], [1.0, 1.0]), 1.0, True) is None


def test_the_gallery_tells_a_problem():
    methods = refopt.methods()
    text = "\n".join(gallery.entry(entry("rosenbrock"), methods))
    assert ".. _zoo-rosenbrock:" in text and "</methods/rosenbrock>" in text
    assert "2 unknowns" in text and "``hvp``" in text and "a solution, least value 0" in text
    assert text.count("<figure>") == 2 and 'class="level"' in text
    assert 'class="c2" href="methods/' in text, "three methods are drawn"
    names = [m.name for m in gallery.candidates(refopt.problem("adam-counterexample"), methods)]
    assert names[0] == "projected-gradient"


def test_what_leaves_the_feasible_set_is_not_drawn():
    text = "".join(gallery.falls(refopt.problem("adam-counterexample"), refopt.methods()))
    assert "projected-gradient" in text and "adam.html" not in text


def test_a_dialects_text_has_its_choices_settled():
    """Of Adam in torch the decay is in the gradient; optax differs in numbers alone; Keras's ε is beside the uncorrected root."""
    adam = entry("adam").obj
    torch = settled.changes(adam, {"decay": "coupled"}).splitlines()
    assert [line for line in torch if line[0] in "-+" and "def " not in line] == [
        "+        g = g + l2 * x",
        "-        return (keep * x - step * m / below, m, v)",
        "+        return (x - step * m / below, m, v)",
    ]
    assert settled.changes(adam, {"eps_root": 1e-8}) == ""
    assert "+    eps = self.eps / c2 ** 0.5" in settled.changes(adam, {"eps_corrected": False}).splitlines()
    assert settled.changes(entry("cg").obj, {}) == ""


def test_a_page_shows_each_text_once_with_its_dialects():
    """Settings as they are, not as they are printed: Adam's page tells what torch's and Keras's text is."""
    found = "\n".join(dialects(entry("adam"), describe(entry("adam"))))
    assert "The text in torch, beside" in found and "+        g = g + l2 * x" in found
    assert "The text in keras, beside" in found and "1e-07'" not in found.partition("<summary>")[2]


def test_what_is_settled():
    """Branches, comparisons, terms of zero, factors of one, and functions that nothing calls any more."""
    text = """
def rule(self, xp):
    def a(x, l2):
        return x + l2 * x
    def b(x, g, keep):
        if self.form == "sum" and not self.late:
            g = g + 0.0 * x
        else:
            g = 2.0 * g
        return keep * (1.0 * x) - (g if self.late is None else x)
    return a if self.form == "mean" or self.late else b
"""
    tree = settled.Settled({"form": "sum", "late": None}, {"keep": 1.0}).visit(ast.parse(text))
    assert ast.unparse(ast.fix_missing_locations(tree)) == (
        "def rule(self, xp):\n\n    def b(x, g):\n        return x - g\n    return b"
    )
