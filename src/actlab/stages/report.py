"""Write the report of all configurations: `python -m actlab.stages.report`."""

from dataclasses import asdict
from pathlib import Path

from actlab.engine.interrupts import process_beside
from actlab.schema import Config
from actlab.stages.entry import run


def report(config: Config) -> None:
    """Read results, draw the figures, write tables, Markdown and HTML."""
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
    # Figures are many small objects, of which none has to go before the end.
    with process_beside(["actlab.reporting.report"], collects=False) as beside:
        writing.write_report(loaded, activations, splits, facts, config, beside)
    print(f"The report: {reports / 'report.html'} and {reports / 'report.md'}", flush=True)
    log_report(config, reports)
    overview.log_overview(config)


if __name__ == "__main__":
    run(report)
