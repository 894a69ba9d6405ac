"""How numbers and lists are written in sentences, tables and on a terminal."""

import math
from collections.abc import Iterable, Sequence


def percent(fraction: float) -> str:
    """Write a fraction in percent.

    >>> percent(0.97954), percent(math.nan)
    ('97.95 %', 'n/a')
    """
    return f"{100 * fraction:.2f} %" if math.isfinite(fraction) else "n/a"


def fixed(value: float, places: int) -> str:
    """Write with so many decimals; what is beyond any scale (a loss can be) with three digits.

    >>> fixed(0.07654, 4), fixed(-1.5, 1), fixed(1.2e31, 4), fixed(math.nan, 4)
    ('0.0765', '−1.5', '1.20e+31', 'n/a')
    """
    if not math.isfinite(value):
        return "n/a"
    return (f"{value:.{places}f}" if abs(value) < 1e6 else f"{value:.2e}").replace("-", "−", 1)


def in_points(difference: float) -> str:
    """Write a difference of two fractions in points: two decimals, or the first digit that counts.

    >>> in_points(-0.00124), in_points(0.0304), in_points(0.00001), in_points(0.0)
    ('−0.12', '3.04', '0.001', '0.00')
    """
    if not math.isfinite(difference):
        return "n/a"
    points = 100 * difference
    small = 0 < abs(points) < 0.005
    return (f"{points:.1g}" if small else f"{points:.2f}").replace("-", "−")


def join(parts: Iterable[str]) -> str:
    """Join as in a sentence.

    >>> join(["sigmoid", "tanh", "relu"])
    'sigmoid, tanh and relu'
    """
    *before, last = parts
    return f"{', '.join(before)} and {last}" if before else last


def counted(count: int, noun: str) -> str:
    """Write how many, with the noun's plural.

    >>> counted(1, "seed"), counted(60000, "image"), counted(2, "process")
    ('1 seed', '60,000 images', '2 processes')
    """
    ending = "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}" + ("" if count == 1 else ending)


def capitalise(text: str) -> str:
    """Begin with a capital letter.

    >>> capitalise("on mlp"), capitalise("")
    ('On mlp', '')
    """
    return text[:1].upper() + text[1:]


def written(value: float, digits: int = 2) -> str:
    """Write a number of any size with that many significant digits.

    >>> written(0.0123), written(1.26e-6), written(1234.0), written(0.0), written(math.nan)
    ('0.012', '1.3 × 10⁻⁶', '1,234', '0', 'n/a')
    >>> written(0.9999, 3)
    '1.00'
    """
    if not math.isfinite(value):
        return "n/a"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        superscripts = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
        return f"{mantissa} × 10{str(int(power)).translate(superscripts)}".replace("-", "−")
    # The power of ten of the rounded number: 0.9999 with two digits is 1.0.
    places = max(0, digits - 1 - int(f"{value:.{digits - 1}e}".split("e")[1]))
    return f"{value:,.{places}f}".replace("-", "−")


def unbounded(value: float) -> str:
    """Write a number with three digits; infinity has its sign.

    >>> unbounded(math.inf), unbounded(0.25)
    ('∞', '0.250')
    """
    return "∞" if value == math.inf else written(value, 3)


def abridge(values: Sequence[str], most: int = 12) -> list[str]:
    """Leave out values but the last, where there are many.

    >>> abridge(["0", "1", "2", "3"], most=3)
    ['0', '…', '3']
    """
    if len(values) <= most:
        return list(values)
    return [*values[: most - 2], "…", values[-1]]
