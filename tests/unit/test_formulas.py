"""The site's formulas: what LaTeX comes out, what stays code, and that none loses or gains a sign."""

import dataclasses
import inspect
import re
import unicodedata
from collections import Counter
from functools import cache

import pytest
import refopt
from formulas import NotAFormula, latex, mathematical
from prose import inline, typeset
from signs import GREEK, SPELT


def tight(tex):
    return re.sub(r"(?<![A-Za-z]) | (?![A-Za-z])", "", tex.replace(r"\,", " "))


@pytest.mark.parametrize(
    ("code", "tex"),
    [
        ("a - (b - c)", "a-(b-c)"),
        ("a - b - c", "a-b-c"),
        ("a / (b c)", r"\frac{a}{b c}"),
        ("a / (b * c)", r"\frac{a}{b\cdot c}"),
        ("a b / c", r"\frac{a b}{c}"),
        ("a / b · c", r"\frac{a}{b}\cdot c"),
        ("(a + b) / c", r"\frac{a+b}{c}"),
        ("(a + b)(c + d) / e", r"\frac{(a+b)(c+d)}{e}"),
        ("(a / b)^2", r"\left(\frac{a}{b}\right)^{2}"),
        ("(a / b) c", r"\frac{a}{b}c"),
        ("(a + b)^T c", r"(a+b)^{\top}c"),
        ("-x^2", "-x^{2}"),
        ("-a / b", r"-\frac{a}{b}"),
        ("A^{-1/2} B", "A^{-1/2}B"),
        ("2^-(N+1)", "2^{-(N+1)}"),
        ("(J J^T)^+ r", r"(J J^{\top})^{+}r"),
        ("f* - x* y", r"f^{*}-x^{*}y"),
        ("2 * (a + b)", r"2\cdot(a+b)"),
        ("clip(g, ±c)", r"\operatorname{clip}(g,\pm c)"),
        ("sqrt(v_t) + ε", r"\sqrt{v_{t}}+\varepsilon"),
        ("σ √Δt B", r"\sigma\sqrt{\Delta t}B"),
        ("‖x‖_1 <= ||y||²", r"\lVert x\rVert_{1}\le\lVert y\rVert^{2}"),
        ("|<a, x>|", r"\lvert\langle a,x\rangle\rvert"),
        ("β1^t", r"\beta_{1}^{t}"),
        ("β1_t + β2t", r"\beta_{1,t}+\beta_{2,t}"),
        ("m̂_{t-1}", r"\hat{m}_{t-1}"),
        ("η_max", r"\eta_{\mathrm{max}}"),
        ("hᵀHh", r"h^{\top}H h"),
        ("sum_i x_i", r"\sum_{i}x_{i}"),
        ("1e-8 x", r"10^{-8}x"),
        ("a = b <= c", r"a=b\le c"),
    ],
)
def test_what_is_typeset(code, tex):
    assert tight(latex(code)) == tex


@pytest.mark.parametrize("code", ["a / b c", "a / b / c", "tr A / dim A", "a / b (c + d)"])
def test_a_doubtful_quotient_keeps_its_slash(code):
    assert r"\frac" not in latex(code)
    assert "/" in latex(code)


@pytest.mark.parametrize(
    "code", ["η- Δ", "a +", "(a", "x^2^3", "a_i_j^", "λ if x", "a ? b", "a * * b", "y*(x)", ""]
)
def test_what_is_not_read_with_certainty_is_refused(code):
    with pytest.raises(NotAFormula):
        latex(code)


@pytest.mark.parametrize(
    "code", ["x ** 2", "A @ x", "lr=0.1", "a == b", "np.sqrt(v)", "step", '"coupled"', "-x**2"]
)
def test_python_stays_code(code):
    assert not mathematical(code)
    assert inline(f"``{code}``") == f"``{code}``"


def test_bars_in_prose_are_no_markup():
    assert inline("the mean of |H| and ``|x|^2``") == r"the mean of \|H\| and :math:`\lvert x \rvert^{2}`"
    assert inline(":math:`|H|`") == ":math:`|H|`"


# What the signs of a formula are, read off the text and off the LaTeX by two different ways.
UPRIGHT = {r"\nabla": "∇", r"\partial": "∂", r"\infty": "∞", r"\sum": "sum", r"\prod": "prod", r"\dots": "…"}
LAYOUT = {
    "left", "right", "frac", "sqrt", "operatorname", "mathrm", "hat", "tilde", "bar", "dot", "cdot", "odot", "times",
    "otimes", "le", "ge", "sim", "approx", "to", "leftarrow", "in", "propto", "succeq", "pm", "langle", "rangle", "lVert",
    "rVert", "lvert", "rvert", "bot", "top", "dagger",
}  # fmt: skip
PLAIN = {"≤": "<=", "≥": ">=", "√": " ", "⊥": "", "½": "1 2", "...": "…", "ᵀ": " "}


def shown(tex):
    """Count letters, digits and signs of LaTeX."""
    tex = re.sub(r"\\[,{}]", " ", tex)
    commands = Counter()

    def take(match):
        word = match.group(1)
        if word not in LAYOUT and word != "tfrac":
            commands[UPRIGHT.get("\\" + word, word)] += 1
        return " "

    rest = re.sub(r"\\([A-Za-z]+)", take, tex)
    return commands + pieces(rest)


def written(code):
    """Count letters, digits and signs of a docstring's formula."""
    text = unicodedata.normalize("NFD", " ".join(code.split()))
    text = "".join(c for c in text if not unicodedata.combining(c))
    for sign, plain in PLAIN.items():
        text = text.replace(sign, plain)
    text = re.sub(r"\^(-?)T(?![A-Za-z])", r"^\1 ", text)
    text = re.sub(r"<-|->|:=|<=|>=", " ", text)
    text = re.sub(r"(\d)e-?(\d+)", r"\1 10-\2", re.sub(r"\b1e-(\d+)", r"10-\1", text))
    text = re.sub(
        "[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᴴ]+", lambda m: f" {unicodedata.normalize('NFKD', m.group())} ", text
    ).replace("−", "-")
    text = re.sub(r"sqrt", " ", text)
    return pieces(re.sub(r"Σ_(?=[ijklmnrs{])", "sum_", text))


def pieces(text):
    names = {g: v[1:] for g, v in GREEK.items()}
    spelt = {k: v[1:] for k, v in SPELT.items()}
    found = re.findall(r"[A-Za-z]+|[^\W\d_]|\d+(?:\.\d+)?|[∇∂∞…+=-]", text)
    # A product of two letters falls into them.
    parts = (c for w in found for c in (w if re.fullmatch("[A-Z][a-z]", w) and w not in spelt else [w]))
    return Counter(names.get(w, spelt.get(w, w)) for w in parts)


@cache
def formulas():
    found = set()
    for m in refopt.methods():
        texts = [inspect.getdoc(m.obj) or "", m.summary]
        if dataclasses.is_dataclass(m.obj):
            texts += [f.metadata.get("words", "") for f in dataclasses.fields(m.obj)]
        found.update(" ".join(c.split()) for t in texts for c in re.findall(r"``([^`]+)``", t))
    return sorted(found)


@cache
def typeset_ones():
    return {code: tex for code in formulas() if (tex := typeset(code)) is not None}


def test_no_typeset_formula_loses_or_gains_a_sign():
    done = typeset_ones()
    assert len(done) > 1250
    wrong = {
        code: (tex, (written(code) - shown(tex)) + (shown(tex) - written(code)))
        for code, tex in done.items()
        if written(code) != shown(tex)
    }
    assert not wrong


def test_most_formulas_are_typeset():
    meant = [code for code in formulas() if mathematical(code)]
    assert sum(code in typeset_ones() for code in meant) > 0.97 * len(meant)


def test_brackets_and_braces_of_the_latex_match():
    for code, tex in typeset_ones().items():
        bare = re.sub(r"\\[{}]", "", tex)
        assert bare.count("{") == bare.count("}"), code
        assert len(re.findall(r"\\left\b", tex)) == len(re.findall(r"\\right\b", tex)), code
