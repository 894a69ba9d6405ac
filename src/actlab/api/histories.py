"""The learning curves of any trainings, as one table."""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from actlab.api.fitting import Fit
from actlab.errors import UserError
from actlab.results.layout import RunFolder
from actlab.results.study import parameters


def curves(source: Fit | str | Path | None = None, *, sweep: str | None = None) -> pd.DataFrame:
    """Tabulate every epoch of every seed of some trainings.

    Parameters
    ----------
    source
        Result of `fit`; or a folder: the repository (whose `runs/` are the pipeline's), one run,
        or any folder of runs, such as `multirun/`. By default the finished runs in MLflow, at
        `MLFLOW_TRACKING_URI` or in `mlflow.db` of the current folder.
    sweep
        The name of a sweep, of whose latest launch the runs are read from MLflow.

    Returns
    -------
    pd.DataFrame
        One row per configuration, seed and epoch: activation, network; a column for each other key
        of the configuration in which the trainings differ, such as optimizer.learning_rate; seed,
        epoch (from 1), loss (nats), accuracy (a fraction), val_loss, val_accuracy, epoch_seconds
        (NaN from MLflow). Where a configuration was trained twice, each seed's newest training.

    Raises
    ------
    UserError
        If there is no training, MLflow is not installed, or its store does not answer.
    """
    if isinstance(source, Fit):
        return source.history.copy()
    # Lazily: a notebook needs neither MLflow nor what reads it.
    from actlab.tracking.reading import FoundRuns, find_runs
    from actlab.tracking.runs import tabulate_curves

    if source is None:
        if find_spec("mlflow") is None:
            raise UserError(
                "MLflow, from which a sweep is read, is not installed: `pip install .[pipeline]`"
                ' adds it, or give a folder of runs: actlab.curves("multirun")'
            )
        return tabulate_curves(find_runs(sweep, "")).assign(epoch_seconds=float("nan"))
    if sweep is not None or not isinstance(source, str | Path):
        raise UserError(
            'curves takes the result of actlab.fit, or a folder of runs, or sweep="..." alone'
        )
    runs = _find_runs(Path(source).expanduser())
    parents = [
        {"run": str(run.path), "phase": "", "code": ""}
        | {key: str(value) for key, value in parameters(run.read_sections()).items()}
        for run in runs
    ]
    tables = [
        run.read_table("history")
        .merge(run.read_table("timings")[["seed", "epoch", "epoch_seconds"]])
        .assign(parent=str(run.path))
        for run in runs
    ]
    history = pd.concat(tables, ignore_index=True)
    seeds = history.loc[:, ["parent", "seed"]].drop_duplicates()
    return tabulate_curves(FoundRuns(pd.DataFrame(parents), seeds, history))


def _find_runs(folder: Path) -> list[RunFolder]:
    """Find the runs in a folder, the oldest first; those of the repository are in its `runs/`."""
    folder = folder / "runs" if (folder / "runs").is_dir() else folder
    runs = [RunFolder(path.parents[1]) for path in folder.rglob("models/training.json")]
    if not runs:
        raise UserError(
            f"{folder} holds no run: `dvc repro` writes them to runs/, sweeps to multirun/"
        )
    return sorted(runs, key=lambda run: (run.record.stat().st_mtime_ns, str(run.path)))
