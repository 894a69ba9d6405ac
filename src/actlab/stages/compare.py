"""Compare finished runs of MLflow: `python -m actlab.stages.compare sweep=depth`."""

from pathlib import Path

from actlab.config import Config
from actlab.stages.command import run


def compare(config: Config) -> None:
    """Read the runs, write tables, figures and report, show the summary and the answer."""
    from actlab import (
        figures,
        overview,
        registry,
        report,
        swept,
        swept_figures,
        swept_report,
        tables,
        tracking,
    )
    from actlab.outputs import written_whole

    confidence, selected = config.report.confidence, config.compare.filter
    found = tracking.find_runs(config.sweep, selected)
    sweep = swept.gather(found.parents, found.seeds, found.history, config.sweep, config.compare.by)
    scores = swept.score(sweep, config.report.target_accuracy)
    summary = swept.summarise(sweep, scores, confidence)
    compared = swept.compare(sweep, scores, config.report)
    curves = swept.curves(sweep, confidence)
    sensitivity = swept.sensitivity(sweep)
    drawings = swept_figures.draw(sweep, scores, curves, compared, sensitivity, confidence)
    composed = swept_report.compose(
        sweep,
        summary,
        compared,
        sensitivity,
        drawings,
        found.unfinished,
        selected,
        config.report,
    )

    folder = Path(config.paths.reports) / tracking.COMPARED / (config.sweep or "runs")
    with written_whole(folder) as new:
        for name, drawing in drawings.items():
            figures.save_figure(drawing.figure, new / "figures" / name)
            tables.write_frame(drawing.table, new / "tables" / f"{name}.csv")
        tables.write_frame(scores, new / "tables/scores.csv")
        if sweep.is_fair:
            tables.write_frame(sensitivity, new / "tables/tuning.csv")
        tables.write_frame(summary, new / "summary.csv")
        tables.write_frame(compared, new / "comparisons.csv")
        images = {picture.path: report.embed(new / picture.path) for picture in composed.pictures}
        for name, text in (
            ("report.md", report.render_markdown(composed)),
            ("report.html", report.render_html(composed, images)),
        ):
            (new / name).write_text(text, encoding="utf-8")

    print(swept_report.render_text(sweep, summary))
    print()
    for line in composed.answer:
        print(line)
    print(f"\nThe report: {folder / 'report.html'} and {folder / 'report.md'}", flush=True)
    params = {
        "sweep": config.sweep,
        "compare.filter": selected,
        "compare.by": ",".join(sweep.keys),
        "configurations": len(summary),
        "seeds": ",".join(map(str, sweep.seeds)),
        "report.confidence": confidence,
    }
    verdicts = swept_report.verdict_tags(compared)
    tracking.log_comparison(folder, sweep.name, params, verdicts)
    if best := registry.register_best(sweep.name, found):
        print(f"Registered: {best}")
    if config.sweep and (view := overview.save_sweep(config.sweep, sweep.keys)):
        print(f"In the MLflow UI: {view}")


if __name__ == "__main__":
    run(compare)
