"""Compare finished runs of MLflow: `python -m actlab.stages.compare sweep=depth`."""

from pathlib import Path

from actlab.schema import Config
from actlab.stages.entry import run


def compare(config: Config) -> None:
    """Read the runs, write tables, figures and report, show the summary and the answer."""
    from actlab.evidence import comparisons
    from actlab.reporting.writing import print_comparison, write_comparison
    from actlab.tracking import overview, publish_study, registry, runs
    from actlab.tracking.address import warn_on_failure
    from actlab.tracking.reading import find_runs
    from actlab.tracking.store import connect_to_write

    confidence, selected = config.report.confidence, config.compare.filter
    found = find_runs(config.sweep, selected)
    study = runs.gather(found, config.sweep, config.compare.by)
    scores = comparisons.score(study, config.report.target_accuracy)
    folder = Path(config.paths.reports) / publish_study.COMPARED / (config.sweep or "runs")
    compared = write_comparison(study, scores, config, folder, found.unfinished)
    print_comparison(study, compared, confidence, folder)
    keys = [runs.parameter(key) for key in study.keys]
    params = {
        "sweep": config.sweep,
        "compare.filter": selected,
        "compare.by": ",".join(keys),
        "configurations": len(compared.summary),
        "seeds": ",".join(map(str, sorted(study.seeds))),
        "report.confidence": confidence,
    }
    verdicts = comparisons.verdict_tags(compared.comparisons)
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
