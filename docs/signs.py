"""What the signs and names of the docstrings' formulas are in LaTeX, and how a formula falls into tokens."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

GREEK = {
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon", "ζ": r"\zeta", "η": r"\eta",
    "θ": r"\theta", "ι": r"\iota", "κ": r"\kappa", "λ": r"\lambda", "μ": r"\mu", "ν": r"\nu", "ξ": r"\xi", "π": r"\pi",
    "ρ": r"\rho", "σ": r"\sigma", "τ": r"\tau", "υ": r"\upsilon", "φ": r"\varphi", "χ": r"\chi", "ψ": r"\psi",
    "ω": r"\omega", "Γ": r"\Gamma", "Δ": r"\Delta", "Θ": r"\Theta", "Λ": r"\Lambda", "Ξ": r"\Xi", "Π": r"\Pi",
    "Σ": r"\Sigma", "Υ": r"\Upsilon", "Φ": r"\Phi", "Ψ": r"\Psi", "Ω": r"\Omega", "ℓ": r"\ell",
}  # fmt: skip
SPELT = {g[1:]: g for g in GREEK.values()} | {
    "eps": r"\varepsilon",
    "epsilon": r"\varepsilon",
    "phi": r"\varphi",
}
LETTERS = GREEK | {
    "∇": r"\nabla", "∂": r"\partial", "∞": r"\infty", "½": r"\tfrac{1}{2}", "…": r"\dots", "⊥": r"\bot",
}  # fmt: skip
ACCENTS = {"̂": r"\hat", "̃": r"\tilde", "̄": r"\bar", "̇": r"\dot"}
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")) | {"ᵀ": r"\top", "†": r"\dagger", "ᴴ": "H"}
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789"))
RELATIONS = {
    "=": "=", "<=": r"\le", ">=": r"\ge", "≤": r"\le", "≥": r"\ge", "<": "<", ">": ">", "~": r"\sim", "≈": r"\approx",
    "->": r"\to", "→": r"\to", "←": r"\leftarrow", "<-": r"\leftarrow", "∈": r"\in", "∝": r"\propto", "⪰": r"\succeq", ":=": ":=",
}  # fmt: skip
SUMS = {"+": "+", "-": "-", "±": r"\pm"}
PRODUCTS = {"*": r"\cdot", "·": r"\cdot", "⊙": r"\odot", "×": r"\times", "⊗": r"\otimes"}
CLOSING = {"(": ")", "[": "]", "{": "}", "⟨": "⟩", "<": ">", "‖": "‖", "||": "||", "|": "|"}
DRAWN = {
    "(": ("(", ")"), "[": ("[", "]"), "{": (r"\{", r"\}"), "⟨": (r"\langle", r"\rangle"), "<": (r"\langle", r"\rangle"),
    "‖": (r"\lVert", r"\rVert"), "||": (r"\lVert", r"\rVert"), "|": (r"\lvert", r"\rvert"),
}  # fmt: skip
NAMED = ("log", "ln", "exp", "max", "min", "sin", "cos", "tan", "tanh", "det", "dim", "sup", "inf", "lim")
BIG = {"sum": r"\sum", "prod": r"\prod", "Σ": r"\sum"}
# Such a word acts on what stands behind it, without brackets: no bar is drawn through `tr A / dim A`.
PREFIX = {*NAMED, *BIG, "tr", "mean", "sign", "diag", "E", "Var", "grad", "argmin", "argmax", "median"}
PROSE = {
    "True", "False", "None", "if", "else", "and", "or", "not", "in", "is", "of", "the", "with", "where", "for", "then",
    "otherwise", "from", "to", "by", "def", "import", "return",
}  # fmt: skip

LETTER = "".join(LETTERS)
MARK = "".join(ACCENTS)
_TOKEN = re.compile(
    rf"(?P<num>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<name>(?:[A-Za-z]+|[{LETTER}√])[{MARK}]*\d*'*|\.\.\.)"
    rf"|(?P<up>[{''.join(RAISED)}]+)|(?P<low>[{''.join(LOWERED)}]+)"
    r"|(?P<op><=|>=|->|<-|:=|\|\||[-=≤≥<>~≈→←∈∝⪰+±*·⊙×⊗/()\[\]{}⟨⟩‖|^_,'])"
)


class NotAFormula(ValueError):
    """The text is not read with certainty as one formula."""


@dataclass(frozen=True)
class Token:
    """A piece of the text, and whether a space stands before it."""

    kind: str
    text: str
    spaced: bool


def tokens(text: str) -> list[Token]:
    """Return the tokens of a formula, accents apart from their letters."""
    text = unicodedata.normalize("NFD", text.strip())
    found, at = [], 0
    while at < len(text):
        space = re.compile(r"\s*").match(text, at)
        start = space.end() if space else at
        match = _TOKEN.match(text, start)
        if match is None:
            raise NotAFormula(text[start:])
        found.append(Token(str(match.lastgroup), match.group(), start > at))
        at = match.end()
    return found


def letters(word: str) -> str:
    """Return the LaTeX of a name without its digits and primes: a letter, a Greek name, or upright."""
    if word in LETTERS:
        return LETTERS[word]
    if word in SPELT:
        return SPELT[word]
    if len(word) == 1:
        return word
    if re.fullmatch("[A-Z][a-z]", word) and word not in ("Re", "Im", "Tr"):
        # Ax is a product, and no name that anybody gives has a capital and one small letter.
        return rf"{word[0]}\,{word[1]}"
    if word == "...":
        return r"\dots"
    return ("\\" + word) if word in NAMED else rf"\operatorname{{{word}}}"


def number(text: str) -> str:
    """Return a number, its exponent as a power of ten."""
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    power = rf"10^{{{int(exponent)}}}"
    return power if mantissa in ("1", "1.0") else rf"{mantissa}\cdot {power}"
