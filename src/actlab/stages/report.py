"""Write the report of all configurations: `python -m actlab.stages.report`."""

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from actlab.engine.command import run
from actlab.engine.interrupts import process_beside
from actlab.stages.schema import Config


def report(config: Config) -> None:
    """Read results, draw the figures, write tables, Markdown and HTML."""
    # Figures are many small objects, of which none has to go before the end.
    with process_beside(["actlab.reporting.report"], collects=False) as beside:
        write_report(config, beside)


def write_report(config: Config, beside: Executor) -> None:
    """Do so, half of the figures in the process beside."""
    from actlab.data.datasets import load_labels
    from actlab.engine.files import atomic_write
    from actlab.engine.parallel import begun_beside
    from actlab.evidence import claims, comparisons, summaries
    from actlab.probes import metadata
    from actlab.reporting import charts, drawings, look, provenance, report, sections
    from actlab.results import study, tables
    from actlab.tracking.tracking import overview, publish_study

    reports, confidence = Path(config.paths.reports), config.report.confidence
    results, timings = Path(config.paths.results), Path(config.paths.timings)
    loaded = study.load_study(
        config.activations,
        config.networks,
        config.seeds,
        config.training.epochs,
        results,
        timings,
        has_held_out=config.data.validation_size > 0,
    )
    trained = study.read_activations(loaded, Path(config.paths.models))
    activations = metadata.load_trained(trained, results / "activations")
    with atomic_write(reports / "figures") as pictures:
        drawn = drawings.draw(loaded, activations, confidence)
        tasks: dict[str, Callable[[], Any]] = {"script": charts.vega}
        tasks |= {
            name: partial(look.plot_and_save, drawing.plot, pictures / name)
            for name, drawing in drawn.items()
        }
        with begun_beside(tasks, beside) as done:
            counts = tables.read_table(reports / "data/class_counts.csv", tables.CLASS_COUNTS)
            labels = load_labels(Path(config.paths.processed), "test")
            loaded, by_image = comparisons.read_predictions(loaded, results, labels)
            scores = comparisons.score(loaded, config.report.target_accuracy)
            summary = summaries.summarise(loaded, scores, confidence)
            compared = comparisons.compare(loaded, scores, config.report, by_image, thorough=True)
            if differences := drawings.draw_differences(loaded, compared, confidence):
                drawn["accuracy_differences"] = differences
                look.save_figure(differences.plot(), pictures / "accuracy_differences")
            evidence = claims.Evidence(
                loaded, scores, compared, activations, config.data.name, config.report
            )
            examined = claims.examine(evidence)
            composed = sections.compose(
                loaded,
                summary,
                scores,
                compared,
                drawn,
                config,
                activations=activations,
                class_counts=counts,
                claims=examined,
            )
            facts = provenance.facts(Path.cwd(), config.seeds)
            composed = dataclasses.replace(composed, facts=tuple(facts))
            interactive = charts.build(loaded, {name: each.table for name, each in drawn.items()})
            with atomic_write(reports / "tables") as folder:
                for name, drawing in drawn.items():
                    tables.write_frame(drawing.table, folder / f"{name}.csv")
                for name, table in (
                    ("first_layer_ratios", summaries.first_layer_ratios(loaded, confidence)),
                    ("layer_factors", summaries.layer_factors(loaded, confidence)),
                    ("scores", scores),
                    ("health", summaries.layer_health(loaded, confidence)),
                    ("dead_units", summaries.dead_units(loaded, confidence)),
                    ("one_sign_shares", summaries.one_sign_shares(loaded, confidence)),
                    ("kernel_times", summaries.kernel_times(loaded, confidence)),
                    ("matched_changes", summaries.matched_changes(loaded, confidence)),
                    ("moments", loaded.moments),
                    ("born_dead", loaded.born_dead),
                    ("mean_field", loaded.mean_field),
                ):
                    tables.write_frame(table, folder / f"{name}.csv")
            import_module("mlflow")  # while figures are drawn beside
    with atomic_write(reports / "plots") as folder:
        for name, table in summaries.plot_tables(loaded).items():
            tables.write_frame(table, folder / f"{name}.csv")
    images = {picture.path: report.embed(reports / picture.path) for picture in composed.pictures}
    page = report.render_html(
        composed,
        images,
        {f"figures/{name}.png": chart for name, chart in interactive.items()},
        loaded.activations,
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
        ("theory", summaries.theory_ratios(loaded, confidence)),
    ):
        with atomic_write(reports / f"{name}.csv") as path:
            tables.write_frame(table, path)

    print(f"The report: {reports / 'report.html'} and {reports / 'report.md'}", flush=True)
    publish_study.log_report(config, reports)
    overview.log_overview(config)


if __name__ == "__main__":
    run(report)
