"""A study -> the folder of its report: figures, tables, Markdown, HTML, metrics."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from actlab.activations.config import ActivationConfig
from actlab.data.splits import Splits, count_classes
from actlab.engine import csvs
from actlab.engine.files import atomic_write
from actlab.engine.parallel import sharing
from actlab.evidence import claims, comparisons, layer_summaries, predictions, summaries
from actlab.evidence.outcomes import Evidence
from actlab.reporting import activation_figures, charts, drawings, look, report, sections
from actlab.reporting.provenance import Fact
from actlab.reporting.report import Report
from actlab.results import tables
from actlab.results.metadata import Description
from actlab.results.study import Study
from actlab.schema import Config


def write_report(
    study: Study,
    activations: Sequence[Description],
    splits: Splits,
    facts: Sequence[Fact],
    config: Config,
    helper: Executor,
) -> None:
    """Write the folder of the report; each file and folder in it is replaced atomically.

    Parameters
    ----------
    study, activations
        What was measured, and the study's activations in its order.
    splits
        The data, images as grey levels.
    facts
        `provenance.facts`.
    config
        Paths, confidence, margins.
    helper
        Draws half of the figures.
    """
    reports, confidence = Path(config.paths.reports), config.report.confidence
    counts = _write_data(splits, reports / "data")
    with atomic_write(reports / "figures") as pictures:
        drawn = drawings.draw(study, activations, confidence)
        tasks: dict[str, Callable[[], Any]] = {"script": report.bundle_vega}
        tasks |= {
            name: partial(look.plot_and_save, drawing.plot, pictures / name)
            for name, drawing in drawn.items()
        }
        with sharing(tasks, helper) as done:
            labels = splits.test.labels
            study, by_image = predictions.read_predictions(study, Path(config.paths.runs), labels)
            scores = comparisons.score(study, config.report.target_accuracy)
            summary = summaries.summarise(study, scores, confidence)
            compared = comparisons.compare(study, scores, config.report, by_image)
            if differences := drawings.draw_differences(study, compared, confidence):
                drawn["accuracy_differences"] = differences
                look.save_figure(differences.plot(), pictures / "accuracy_differences")
            evidence = Evidence(
                study, scores, compared, activations, config.data.name, config.report
            )
            examined = claims.examine(evidence)
            composed = sections.compose(
                study,
                summary,
                compared,
                drawn,
                config,
                activations=activations,
                class_counts=counts,
                scaling=_describe_scaling(splits, config.data.preprocessing),
                has_pictures=(reports / "data/sample_images.png").is_file(),
                claims=examined,
            )
            composed = replace(composed, facts=tuple(facts))
            shown = {name: drawing.table for name, drawing in drawn.items()}
            interactive = charts.build(study, shown)
            _write_tables(_list_tables(study, scores, confidence) | shown, reports / "tables")
            import_module("mlflow")  # while the helper draws figures
    _write_tables(summaries.plot_tables(study), reports / "plots")
    page = report.render_html(
        composed,
        {picture.path: report.embed(reports / picture.path) for picture in composed.pictures},
        {f"figures/{name}.png": chart for name, chart in interactive.items()},
        charts.list_swatches(study.activations),
        done["script"],
    )
    metrics = json.dumps(summaries.metrics(summary), indent=2, allow_nan=False) + "\n"
    for name, text in (
        ("metrics.json", metrics),
        ("report.md", report.render_markdown(composed)),
        ("report.html", page),
    ):
        with atomic_write(reports / name) as path:
            path.write_text(text, encoding="utf-8")
    for name, table in (
        ("summary", summary),
        ("comparisons", compared),
        ("claims", examined),
        ("theory", layer_summaries.theory_ratios(study, confidence)),
    ):
        with atomic_write(reports / f"{name}.csv") as path:
            csvs.write_frame(table, path)


class Compared(NamedTuple):
    """A comparison of runs: its summary, comparisons, claims (of a sweep none) and report."""

    summary: pd.DataFrame
    comparisons: pd.DataFrame
    claims: pd.DataFrame | None
    report: Report


def write_comparison(
    study: Study,
    scores: pd.DataFrame,
    config: Config,
    folder: Path,
    unfinished: Sequence[str] = (),
    activations: Sequence[ActivationConfig] = (),
) -> Compared:
    """Compare the runs of a sweep, and write the folder of its report, which is replaced.

    Parameters
    ----------
    study, scores
        What was measured, and `comparisons.score` of it.
    config
        Confidence, margins and what else a report names.
    folder
        Of the report.
    unfinished
        Names of runs that were selected and left out.
    activations
        The study's, in its order, where the claims of the teaching notebook are to be decided.
    """
    confidence = config.report.confidence
    summary = summaries.summarise(study, scores, confidence)
    compared = comparisons.compare(study, scores, config.report)
    examined = None
    if activations:
        evidence = Evidence(study, scores, compared, activations, config.data.name, config.report)
        examined = claims.examine(evidence)
    drawn = drawings.draw(study, (), confidence)
    if differences := drawings.draw_differences(study, compared, confidence):
        drawn["accuracy_differences"] = differences
    composed = sections.compose(
        study, summary, compared, drawn, config, unfinished=unfinished, claims=examined
    )
    with atomic_write(folder) as new:
        for name, drawing in drawn.items():
            look.save_figure(drawing.plot(), new / "figures" / name)
            csvs.write_frame(drawing.table, new / "tables" / f"{name}.csv")
        csvs.write_frame(scores, new / "tables/scores.csv")
        if study.is_fair:
            csvs.write_frame(summaries.tabulate_tuning(study), new / "tuning.csv")
        for name, table in (("summary", summary), ("comparisons", compared), ("claims", examined)):
            if table is not None:
                csvs.write_frame(table, new / f"{name}.csv")
        images = {picture.path: report.embed(new / picture.path) for picture in composed.pictures}
        for name, text in (
            ("report.md", report.render_markdown(composed)),
            ("report.html", report.render_html(composed, images)),
        ):
            (new / name).write_text(text, encoding="utf-8")
    return Compared(summary, compared, examined, composed)


def print_comparison(study: Study, found: Compared, confidence: float, folder: Path) -> None:
    """Print the summary and the answer of a comparison, and where its report is."""
    print(sections.render_text(study, found.summary, confidence))
    print()
    for line in [*found.report.conclusion, *found.report.answer]:
        print(line)
    print(f"\nThe report: {folder / 'report.html'} and {folder / 'report.md'}", flush=True)


def _write_data(splits: Splits, folder: Path) -> pd.DataFrame:
    """Write the first training images as a figure and the class counts; give the counts."""
    first = activation_figures.as_pictures(splits.train.images[:10], splits.shape)
    counts = pd.DataFrame(count_classes(splits), columns=list(tables.CLASS_COUNTS))
    with atomic_write(folder) as path:
        csvs.write_frame(counts, path / "class_counts.csv")
        if first is not None:
            figure = activation_figures.plot_sample_images(
                first, splits.train.labels[:10], splits.classes
            )
            look.save_figure(figure, path / "sample_images")
    return counts


def _describe_scaling(splits: Splits, preprocessing: Any) -> str:
    """Say what was done to the values of the images."""
    if preprocessing == "standardize":
        return "each pixel standardized over the training images"
    if preprocessing:
        return "values rescaled (" + ", ".join(f"{k} {v:g}" for k, v in preprocessing.items()) + ")"
    if splits.train.images.dtype != np.uint8:
        return "values as they are"
    if splits.train.images.any() and np.isin(splits.train.images, (0, 255)).all():
        return "values 0 and 1"
    return "colour levels divided by 255" if splits.shape[2:] == (3,) else sections.GREY_LEVELS


def _list_tables(study: Study, scores: pd.DataFrame, confidence: float) -> dict[str, pd.DataFrame]:
    """Compute the tables that no figure shows."""
    return {
        "first_layer_ratios": layer_summaries.first_layer_ratios(study, confidence),
        "layer_factors": layer_summaries.layer_factors(study, confidence),
        "scores": scores,
        "health": layer_summaries.layer_health(study, confidence),
        "dead_units": layer_summaries.dead_units(study, confidence),
        "one_sign_shares": layer_summaries.one_sign_shares(study, confidence),
        "kernel_times": layer_summaries.kernel_times(study, confidence),
        "born_dead": study.born_dead,
        "mean_field": study.mean_field,
    }


def _write_tables(named: Mapping[str, pd.DataFrame], folder: Path) -> None:
    with atomic_write(folder) as path:
        for name, table in named.items():
            csvs.write_frame(table, path / f"{name}.csv")
