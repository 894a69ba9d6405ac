"""Write the report of all configurations: `python -m actlab.stages.report`."""

import json
from pathlib import Path

from actlab.config import Config
from actlab.stages.command import run


def report(config: Config) -> None:
    """Read results, draw the figures, write tables, Markdown and HTML, show the results."""
    from actlab import figures, report, tables, tracking
    from actlab.outputs import written_whole

    reports, confidence = Path(config.paths.reports), config.report.confidence
    study = tables.read_study(
        config.activations,
        config.networks,
        config.seeds,
        config.training.epochs,
        Path(config.paths.results),
        Path(config.paths.timings),
    )
    activations = tables.read_activations(study, Path(config.paths.models))
    counts = tables.read_table(reports / "data/class_counts.csv", tables.CLASS_COUNTS)
    summary = tables.summarise(study, confidence)
    composed = report.compose(study, activations, counts, config)
    drawings = report.draw(study, activations, confidence)

    with written_whole(reports / "figures") as folder:
        for name, drawing in drawings.items():
            figures.save_figure(drawing.figure, folder / name)
    with written_whole(reports / "tables") as folder:
        for name, drawing in drawings.items():
            tables.write_frame(drawing.table, folder / f"{name}.csv")
        for name, tabulate in (
            ("accuracy_differences", tables.accuracy_differences),
            ("first_layer_ratios", tables.first_layer_ratios),
            ("layer_factors", tables.layer_factors),
            ("health", tables.layer_health),
            ("dead_units", tables.dead_units),
            ("one_sign_shares", tables.one_sign_shares),
        ):
            tables.write_frame(tabulate(study, confidence), folder / f"{name}.csv")
    with written_whole(reports / "plots") as folder:
        for name, table in tables.plot_tables(study).items():
            tables.write_frame(table, folder / f"{name}.csv")
    images = {picture.path: report.embed(reports / picture.path) for picture in composed.pictures}
    metrics = json.dumps(tables.metrics(summary), indent=2, allow_nan=False) + "\n"
    for name, text in (
        ("metrics.json", metrics),
        ("report.md", report.render_markdown(composed)),
        ("report.html", report.render_html(composed, images)),
    ):
        with written_whole(reports / name) as path:
            path.write_text(text, encoding="utf-8")
    with written_whole(reports / "summary.csv") as path:
        tables.write_frame(summary, path)

    print(report.render_text(study, confidence))
    print(f"\nThe report: {reports / 'report.html'} and {reports / 'report.md'}", flush=True)
    tracking.log_report(config, reports)


if __name__ == "__main__":
    run(report)
