"""Compare finished runs of MLflow: `python -m actlab.stages.compare sweep=depth`."""

from pathlib import Path

from actlab.schema import Config
from actlab.stages.entry import run


def compare(config: Config) -> None:
    """Read the runs, write tables, figures and report, show the summary and the answer."""
    from actlab.engine import csvs
    from actlab.engine.files import atomic_write
    from actlab.evidence import comparisons, summaries
    from actlab.reporting import drawings, look, report, sections
    from actlab.tracking import overview, publish_study, registry, runs
    from actlab.tracking.address import warn_on_failure
    from actlab.tracking.reading import find_runs
    from actlab.tracking.store import connect_to_write

    confidence, selected = config.report.confidence, config.compare.filter
    found = find_runs(config.sweep, selected)
    study = runs.gather(found, config.sweep, config.compare.by)
    scores = comparisons.score(study, config.report.target_accuracy)
    summary = summaries.summarise(study, scores, confidence)
    compared = comparisons.compare(study, scores, config.report)
    drawn = drawings.draw(study, (), confidence)
    if differences := drawings.draw_differences(study, compared, confidence):
        drawn["accuracy_differences"] = differences
    composed = sections.compose(
        study, summary, compared, drawn, config, unfinished=found.unfinished
    )

    folder = Path(config.paths.reports) / publish_study.COMPARED / (config.sweep or "runs")
    with atomic_write(folder) as new:
        for name, drawing in drawn.items():
            look.save_figure(drawing.plot(), new / "figures" / name)
            csvs.write_frame(drawing.table, new / "tables" / f"{name}.csv")
        csvs.write_frame(scores, new / "tables/scores.csv")
        if study.is_fair:
            csvs.write_frame(summaries.tabulate_tuning(study), new / "tuning.csv")
        csvs.write_frame(summary, new / "summary.csv")
        csvs.write_frame(compared, new / "comparisons.csv")
        images = {picture.path: report.embed(new / picture.path) for picture in composed.pictures}
        for name, text in (
            ("report.md", report.render_markdown(composed)),
            ("report.html", report.render_html(composed, images)),
        ):
            (new / name).write_text(text, encoding="utf-8")

    print(sections.render_text(study, summary, confidence))
    print()
    for line in composed.answer:
        print(line)
    print(f"\nThe report: {folder / 'report.html'} and {folder / 'report.md'}", flush=True)
    keys = [runs.parameter(key) for key in study.keys]
    params = {
        "sweep": config.sweep,
        "compare.filter": selected,
        "compare.by": ",".join(keys),
        "configurations": len(summary),
        "seeds": ",".join(map(str, sorted(study.seeds))),
        "report.confidence": confidence,
    }
    verdicts = comparisons.verdict_tags(compared)
    with warn_on_failure("the comparison is not logged", advice=False):
        store = connect_to_write()
        publish_study.write_comparison(store, folder, study.name, params, verdicts)
        if best := registry.register_best(store, study.name, found):
            print(f"Registered: {best}")
        shown = found.launch.name() if found.launch else config.sweep
        if shown and (view := overview.save_sweep(store, shown, keys)):
            print(f"In the MLflow UI: {view}")


if __name__ == "__main__":
    run(compare)
