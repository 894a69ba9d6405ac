"""Write the report of all configurations: `python -m actlab.stages.report`."""

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from actlab.config import Config
from actlab.stages.command import run
from actlab.stages.interrupts import process_beside


def report(config: Config) -> None:
    """Read results, draw the figures, write tables, Markdown and HTML."""
    # Figures are many small objects, of which none has to go before the end.
    with process_beside(["actlab.report"], collects=False) as beside:
        write_report(config, beside)


def write_report(config: Config, beside: Executor) -> None:
    """Do so, half of the figures in the process beside."""
    from actlab import (
        charts,
        claims,
        comparisons,
        descriptions,
        figures,
        overview,
        provenance,
        report,
        tables,
        tracking,
    )
    from actlab.beside import begun_beside
    from actlab.datasets import load_labels
    from actlab.outputs import written_whole

    reports, confidence = Path(config.paths.reports), config.report.confidence
    results, timings = Path(config.paths.results), Path(config.paths.timings)
    study = tables.read_study(
        config.activations,
        config.networks,
        config.seeds,
        config.training.epochs,
        results,
        timings,
    )
    trained = tables.read_activations(study, Path(config.paths.models))
    activations = descriptions.load_trained(trained, results / "activations")
    with written_whole(reports / "figures") as pictures:
        drawings = report.draw(study, activations, confidence)
        tasks: dict[str, Callable[[], Any]] = {"script": charts.vega}
        tasks |= {
            name: partial(figures.plot_and_save, drawing.plot, pictures / name)
            for name, drawing in drawings.items()
        }
        with begun_beside(tasks, beside) as done:
            counts = tables.read_table(reports / "data/class_counts.csv", tables.CLASS_COUNTS)
            summary = tables.summarise(study, confidence)
            labels = load_labels(Path(config.paths.processed), "test")
            right, losses, calibration = comparisons.read_by_image(study, results, labels)
            blocks = tables.read_table(timings / "blocks.csv", tables.BLOCKS)
            scores = comparisons.score(study, calibration, blocks, config.report.target_accuracy)
            compared = comparisons.compare(study, scores, right, losses, config.report)
            if differences := report.draw_differences(study, compared, confidence):
                drawings["accuracy_differences"] = differences
                figures.save_figure(differences.plot(), pictures / "accuracy_differences")
            evidence = claims.Evidence(
                study, scores, compared, activations, config.data.name, config.report
            )
            examined = claims.examine(evidence)
            composed = report.compose(
                study, activations, counts, blocks, scores, compared, examined, config
            )
            facts = provenance.facts(Path.cwd(), config.seeds)
            composed = dataclasses.replace(composed, facts=tuple(facts))
            interactive = charts.build(study, {name: each.table for name, each in drawings.items()})
            with written_whole(reports / "tables") as folder:
                for name, drawing in drawings.items():
                    tables.write_frame(drawing.table, folder / f"{name}.csv")
                for name, table in (
                    ("first_layer_ratios", tables.first_layer_ratios(study, confidence)),
                    ("layer_factors", tables.layer_factors(study, confidence)),
                    ("scores", scores),
                    ("health", tables.layer_health(study, confidence)),
                    ("dead_units", tables.dead_units(study, confidence)),
                    ("one_sign_shares", tables.one_sign_shares(study, confidence)),
                    ("kernel_times", tables.kernel_times(study, confidence)),
                    ("matched_changes", tables.matched_changes(study, confidence)),
                    ("moments", study.moments),
                    ("born_dead", study.born_dead),
                ):
                    tables.write_frame(table, folder / f"{name}.csv")
                tables.write_frame(study.mean_field, folder / "mean_field.csv")
            import_module("mlflow")  # while figures are drawn beside
    with written_whole(reports / "plots") as folder:
        for name, table in tables.plot_tables(study).items():
            tables.write_frame(table, folder / f"{name}.csv")
    images = {picture.path: report.embed(reports / picture.path) for picture in composed.pictures}
    page = report.render_html(
        composed,
        images,
        {f"figures/{name}.png": chart for name, chart in interactive.items()},
        study.activations,
        done["script"],
    )
    metrics = json.dumps(tables.metrics(summary), indent=2, allow_nan=False) + "\n"
    for name, text in (
        ("metrics.json", metrics),
        ("report.md", report.render_markdown(composed)),
        ("report.html", page),
    ):
        with written_whole(reports / name) as path:
            path.write_text(text, encoding="utf-8")
    for name, table in (
        ("summary", summary),
        ("comparisons", compared),
        ("claims", examined),
        ("theory", tables.theory_ratios(study, confidence)),
    ):
        with written_whole(reports / f"{name}.csv") as path:
            tables.write_frame(table, path)

    print(f"The report: {reports / 'report.html'} and {reports / 'report.md'}", flush=True)
    tracking.log_report(config, reports)
    overview.log_overview(config)


if __name__ == "__main__":
    run(report)
