r"""LaTeX from the formulas of the docstrings: ``m_t = β1 m_{t-1}`` becomes ``m_{t} = \beta_{1}\,m_{t-1}``.

The docstrings leave multiplication out, as papers do, so Python's `ast` cannot read them: a small
recursive-descent parser does. What is not read with certainty raises `NotAFormula` and stays code. A
fraction bar is drawn only where ``a / b`` can mean one thing; otherwise the slash stays as written.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from signs import (
    ACCENTS,
    BIG,
    CLOSING,
    DRAWN,
    LETTER,
    LETTERS,
    LOWERED,
    MARK,
    PREFIX,
    PRODUCTS,
    PROSE,
    RAISED,
    RELATIONS,
    SPELT,
    SUMS,
    NotAFormula,
    Token,
    letters,
    number,
    tokens,
)  # fmt: skip

_KEYWORD = re.compile(r"\w+=\S")


@dataclass(frozen=True)
class Factor:
    """The LaTeX of one factor; `prefix` where it acts on what follows."""

    tex: str
    spaced: bool = True
    prefix: bool = False


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
        out = self.sign().lstrip() if self.peek().text in SUMS else ""
        out += self.term()
        while self.peek().text in SUMS:
            out += f"{self.sign()}{self.term()}"
        return out

    def sign(self) -> str:
        """Read a sign between terms or before one; ``η-`` with a space behind it is a name, not a difference."""
        token, after = self.take(), self.peek()
        if self.at > 1 and not token.spaced and (after.spaced or after.text in (")", "]", ",")):
            raise NotAFormula(token.text)
        return f" {SUMS[token.text]} "

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
        # The bar of (1 / n) holds it together: without an exponent it needs no brackets.
        alone = first.text == "(" and not marks and fraction(bare(tex))
        return Factor(bare(tex) if alone else tex, first.spaced, prefix)

    def starred(self) -> bool:
        """Tell whether an optimum's star stands here: ``f*`` before a space, a bracket or the end."""
        star, after = self.peek(), self.peek(1)
        if star.text == "*" and after.text == "(" and not star.spaced and not after.spaced:
            raise NotAFormula("y*(x): a product, or an optimum's value?")
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
        match = re.fullmatch(rf"(\.\.\.|[A-Za-z]+|.)([{MARK}]*)(\d*)('*)", text)
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
            # β1_t, and β1t without a space, have one index of two parts.
            more = self.lower() if self.peek().text == "_" else self.attached()
            tex += f"_{{{digits}{',' + more if more else ''}}}"
        # Bare Σ may be a sum over everything, or a covariance: no bar is drawn through either.
        return tex, big or word in PREFIX or word == "Σ", True

    def attached(self) -> str:
        """Take a letter that stands right behind a name's digits, as in ``β1t``."""
        token = self.peek()
        return self.take().text if re.fullmatch("[a-z]", token.text) and not token.spaced else ""

    def summed(self) -> bool:
        """Tell whether a capital sigma has the index of a sum."""
        low, index = self.peek(), self.peek(1)
        return low.text == "_" and (index.text in tuple("ijklmnrs") or index.text == "{")

    def root(self) -> str:
        """Read what stands under a root: a bracket, or one name."""
        if self.peek().text in ("(", "‖", "|", "||"):
            return rf"\sqrt{{{bare(self.group())}}}"
        if self.peek().kind in ("name", "num") and not self.peek().spaced:
            # All of √Δt is under the root.
            under = [self.factor()]
            while self.peek().kind == "name" and not self.peek().spaced:
                under.append(self.factor())
            return rf"\sqrt{{{joined(under)}}}"
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
        # The pseudo-inverse of (J J^T)^+ r ends at the space.
        if sign == "*" or (sign and (token.spaced or (sign == "+" and token.kind not in ("num", "name")))):
            return f"^{{{sign}}}"
        if token.text in ("T", "H"):
            return "^{" + sign + (r"\top" if self.take().text == "T" else "H") + "}"
        if token.kind == "num":
            return f"^{{{sign}{self.take().text}}}"
        if token.kind == "name":
            return f"^{{{sign}{self.name()[0]}}}"
        inner = self.braced()
        # The brackets of 2^-(N + 1) are more than the exponent's.
        return f"^{{{sign}({inner})}}" if sign else f"^{{{inner}}}"


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


def fraction(tex: str) -> bool:
    """Tell whether a formula is one fraction and nothing else."""
    if not tex.startswith(r"\frac{"):
        return False
    depth, ends = 0, []
    for at, sign in enumerate(tex):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if sign == "}" and not depth:
            ends.append(at)
    return len(ends) == 2 and ends[1] == len(tex) - 1


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
            rf"[{LETTER}{MARK}{''.join(RAISED)}‖←⊙]|\^|_\{{| (?:=|<=|>=|<|>|->|<-|~) |\w_\w ", decomposed
        )
        or re.fullmatch(r"[A-Za-z](?: [A-Za-z])+", text)
    )
