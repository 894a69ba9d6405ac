r"""The formulas of the table as functions: a translator of the mathtext that they use to Python.

Understood: numbers, x, Greek and Latin constants, + - juxtaposition \, and \frac, powers,
\sqrt, |...|, \max \min \tanh \ln e^{...}, \phi \sigma \Phi \Phi', `A if C, else B`, and a
definition `, u = ...` behind.
"""

import math
import re
from typing import Any

import numpy as np
from scipy import special, stats

NAMES: dict[str, Any] = {
    "e": math.e,
    r"\pi": math.pi,
    r"\lambda": 1.0507009873554805,
    r"\alpha": 1.6732632423543773,
    r"\abs": np.abs,
    r"\sqrt": np.sqrt,
    r"\tanh": np.tanh,
    r"\ln": np.log,
    r"\max": np.maximum,
    r"\min": np.minimum,
    r"\sigma": special.expit,
    r"\Phi": special.ndtr,
    r"\Phi'": stats.norm.pdf,
}
#: How the table writes the constants of an activation.
LETTERS = {
    "negative_slope": "s",
    "slope": "s",
    "max_value": "m",
    "threshold": r"\theta",
    "default_value": "d",
    "alpha": r"\alpha",
    "b": "b",
}
SIGNS = {"^": "**", r"\leq": "<=", r"\geq": ">="}
TOKEN = re.compile(r"\\Phi'|\\[A-Za-z]+|\d+(?:\.\d+)?|[^\s]")


def evaluate(text, x, value, constants):
    """Evaluate a formula at x; `value` is phi, for derivatives that are written with it."""
    names = NAMES | {LETTERS[name]: given for name, given in constants.items() if name in LETTERS}
    text = re.sub(r"(\\[ ,]|\s)+", " ", text)
    text, _, definition = text.partition(", u = ")
    with np.errstate(over="ignore", invalid="ignore"):
        names |= {"x": x, r"\phi": value}
        if definition:
            names["u"] = _evaluate(definition, names)
        return np.broadcast_to(_evaluate(text, names), x.shape)


def _evaluate(text: str, names: dict[str, Any]) -> Any:
    above, rest = _split(text, r" \mathrm{if} ")
    if rest:
        condition, below = _split(rest, r", \mathrm{else} ")
        value, otherwise = (_evaluate(part, names) for part in (above, below))
        return np.where(_evaluate(condition, names), value, otherwise)
    if "mathrm" in text:  # cases in parentheses
        return _evaluate(text[1:-1], names)
    return eval(_translate(text, names), {"names": names})


def _split(text: str, word: str) -> tuple[str, str]:
    """Split at the first place of a word that is not in parentheses."""
    for match in re.finditer(re.escape(word), text):
        before = text[: match.start()]
        if before.count("(") == before.count(")"):
            return before, text[match.end() :]
    return text, ""


def _translate(text: str, names: dict[str, Any]) -> str:
    """Write a formula without cases as an expression of Python, in which names are looked up."""
    text = re.sub(r"\|([^|]+)\|", r"\\abs(\1)", text)
    while "{" in text:  # from the innermost out
        text, before = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text), text
        text = re.sub(r"(\\sqrt|\^)\{([^{}]*)\}", r"\1(\2)", text)
        assert text != before, text
    written, can_multiply = "", False
    for token in TOKEN.findall(text):
        is_name = token not in SIGNS and (token[0] == "\\" or token.isalpha())
        is_number = token[0].isdigit()
        if can_multiply and (is_name or is_number or token == "("):
            written += "*"
        written += f"names[{token!r}]" if is_name else SIGNS.get(token, token)
        can_multiply = is_number or token == ")" or (is_name and not callable(names[token]))
    return written
