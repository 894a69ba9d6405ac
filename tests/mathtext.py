r"""The formulas of the table as functions: a translator of the mathtext that they use.

Understood: numbers, x, Greek and Latin constants, + - juxtaposition \, and \frac, powers,
\sqrt, |...|, \max \min \tanh \ln e^{...}, \phi \sigma \Phi \Phi', `A if C, else B`, and a
definition `, u = ...` behind.
"""

import math
import re
from typing import Any

import numpy as np
from scipy import special, stats

FUNCTIONS = {
    r"\tanh": np.tanh,
    r"\ln": np.log,
    r"\sigma": special.expit,
    r"\Phi'": stats.norm.pdf,
    r"\Phi": special.ndtr,
    r"\max": np.maximum,
    r"\min": np.minimum,
}
TOKEN = re.compile(
    r"\\mathrm\{(?:if|else)\}|\\Phi'|\\[A-Za-z]+|\d+(?:\.\d+)?|[A-Za-z]|[-+^{}()|,<>=]"
)


class Reader:
    """A recursive descent through the tokens; it evaluates as it goes."""

    def __init__(self, text: str, names: dict[str, Any]) -> None:
        text = text.replace(r"\,", " ").replace(r"\ ", " ")
        left = re.sub(r"\s", "", TOKEN.sub("", text))
        assert not left, f"cannot read {left!r} in {text}"
        self.tokens = TOKEN.findall(text)
        self.names = names

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def take(self, expected: str = "") -> str:
        assert not expected or self.peek() == expected, (expected, self.tokens)
        return self.tokens.pop(0)

    def choice(self):
        value = self.sum()
        if self.peek() != r"\mathrm{if}":
            return value
        self.take()
        left = self.sum()
        sign = self.take()
        right = self.sum()
        holds = {">": left > right, "<": left < right, r"\leq": left <= right}
        holds[r"\geq"] = left >= right
        self.take(",")
        self.take(r"\mathrm{else}")
        return np.where(holds[sign], value, self.choice())

    def sum(self):
        negative = self.peek() == "-" and bool(self.take())
        value = -self.product() if negative else self.product()
        while self.peek() in ("+", "-"):
            sign = 1.0 if self.take() == "+" else -1.0
            value = value + sign * self.product()
        return value

    def product(self):
        value = self.power()
        stops = {"", "+", "-", ")", "}", ",", "<", ">", "=", r"\leq", r"\geq", r"\mathrm{if}"}
        while self.peek() not in stops and not (self.peek() == "|" and self.in_bars):
            value = value * self.power()
        return value

    in_bars = False

    def power(self):
        value = self.atom()
        if self.peek() == "^":
            self.take()
            value = value ** (self.group() if self.peek() == "{" else self.atom())
        return value

    def group(self):
        self.take("{")
        value = self.sum()
        self.take("}")
        return value

    def atom(self):
        token = self.take()
        if token == r"\frac":
            above = self.group()
            return above / self.group()
        if token == r"\sqrt":
            return np.sqrt(self.group())
        if token == "e":
            self.take("^")
            return np.exp(self.group())
        if token == "(":
            bars, self.in_bars = self.in_bars, False
            value = self.choice()
            self.take(")")
            self.in_bars = bars
            return value
        if token == "|":
            self.in_bars = True
            value = np.abs(self.sum())
            self.in_bars = False
            self.take("|")
            return value
        if token in FUNCTIONS or token == r"\phi":
            function: Any = self.names[token] if token == r"\phi" else FUNCTIONS[token]
            bars, self.in_bars = self.in_bars, False
            self.take("(")
            arguments = [self.choice()]
            while self.peek() == ",":
                self.take()
                arguments.append(self.sum())
            self.take(")")
            self.in_bars = bars
            return function(*arguments)
        if token == r"\pi":
            return math.pi
        if token[0].isdigit():
            return float(token)
        return self.names[token]


def evaluate(text, x, value, constants):
    """Evaluate a formula at x; `value` is phi, for derivatives that are written with it."""
    letters = {
        "negative_slope": "s",
        "slope": "s",
        "max_value": "m",
        "threshold": r"\theta",
        "default_value": "d",
        "alpha": r"\alpha",
        "b": "b",
    }
    names: dict[str, Any] = {
        letters[name]: given for name, given in constants.items() if name in letters
    }
    names |= {"x": x, r"\phi": value}
    names |= {r"\lambda": 1.0507009873554805, r"\alpha": names.get(r"\alpha", 1.6732632423543773)}
    definition = re.search(r",\\ u = (.*)$", text)
    if definition:
        names["u"] = evaluate(definition[1], x, value, constants)
        text = text[: definition.start()]
    reader = Reader(text, names)
    with np.errstate(over="ignore", invalid="ignore"):
        found = reader.choice()
    assert not reader.tokens, reader.tokens
    return np.broadcast_to(found, x.shape)
