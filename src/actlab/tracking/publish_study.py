"""Results of a whole study -> MLflow: gradients, the report, comparisons of finished runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from actlab.engine.csvs import where
from actlab.results.layout import RunFolder
from actlab.results.tables import CLAIMS, HEALTH, read_table
from actlab.schema import Config
from actlab.tracking.address import warn_on_failure
from actlab.tracking.publish import find_training
from actlab.tracking.publisher import to_metrics
from actlab.tracking.store import Store, connect_to_write, sha256

if TYPE_CHECKING:
    from mlflow.entities import Run
else:  # importing mlflow takes seconds
    Run = Any

#: The folder of reports/ for comparisons of runs, which are no part of the report.
COMPARED = "compare"


# --- Gradients ----------------------------------------------------------------------------


def log_gradients(config: Config, table: pd.DataFrame) -> None:
    """Log the table `tables.GRADIENTS` to the runs of the trainings that it was measured on.

    A seed's run gets metrics such as `gradient/notebook/mean_abs/hidden_1` and
    `health/dead_fraction/hidden_1`, the epoch as their step; the parent gets their means over
    seeds, which end in `_mean`.

    Raises
    ------
    UserError
        When a training's folder of models is not complete.
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
    if (found := find_training(store, folder, config)) is None:
        return None
    parent, seeds = found
    rows = where(table, activation=activation, network=network)
    mark = {"actlab.gradients_sha256": sha256(rows.to_csv(index=False).encode())}
    if parent.data.tags.items() >= mark.items():
        return False
    kind = np.where(rows["statistic"].isin(HEALTH), "health", "gradient/" + rows["probe"])
    rows = rows.assign(metric=kind + "/" + rows["statistic"] + "/" + rows["layer"])
    rows = rows.rename(columns={"epoch": "step"})
    values = rows[["metric", "step", "value"]].assign(metric=rows["metric"] + "_mean")
    means: Any = values.groupby(["metric", "step"], sort=False, as_index=False).mean()
    tables = [(run, where(rows, seed=seed)) for seed, run in seeds.items()]
    for run, values in [*tables, (parent, means)]:
        # The time at which the run ended: written twice, a metric is there once.
        metrics = to_metrics(values.assign(time=run.info.end_time))
        store.write(run.info.run_id, metrics)
        store.write(run.info.run_id, tags=mark)
    return True


# --- The report ---------------------------------------------------------------------------


def find_report(store: Store, reports: Path) -> Run | None:
    """Find the run of the report that a folder holds."""
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
    """Write the report's run; return False when MLflow has that report already."""
    if find_report(store, reports):
        return False
    claims = read_table(reports / "claims.csv", CLAIMS)
    verdicts = {
        f"{'claim' if row['role'] == 'primary' else row['role']}.{row['name']}": row["verdict"]
        for row in claims.to_dict("records")
    }
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
    """Create a run for the block: FINISHED after it, FAILED by an error, KILLED by an interrupt."""
    run = store.create_run(name, tags)
    try:
        yield run
    except BaseException as error:
        with suppress(Exception):  # the first failure is the one to report
            failed = isinstance(error, Exception)
            store.client.set_terminated(run, "FAILED" if failed else "KILLED")
        raise
    store.client.set_terminated(run, "FINISHED")


# --- Comparisons of finished runs ---------------------------------------------------------


def write_comparison(
    store: Store,
    folder: Path,
    sweep: str,
    params: Mapping[str, object],
    verdicts: Mapping[str, str],
) -> None:
    """Write the folder of a comparison as a run, unless MLflow has that comparison.

    Parameters
    ----------
    store
        Is written to.
    folder
        Holds report.md, summary.csv and comparisons.csv, whose digest identifies the comparison.
    sweep
        The sweep's name; empty for runs that were selected in another way.
    params
        How the runs were selected and compared.
    verdicts
        By the names of their tags.
    """
    files = ("report.md", "summary.csv", "comparisons.csv")
    digest = sha256(*((folder / name).read_bytes() for name in files))
    tags = {"actlab.kind": "comparison", "actlab.comparison_sha256": digest}
    if store.search("FINISHED", tags):
        return
    tags["actlab.source"] = "sweep"
    with _created_run(store, f"comparison {sweep or 'runs'}", tags) as run:
        store.write(run, params=params)
        marks = list(verdicts.items())
        for start in range(0, len(marks), 100):  # MLflow takes 100 tags per call
            store.write(run, tags=dict(marks[start : start + 100]))
        store.client.log_artifacts(run, str(folder))
