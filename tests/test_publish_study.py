"""Gradients, the report and comparisons in a real MLflow store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted_run import plant_run
from published import (
    CONFIG,
    FOLDER,
    NAME,
    PATHS,
    WARNINGS,
    artifacts,
    client,
    content,
    log_gradients,
    of_ended_process,
    publish_live,
    root,  # noqa: F401
    run_named,
    statuses,
    stored_runs,
    trained,  # noqa: F401
)

from actlab.errors import UserError
from actlab.results import tables
from actlab.tracking import publish_study, store

pytestmark = [*WARNINGS, pytest.mark.usefixtures("root")]

REPORTS, GRADIENTS = Path("reports"), Path("results/gradients.csv")


def log_report() -> None:
    publish_study.log_report(CONFIG, REPORTS)


def log_comparison() -> None:
    (REPORTS / "comparisons.csv").write_text("")
    publish_study.write_comparison(store.connect_to_write(), REPORTS, "", {}, {})


def test_gradients_go_to_the_newest_run_of_their_weights() -> None:
    opened = store.connect()
    for number, output in enumerate([".", ".", "multirun/single"]):
        config = replace(CONFIG, paths=replace(PATHS, output=output))
        plant_run(CONFIG, FOLDER, began=10 * number)
        # As if each had been trained: equal weights are published once.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store.Store, "find_complete", lambda *_: None)
            publish_live(config)
    table = tables.read_table(GRADIENTS, tables.GRADIENTS)
    log_gradients()
    name = "gradient/notebook/mean_abs/hidden_1"
    runs = [run for run in stored_runs() if run.info.run_name == f"{NAME}/seed-1"]
    assert [name in run.data.metrics for run in runs] == [False, True, False]
    ours = table[(table["seed"] == 1) & (table["layer"] == "hidden_1")]
    logged = client().get_metric_history(runs[1].info.run_id, name)
    assert [(metric.step, metric.value) for metric in logged] == list(
        zip(ours["epoch"], ours["value"], strict=True)
    )
    parents = [run for run in stored_runs() if f"{name}_mean" in run.data.metrics]
    assert [run.info.run_id for run in parents] == [runs[1].data.tags["mlflow.parentRunId"]]
    assert publish_study.write_gradients(opened, CONFIG, "leaky_relu", "mlp", table) is False


def test_gradients_that_were_cut_short_are_there_once() -> None:
    publish_live()
    log_gradients()
    held = content()
    for run in stored_runs():
        client().delete_tag(run.info.run_id, "actlab.gradients_sha256")
    log_gradients()
    assert content() == held


def test_the_health_of_a_layer_goes_by_names_of_its_own() -> None:
    publish_live()
    table = tables.read_table(GRADIENTS, tables.GRADIENTS)
    health = table.assign(probe="test", statistic="dead_fraction", value=table["seed"] / 4)
    publish_study.log_gradients(CONFIG, pd.concat([table, health]))
    seed, parent = run_named(f"{NAME}/seed-1").data.metrics, run_named(NAME).data.metrics
    assert seed["health/dead_fraction/hidden_1"] == 0.25
    assert parent["health/dead_fraction/hidden_1_mean"] == 0.125
    assert "gradient/notebook/mean_abs/hidden_1" in seed


def test_gradients_without_a_run_are_told_and_without_models_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_gradients()
    assert capsys.readouterr().out.startswith(f"MLflow has no finished run of {NAME}: their grad")
    (FOLDER.models / "training.json").unlink()
    with pytest.raises(UserError, match="is missing: run `dvc repro`"):
        log_gradients()


def test_the_report_is_a_run_with_its_files_and_verdicts() -> None:
    log_report()
    run = run_named("report")
    assert artifacts(run.info.run_id) == [
        "claims.csv",
        "figures/curves.svg",
        "report.md",
        "summary.csv",
    ]
    tags = {"claim.relu_units_die": "refuted", "actlab.kind": "report", "actlab.source": "dvc"}
    assert run.data.tags.items() >= tags.items()


def test_a_report_that_cannot_be_written_is_failed_and_written_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", full)
        log_report()
    (line,) = capsys.readouterr().out.splitlines()
    assert "(No space left on device): the report is not logged; run `python" in line
    assert statuses() == {"report": "FAILED"}
    for _ in range(2):
        log_report()
        assert sorted(run.info.status for run in stored_runs()) == ["FAILED", "FINISHED"]
    (REPORTS / "report.md").write_text("another")
    log_report()
    assert [run.info.status for run in stored_runs()] == ["FINISHED", "FINISHED", "FAILED"]


@pytest.mark.parametrize("log", [log_gradients, log_report, log_comparison])
def test_whoever_writes_next_closes_the_runs_of_a_killed_process(log: Any) -> None:
    store.connect().create_run("killed", of_ended_process())
    log()
    assert statuses()["killed"] == "FAILED"
