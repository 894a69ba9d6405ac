"""What a whole study gives -> MLflow: gradients, the report, comparisons of finished runs."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from actlab.engine.csvs import where
from actlab.results.layout import RunFolder
from actlab.results.tables import CLAIMS, HEALTH, read_table
from actlab.schema import Config
from actlab.tracking.store import Store, connect_to_write, sha256, warn_on_failure

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
else:  # importing mlflow takes seconds
    Metric = Run = Any

#: The folder of reports/ that holds comparisons of runs, which are no part of the report.
COMPARED = "compare"


# --- Gradients ----------------------------------------------------------------------------


def log_gradients(config: Config, table: pd.DataFrame) -> None:
    """Log the table `tables.GRADIENTS` to the runs of the trainings that it was measured on.

    A seed's run gets metrics such as `gradient/notebook/mean_abs/hidden_1`, the epoch as their
    step; the parent gets their means over seeds, `gradient/notebook/mean_abs/hidden_1_mean`.
    The health of a layer on held-out images is `health/dead_fraction/hidden_1`.
    Measured again on other images they stand next to the older ones: MLflow shows the newest.

    Raises
    ------
    UserError
        When a training's folder of models is not whole.
    """
    with warn_on_failure("the gradients are not logged"):
        store = connect_to_write()
        without_run = [
            f"{activation}/{network}"
            for activation, network in product(config.activations, config.networks)
            if write_gradients(store, config, activation, network, table) is None
        ]
        if without_run:
            tqdm.write(
                f"MLflow has no finished run of {', '.join(without_run)}: their gradients are not"
                " logged; run `python -m actlab.stages.sync`"
            )


def write_gradients(
    store: Store, config: Config, activation: str, network: str, table: pd.DataFrame
) -> bool | None:
    """Write a configuration's rows; False when MLflow has them, None when it has no such run."""
    folder = RunFolder.finished(config.paths.runs, activation, network)
    trained = folder.read_config(config)
    found = store.find_configuration(trained, folder.find_weights(trained))
    if found is None:
        return None
    parent, seeds = found
    rows = where(table, activation=activation, network=network)
    mark = {"actlab.gradients_sha256": sha256(rows.to_csv(index=False).encode())}
    if parent.data.tags.items() >= mark.items():
        return False
    for seed, run in seeds.items():
        if not run.data.tags.items() >= mark.items():  # cut short before
            store.write(run.info.run_id, _gradient_metrics(run, where(rows, seed=seed)))
            store.write(run.info.run_id, tags=mark)
    store.write(parent.info.run_id, _gradient_metrics(parent, rows, "_mean"))
    store.write(parent.info.run_id, tags=mark)
    return True


def _gradient_metrics(run: Run, rows: pd.DataFrame, suffix: str = "") -> list[Metric]:
    """Give the metrics of a run from rows of gradients, their mean where there are several seeds.

    They bear the time at which the run ended: written twice, they are there once.
    """
    from mlflow.entities import Metric

    values: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows.to_dict("records"):
        kind = "health" if row["statistic"] in HEALTH else f"gradient/{row['probe']}"
        name = f"{kind}/{row['statistic']}/{row['layer']}{suffix}"
        values[name, row["epoch"]].append(row["value"])
    ended = run.info.end_time or 0
    return [Metric(name, fmean(seeds), ended, epoch) for (name, epoch), seeds in values.items()]


# --- The report ---------------------------------------------------------------------------


def find_report(store: Store, reports: Path) -> Run | None:
    """Give the run of the report that a folder holds."""
    try:
        tags = _report_tags(reports)
    except FileNotFoundError:
        return None
    return next(iter(store.search("FINISHED", tags, at_most=1)), None)


def _report_tags(reports: Path) -> dict[str, str]:
    digest = sha256(*((reports / name).read_bytes() for name in ("summary.csv", "report.md")))
    return {"actlab.kind": "report", "actlab.report_sha256": digest}


def log_report(config: Config, reports: Path) -> None:
    """Log the folder of the report as a run named report, unless MLflow has that report."""
    with warn_on_failure("the report is not logged"):
        write_report(connect_to_write(), config, reports)


def write_report(store: Store, config: Config, reports: Path) -> bool:
    """Write the report's run; False when MLflow has that report already."""
    if find_report(store, reports):
        return False
    claims = read_table(reports / "claims.csv", CLAIMS)
    verdicts = {f"claim.{row['name']}": row["verdict"] for row in claims.to_dict("records")}
    listed = {name: getattr(config, name) for name in ("activations", "networks", "seeds")}
    params = {name: ",".join(map(str, values)) for name, values in listed.items()}
    params["report.confidence"] = str(config.report.confidence)
    with _created_run(store, "report", _report_tags(reports) | {"actlab.source": "dvc"}) as run:
        store.write(run, params=params, tags=verdicts)
        for path in sorted(reports.iterdir()):
            if path.is_dir() and path.name != COMPARED:
                store.client.log_artifacts(run, str(path), path.name)
            elif path.is_file():
                store.client.log_artifact(run, str(path))
    return True


@contextmanager
def _created_run(store: Store, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """Give the id of a new run, which ends with the block.

    FINISHED, or FAILED where it raises, KILLED by an interrupt.
    """
    run = store.create_run(name, tags)
    try:
        yield run
    except BaseException as error:
        with suppress(Exception):  # what failed first is what is told
            failed = isinstance(error, Exception)
            store.client.set_terminated(run, "FAILED" if failed else "KILLED")
        raise
    store.client.set_terminated(run, "FINISHED")


# --- Comparisons of finished runs ---------------------------------------------------------


def log_comparison(
    folder: Path, sweep: str, params: Mapping[str, object], verdicts: Mapping[str, str]
) -> None:
    """Log the folder of a comparison as a run, unless MLflow has that comparison.

    Parameters
    ----------
    folder
        Holds report.md, summary.csv and comparisons.csv, by which it is known again.
    sweep
        Its name, which the run bears; empty for runs that were selected in another way.
    params
        What was selected, and how it is spoken of.
    verdicts
        By the names of their tags; MLflow takes up to a hundred at once.
    """
    with warn_on_failure("the comparison is not logged", advice=False):
        store = connect_to_write()
        files = ("report.md", "summary.csv", "comparisons.csv")
        digest = sha256(*((folder / name).read_bytes() for name in files))
        tags = {"actlab.kind": "comparison", "actlab.comparison_sha256": digest}
        if store.search("FINISHED", tags):
            return
        tags["actlab.source"] = "sweep"
        with _created_run(store, f"comparison {sweep or 'runs'}", tags) as run:
            store.write(run, params=params)
            marks = list(verdicts.items())
            for start in range(0, len(marks), 100):
                store.write(run, tags=dict(marks[start : start + 100]))
            store.client.log_artifacts(run, str(folder))
