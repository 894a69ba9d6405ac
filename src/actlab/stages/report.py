"""Write the report of all configurations: `python -m actlab.stages.report`."""

from dataclasses import asdict
from pathlib import Path

from actlab.engine.parallel import helper_process
from actlab.schema import Config
from actlab.stages.entry import run


def report(config: Config) -> None:
    """Read results; write figures, tables, Markdown and HTML; publish them to MLflow."""
    from actlab.data.splits import load_processed
    from actlab.reporting import provenance, writing
    from actlab.results import metadata, study
    from actlab.tracking import overview
    from actlab.tracking.publish_study import log_report

    runs, results, reports = map(
        Path, (config.paths.runs, config.paths.results, config.paths.reports)
    )
    loaded = study.load_study(
        config.activations,
        config.networks,
        config.seeds,
        config.training.epochs,
        runs,
        results,
        Path(config.paths.timings),
        has_held_out=config.data.validation_size > 0,
    )
    trained = study.read_activations(loaded, runs)
    activations = metadata.load_trained(trained, results / "activations")
    splits = load_processed(Path(config.paths.processed), asdict(config.data), is_scaled=False)
    facts = provenance.facts(Path.cwd(), config.seeds)
    with helper_process() as helper:
        writing.write_report(loaded, activations, splits, facts, config, helper)
    print(f"The report: {reports / 'report.html'} and {reports / 'report.md'}", flush=True)
    log_report(config, reports)
    overview.log_overview(config)


if __name__ == "__main__":
    run(report)
