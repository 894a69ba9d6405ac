"""A report as blocks of text, tables and pictures, rendered as Markdown and as one HTML page.

`sections.compose` fills it; the templates lay it out and escape every text.
"""

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL.Image import Dither
from PIL.Image import open as open_image

from actlab.reporting.provenance import Fact
from actlab.tracking.notes import TRAINING

#: The page of `make ui` that lists the runs of a fresh store.
MLFLOW = "http://127.0.0.1:5000/#/experiments/1/runs"


@dataclass(frozen=True)
class Text:
    """A paragraph, or a list of points; `data` is the CSV behind it, in the report's folder."""

    kind: ClassVar[str] = "text"
    lines: tuple[str, ...]
    points: bool = False
    data: str | None = None


@dataclass(frozen=True)
class Grid:
    """A table of cells as they are shown; the first `words` columns are text, not numbers.

    `data` is the CSV behind it, in the report's folder; `runs` names the MLflow run of each row,
    where a row has one.
    """

    kind: ClassVar[str] = "grid"
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    data: str | None = None
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A figure, by its path in the report's folder, and the table behind it."""

    kind: ClassVar[str] = "picture"
    path: str
    caption: str
    alt: str
    data: str | None = None


class Cell(NamedTuple):
    """A comparison in a `Matrix`: the verdict on the row, its sign, the difference, all of it."""

    verdict: str
    sign: str
    difference: str
    title: str


@dataclass(frozen=True)
class Matrix:
    """The comparisons of all pairs by one metric: rows minus columns; None on the diagonal."""

    kind: ClassVar[str] = "matrix"
    title: str
    names: tuple[str, ...]
    cells: tuple[tuple[Cell | None, ...], ...]


@dataclass(frozen=True)
class Fold:
    """Details that a reader opens; in Markdown, the CSV that has them."""

    kind: ClassVar[str] = "fold"
    title: str
    block: Grid


Block = Text | Grid | Picture | Matrix | Fold


class Bar(NamedTuple):
    """A row of a `Panel`: mean, low and high in percent of its width; NaN where there is none."""

    name: str
    value: str
    mean: float
    low: float
    high: float
    verdict: str
    title: str


class Panel(NamedTuple):
    """The rows of a setting."""

    title: str
    bars: tuple[Bar, ...]


class Lead(NamedTuple):
    """The figure of the first screen; in Markdown, a figure in the report's folder."""

    caption: str
    panels: tuple[Panel, ...]
    picture: str


@dataclass(frozen=True)
class Section:
    """A heading and the blocks below it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """The fragment that links to it."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


class Claim(NamedTuple):
    """A claim of the teaching notebook, its verdict and the numbers behind the verdict.

    `others` measure the same claim in other ways, and do not count.
    """

    claim: str
    verdict: str
    numbers: str
    others: tuple["Claim", ...] = ()


@dataclass(frozen=True)
class Claims:
    """The table of claims, a sentence above it, and how many there are of each verdict."""

    lead: str
    counts: tuple[tuple[str, int], ...]
    rows: tuple[Claim, ...]


@dataclass(frozen=True)
class Report:
    """The whole report, in order."""

    title: str
    question: str
    conclusion: tuple[str, ...]
    words: str
    lead: Lead | None
    answer: tuple[str, ...]
    claims: Claims | None
    sections: tuple[Section, ...]
    facts: tuple[Fact, ...] = ()

    @property
    def pictures(self) -> list[Picture]:
        """Every picture, in order."""
        return [
            block
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Picture)
        ]


class Image(NamedTuple):
    """An image inside the page: a data URI, and its size in CSS pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Chart:
    """A chart: its Vega-Lite views by title, and the values of each parameter to choose."""

    views: Mapping[str, Any]
    choices: Mapping[str, Sequence[Any]]


def points(lines: Iterable[str], data: str | None = None) -> list[Text]:
    """Make a list of sentences, empty where there are none."""
    lines = tuple(lines)
    return [Text(lines, points=True, data=data)] if lines else []


def render_markdown(report: Report) -> str:
    """Write the report as Markdown that links its figures by their paths."""
    return _environment().get_template("report.md.jinja").render(report=report)


def render_html(
    report: Report,
    images: Mapping[str, Image],
    charts: Mapping[str, Chart] | None = None,
    swatches: Sequence[Mapping[str, Any]] = (),
    script: str = "",
) -> str:
    """Write the report as one offline HTML page.

    Parameters
    ----------
    report
        The text.
    images
        The image of each `Picture.path`.
    charts
        The charts that replace some images where scripts run, by the same paths.
    swatches
        `charts.list_swatches`: the activations that a reader may hide.
    script
        `bundle_vega`.
    """
    template = _environment().get_template("report.html.jinja")
    return template.render(
        report=report, images=images, charts=charts or {}, swatches=swatches, script=script
    )


@cache
def bundle_vega() -> str:
    """Give the script of Vega, Vega-Lite and vega-embed, which offers `vegaEmbed` to the page."""
    import vl_convert

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", r"<\/script")


def embed(png: Path) -> Image:
    """Read a figure of 150 dpi for `render_html`, in 256 colours: a third of its file."""
    reduced = io.BytesIO()
    with open_image(png) as picture:
        width, height = picture.size
        drawn = picture.convert("RGB").quantize(256, dither=Dither.NONE)
        drawn.save(reduced, "PNG", optimize=True)
    text = base64.b64encode(reduced.getvalue()).decode()
    return Image(f"data:image/png;base64,{text}", round(width * 0.64), round(height * 0.64))


def markdown(text: str) -> str:
    r"""Escape what Markdown would take for markup, in a paragraph or a cell of a table.

    >>> print(markdown("<b> | leaky_relu *x*"))
    \<b\> \| leaky_relu \*x\*
    """
    escaped = re.sub(r"([\\`*\[\]<>|#&$~])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", escaped)


def tied(text: str) -> str:
    r"""Keep a number on one line with its power of ten and its percent sign.

    >>> tied("1.8 × 10⁻⁵ of 95 %")
    '1.8\xa0×\xa010⁻⁵ of 95\xa0%'
    """
    return text.replace(" × ", "\u00a0×\u00a0").replace(" %", "\u00a0%")


def run_link(name: str) -> str:
    """Give the address of a run in the page that `make ui` opens, by its name.

    >>> run_link("relu/mlp").removeprefix(MLFLOW)
    '?searchFilter=attributes.run_name%20%3D%20%27relu%2Fmlp%27&workflowType=machine_learning'
    """
    asked = quote(f"attributes.run_name = '{name}'", safe="")
    return f"{MLFLOW}?searchFilter={asked}&{TRAINING}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("actlab.reporting"),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Views and activations come in their order.
    environment.policies["json.dumps_kwargs"] = {"default": vars, "sort_keys": False}
    environment.filters["md"] = markdown
    environment.filters["tied"] = tied
    environment.filters["run"] = run_link
    return environment
