"""Compare the configurations of a sweep: `python -m digits.compare sweep=digits`."""

from pathlib import Path

import pandas as pd

from actlab.engine import command, csvs
from actlab.errors import UserError
from actlab.evidence import comparisons
from actlab.results.study import Study
from actlab.tracking.store import connect
from digits.measure import PROJECT, Config

KEYS = ["classifier", "images"]


def compare(config: Config) -> None:
    """Read the seeds from MLflow; print and write differences, intervals and verdicts."""
    store = connect()
    swept = {"actlab.kind": "configuration", f"sweep.{config.sweep}": "yes"}
    parents = {run.info.run_id: run.data.params for run in store.search("FINISHED", swept)}
    rows = [
        {**parents[parent], "seed": int(run.data.params["seed"]), "value": accuracy}
        for run in store.search("FINISHED", {"actlab.kind": "seed"})
        for parent, accuracy in [
            (run.data.tags["mlflow.parentRunId"], run.data.metrics["test_accuracy"])
        ]
        if parent in parents
    ]
    if not rows:
        raise UserError(f"MLflow has no finished run of sweep={config.sweep}")
    test = pd.DataFrame(rows).sort_values([*KEYS, "seed"])
    study = Study(tuple(KEYS), test[KEYS].drop_duplicates(), test, history=pd.DataFrame())
    scores = test.rename(columns={"seed": "pair"})
    scores = scores.assign(metric="test_accuracy", censored=False, diverged=False)
    table = comparisons.compare(study, scores, config.report)
    csvs.write_frame(table, Path("comparisons.csv"))
    shown = table[[*KEYS, "first", "second", "mean", "low", "high", "verdict"]].round(4)
    print(csvs.as_text(shown.to_numpy().tolist(), list(shown)))


if __name__ == "__main__":
    command.run(compare, PROJECT)
