r"""LaTeX from the formulas of the docstrings: ``m_t = β1 m_{t-1}`` becomes ``m_{t} = \beta_{1}\,m_{t-1}``.

The docstrings leave multiplication out, as papers do, so Python's `ast` cannot read them: a small
recursive-descent parser does. What is not read with certainty raises `NotAFormula` and stays code. A
fraction bar is drawn only where ``a / b`` can mean one thing; otherwise the slash stays as written.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

GREEK = dict(
    zip(
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩℓ",
        [
            r"\alpha",
            r"\beta",
            r"\gamma",
            r"\delta",
            r"\varepsilon",
            r"\zeta",
            r"\eta",
            r"\theta",
            r"\iota",
            r"\kappa",
            r"\lambda",
            r"\mu",
            r"\nu",
            r"\xi",
            r"\pi",
            r"\rho",
            r"\sigma",
            r"\tau",
            r"\upsilon",
            r"\varphi",
            r"\chi",
            r"\psi",
            r"\omega",
            r"\Gamma",
            r"\Delta",
            r"\Theta",
            r"\Lambda",
            r"\Xi",
            r"\Pi",
            r"\Sigma",
            r"\Upsilon",
            r"\Phi",
            r"\Psi",
            r"\Omega",
            r"\ell",
        ],
    )
)
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

_LETTER = "".join(LETTERS)
_MARK = "".join(ACCENTS)
_TOKEN = re.compile(
    rf"(?P<num>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<name>(?:[A-Za-z]+|[{_LETTER}√])[{_MARK}]*\d*'*|\.\.\.)"
    rf"|(?P<up>[{''.join(RAISED)}]+)|(?P<low>[{''.join(LOWERED)}]+)"
    r"|(?P<op><=|>=|->|<-|:=|\|\||[-=≤≥<>~≈→←∈∝⪰+±*·⊙×⊗/()\[\]{}⟨⟩‖|^_,'])"
)
_KEYWORD = re.compile(r"\w+=\S")


class NotAFormula(ValueError):
    """The text is not read with certainty as one formula."""


@dataclass(frozen=True)
class Token:
    """A piece of the text, and whether a space stands before it."""

    kind: str
    text: str
    spaced: bool


@dataclass(frozen=True)
class Factor:
    """The LaTeX of one factor; `prefix` where it acts on what follows."""

    tex: str
    spaced: bool = True
    prefix: bool = False


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


class Parser:
    """Reads one formula from left to right."""

    def __init__(self, text: str) -> None:
        self.tokens, self.at = tokens(text), 0
        # What closes the innermost bracket: `|` and `>` both open and close.
        self.closers: list[str] = []
        # In an index or exponent a quotient keeps its slash.
        self.small = 0

    def peek(self, ahead: int = 0) -> Token:
        """Return a token without taking it; the end has no text."""
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else Token("end", "", True)

    def take(self, wanted: str = "") -> Token:
        """Return the next token, which must be `wanted` where given."""
        token = self.peek()
        if token.kind == "end" or (wanted and token.text != wanted):
            raise NotAFormula(f"wanted {wanted}, got {token.text!r}")
        self.at += 1
        return token

    def closes(self) -> bool:
        """Tell whether the next token closes the bracket that is open."""
        return bool(self.closers) and self.peek().text == self.closers[-1]

    def whole(self) -> list[tuple[str, str]]:
        """Return the whole formula as pairs (relation before it, LaTeX)."""
        parts = self.chain()
        if self.peek().kind != "end":
            raise NotAFormula(self.peek().text)
        return parts

    def chain(self) -> list[tuple[str, str]]:
        """Read ``a = b <= c, d``."""
        parts, sign = [], ""
        while True:
            parts.append((sign, self.sum()))
            text = self.peek().text
            if self.closes() or (text not in RELATIONS and text != ","):
                return parts
            sign = RELATIONS.get(self.take().text, ",")

    def inside(self) -> str:
        """Return what stands in brackets."""
        return " ".join(f"{sign} {tex}".strip() for sign, tex in self.chain())

    def sum(self) -> str:
        """Read terms with signs between them."""
        out = SUMS[self.take().text] if self.peek().text in SUMS else ""
        out += self.term()
        while self.peek().text in SUMS:
            out += f" {SUMS[self.take().text]} {self.term()}"
        return out

    def starts(self) -> bool:
        """Tell whether a factor begins here."""
        token = self.peek()
        if self.closes() or token.kind in ("end", "up", "low"):
            return False
        # An inner product stands where a relation cannot: `<` opens right before what it holds.
        angle = token.text == "<" and token.spaced and not self.peek(1).spaced
        return token.kind in ("num", "name") or angle or (token.text in CLOSING and token.text != "<")

    def term(self) -> str:
        """Read a product with its quotients."""
        out, factors = "", [self.factor()]
        while True:
            text = self.peek().text
            if text in PRODUCTS:
                self.take()
                out += f"{joined(factors)} {PRODUCTS[text]}{self.index()} "
                factors = [self.factor()]
            elif text == "/":
                factors = self.quotient(factors)
            elif self.starts():
                factors.append(self.factor())
            else:
                return out + joined(factors)

    def quotient(self, above: list[Factor]) -> list[Factor]:
        """Read what a product is divided by; a bar only where both sides are certain."""
        self.take("/")
        below = self.factor()
        certain = not (self.starts() or below.prefix or any(f.prefix for f in above))
        if certain and self.peek().text != "/" and not self.small:
            top = bare(above[0].tex) if len(above) == 1 else joined(above)
            return [Factor(rf"\frac{{{top}}}{{{bare(below.tex)}}}")]
        return [*above, Factor("/", False, True), Factor(below.tex, False, True)]

    def factor(self) -> Factor:
        """Read an atom with its indices, exponents and arguments."""
        first = self.peek()
        tex, prefix, name = self.atom()
        marks = [m for m in ("_",) if tex.endswith("}") and "_{" in tex and first.kind == "name"]
        while True:
            token = self.peek()
            if token.text == "'" and not token.spaced:
                self.take()
                tex += "'"
            elif token.text in ("_", "^") or token.kind in ("up", "low"):
                script = self.script()
                if script[0] in marks:
                    raise NotAFormula("two indices or two exponents")
                marks.append(script[0])
                tex += script
            elif name and self.starred():
                self.take()
                marks.append("^")
                tex += "^{*}"
            elif name and token.text in ("(", "[") and not token.spaced:
                tex += self.group()
                prefix, name, marks = False, False, []
            else:
                break
        return Factor(tex, first.spaced, prefix)

    def starred(self) -> bool:
        """Tell whether an optimum's star stands here: ``f*`` before a space, a bracket or the end."""
        star, after = self.peek(), self.peek(1)
        return (
            star.text == "*"
            and not star.spaced
            and (after.spaced or after.text in (")", "]", "|", "‖", ",", "||"))
        )

    def atom(self) -> tuple[str, bool, bool]:
        """Return an atom's LaTeX, whether it acts on what follows, and whether it can be called."""
        token = self.peek()
        if token.kind == "num":
            return number(self.take().text), False, False
        if token.kind == "name":
            return self.name()
        if token.text in CLOSING:
            return self.group(), False, False
        raise NotAFormula(token.text or "the end")

    def name(self) -> tuple[str, bool, bool]:
        """Read a name: a letter with accent, digits and primes, a function, a root or a sum."""
        text = self.take().text
        match = re.fullmatch(rf"(\.\.\.|[A-Za-z]+|.)([{_MARK}]*)(\d*)('*)", text)
        if match is None:
            raise NotAFormula(text)
        word, marks, digits, primes = match.groups()
        if word in PROSE:
            raise NotAFormula(word)
        if word in ("sqrt", "√"):
            return self.root(), False, False
        big = word in BIG and (word != "Σ" or self.summed())
        if marks and len(word) > 1 and word not in SPELT:
            raise NotAFormula(text)
        tex = BIG[word] if big else letters(word)
        for mark in marks:
            tex = f"{ACCENTS[mark]}{{{tex}}}"
        tex += primes
        if digits:
            # β1_t has one index of two parts.
            more = self.lower() if self.peek().text == "_" else ""
            tex += f"_{{{digits}{',' + more if more else ''}}}"
        # Bare Σ may be a sum over everything, or a covariance: no bar is drawn through either.
        return tex, big or word in PREFIX or word == "Σ", True

    def summed(self) -> bool:
        """Tell whether a capital sigma has the index of a sum."""
        low, index = self.peek(), self.peek(1)
        return low.text == "_" and (index.text in tuple("ijklmnrs") or index.text == "{")

    def root(self) -> str:
        """Read what stands under a root: a bracket, or one name."""
        if self.peek().text in ("(", "‖", "|", "||"):
            return rf"\sqrt{{{bare(self.group())}}}"
        if self.peek().kind in ("name", "num") and not self.peek().spaced:
            return rf"\sqrt{{{self.factor().tex}}}"
        raise NotAFormula("a root of what?")

    def group(self) -> str:
        """Read a bracket with what it holds."""
        opening = self.take().text
        if opening not in CLOSING:
            raise NotAFormula(opening)
        self.closers.append(CLOSING[opening])
        inner = self.inside()
        self.closers.pop()
        self.take(CLOSING[opening])
        left, right = DRAWN[opening]
        tall = any(command in inner for command in (r"\frac", r"\sum", r"\prod", r"\left", r"\sqrt"))
        return (
            rf"\left{left} {inner} \right{right}"
            if tall
            else f"{left} {inner} {right}".replace("( ", "(").replace(" )", ")")
        )

    def index(self) -> str:
        """Return the index of an operator, such as ``×_1``."""
        return f"_{{{self.lower()}}}" if self.peek().text == "_" else ""

    def lower(self) -> str:
        """Read an index behind ``_``."""
        self.take("_")
        token = self.peek()
        if token.text in ("+", "∞") or token.kind == "num":
            return (
                LETTERS.get(token.text, self.take().text) if token.text != "∞" else letters(self.take().text)
            )
        if token.kind == "name":
            word = re.sub(r"\W*$", "", token.text)
            if word.isascii() and word.isalpha() and len(word) > 1 and word not in SPELT:
                # ∂_xy has two indices; η_max is a word.
                tex = self.take().text if len(word) == 2 else rf"\mathrm{{{self.take().text}}}"
            else:
                tex = self.name()[0]
            return f"{tex}_{{{self.lower()}}}" if self.peek().text == "_" else tex
        return self.braced()

    def braced(self) -> str:
        """Read ``{...}`` or ``(...)`` of an index or exponent, brackets left out."""
        opening = self.take().text
        if opening not in ("{", "("):
            raise NotAFormula(opening)
        self.closers.append(CLOSING[opening])
        self.small += 1
        inner = self.inside()
        self.small -= 1
        self.closers.pop()
        self.take(CLOSING[opening])
        return inner

    def script(self) -> str:
        """Read an index or an exponent."""
        token = self.peek()
        if token.kind == "up":
            return f"^{{{''.join(RAISED[c] for c in self.take().text)}}}"
        if token.kind == "low":
            return f"_{{{''.join(LOWERED[c] for c in self.take().text)}}}"
        if token.text == "_":
            return f"_{{{self.lower()}}}"
        self.take("^")
        sign = self.take().text if self.peek().text in ("-", "+", "*") else ""
        token = self.peek()
        if sign == "*" or (sign == "+" and token.kind not in ("num", "name")):
            return f"^{{{sign}}}"
        if token.text in ("T", "H"):
            return "^{" + sign + (r"\top" if self.take().text == "T" else "H") + "}"
        if token.kind == "num":
            return f"^{{{sign}{self.take().text}}}"
        return f"^{{{sign}{self.name()[0] if token.kind == 'name' else self.braced()}}}"


def bare(tex: str) -> str:
    """Return a bracketed group without its brackets, which a bar or a root replaces."""
    match = re.fullmatch(r"(?:\\left)?\((.*?)(?:\\right)?\)", tex)
    if match is None:
        return tex
    depth = 0
    for bracket in re.findall(r"[()]", match.group(1)):
        depth += 1 if bracket == "(" else -1
        if depth < 0:
            return tex
    return match.group(1).strip()


def joined(factors: list[Factor]) -> str:
    """Return a product: a thin space where the text has a space."""
    out = factors[0].tex
    for factor in factors[1:]:
        out += (r"\," if factor.spaced else " ") + factor.tex
    return out


def sides(text: str) -> list[tuple[str, str]]:
    """Return a formula as pairs (relation, LaTeX); the first has no relation.

    Raises
    ------
    NotAFormula
    """
    if _KEYWORD.match(text) or not text.strip():
        raise NotAFormula(text)
    return Parser(text).whole()


def latex(text: str) -> str:
    """Return a formula's LaTeX.

    Raises
    ------
    NotAFormula
    """
    return " ".join(f"{sign} {tex}".strip() for sign, tex in sides(text))


def mathematical(text: str) -> bool:
    """Tell whether code in a docstring is meant as mathematics, and not as Python."""
    if _KEYWORD.match(text) or re.search(r"[\"@#]|\w\.\w*[a-z]|==|\*\*", text):
        return False
    decomposed = unicodedata.normalize("NFD", text)
    return bool(
        re.search(
            rf"[{_LETTER}{_MARK}{''.join(RAISED)}‖←⊙]|\^|_\{{| (?:=|<=|>=|<|>|->|<-|~) |\w_\w ", decomposed
        )
        or re.fullmatch(r"[A-Za-z](?: [A-Za-z])+", text)
    )
