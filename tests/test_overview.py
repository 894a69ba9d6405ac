"""What MLflow's pages say, on a real store: descriptions, links, saved views, registered models."""

import base64
import json
import re
import shutil
import zlib
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
    RESULTS,
    WARNINGS,
    client,
    logged_once,  # noqa: F401
    publish_live,
    root,  # noqa: F401
    run_named,
    stored_runs,
    trained,  # noqa: F401
)

from actlab.data.config import DataConfig
from actlab.errors import UserError
from actlab.results import layout, tables
from actlab.schema import Config
from actlab.tracking import notes, overview, registry, views
from actlab.tracking.reading import FoundRuns
from actlab.tracking.store import connect
from actlab.tracking.sync import sync

pytestmark = WARNINGS

REGISTERED = "actlab-mnist"


def experiment() -> Any:
    return client().get_experiment_by_name("actlab")


def saved_view(key: str) -> tuple[str, dict[str, Any]]:
    """The name and the state of a view."""
    held = json.loads(experiment().tags[views.tag_of(key)])
    packed = base64.b64decode(held["state"].removeprefix("deflate;"))
    return held["name"], json.loads(zlib.decompress(packed))


def pages() -> dict[str, Any]:
    """All that is written of the store's pages."""
    versions = client().search_model_versions("")
    return {
        "notes": {
            run.info.run_id: run.data.tags.get("mlflow.note.content", "") for run in stored_runs()
        },
        "experiment": dict(experiment().tags),
        "models": [(each.name, each.description, each.aliases) for each in registered()],
        "versions": [(each.version, each.source, each.description, each.tags) for each in versions],
    }


def registered() -> list[Any]:
    return list(client().search_registered_models())


@pytest.fixture
def logged(logged_once: Path, root: Path) -> Path:  # noqa: F811
    """A copy of it as the current folder."""
    shutil.copytree(logged_once, root, dirs_exist_ok=True)
    return root


def test_the_pages_are_written_once_and_again_when_they_are_lost(logged: Path) -> None:
    held = pages()
    store = connect()
    assert overview.refresh(store, CONFIG, ()) == []
    assert pages() == held

    client().set_experiment_tag(experiment().experiment_id, views.tag_of("configurations"), "{}")
    client().delete_registered_model_alias(REGISTERED, "leaky_relu-mlp")
    client().set_experiment_tag(experiment().experiment_id, "mlflow.note.content", notes.QUESTION)
    assert overview.refresh(store, CONFIG, ()) == [
        "MLflow's descriptions",
        "MLflow's saved view",
        f"{REGISTERED}@leaky_relu-mlp: {NAME}",
    ]
    assert pages() == held


def test_every_link_of_the_descriptions_leads_to_what_is_there(logged: Path) -> None:
    held = pages()
    texts = [*held["notes"].values(), held["experiment"]["mlflow.note.content"]]
    links = [link for text in texts for link in re.findall(r"\]\(([^)]*)\)", text)]
    runs = {run.info.run_id: run.info.run_name for run in stored_runs()}
    led = set()
    for link in links:
        assert link.endswith("workflowType=machine_learning")
        link = re.sub("[?&]workflowType.*", "", link)
        kind, _, rest = link.removeprefix("#/").partition("/")
        if kind == "models":
            assert rest == REGISTERED
        elif key := re.search(r"viewStateShareKey=([^&]*)&compareRunsMode=(TABLE|CHART)$", link):
            assert views.tag_of(key[1]) in held["experiment"]
        else:
            number, run, file = re.fullmatch(
                r"experiments/(\d+)/runs/(\w+)(?:/artifacts/(.*))?", link.removeprefix("#/")
            ).groups()  # type: ignore[union-attr]
            assert number == experiment().experiment_id
            assert runs[run] == ("report" if file else NAME)
        led.add(kind)
    assert led == {"models", "experiments"}
    note = held["notes"][run_named(NAME).info.run_id]
    report = run_named("report").info.run_id
    assert note.startswith(f"[The report](#/experiments/1/runs/{report}/artifacts/report.html?")


def test_the_descriptions_have_the_results(logged: Path) -> None:
    test = tables.read_table(RESULTS / "test.csv", layout.TEST)
    parent = run_named(NAME).data
    note = parent.tags["mlflow.note.content"]
    low, high = (parent.metrics[f"test_accuracy_ci_{which}"] for which in ("low", "high"))
    reached = f"| {test['test_accuracy'].mean():.2%} | {low:.2%} to {high:.2%} |"
    assert f"| test accuracy {reached}" in note
    assert "3,190 parameters; 3 epochs of mnist" in note
    answer = experiment().tags["mlflow.note.content"]
    assert "1 claims of the teaching notebook: 1 refuted" in answer
    assert reached in answer


def test_a_description_that_a_person_wrote_stays(logged: Path) -> None:
    client().set_experiment_tag(experiment().experiment_id, "mlflow.note.content", "Mine.")
    parent = run_named(NAME).info.run_id
    client().set_tag(parent, "mlflow.note.content", "Mine too.")
    assert overview.refresh(connect(), CONFIG, ()) == ["MLflow's descriptions"]
    assert experiment().tags["mlflow.note.content"] == "Mine."
    assert (
        run_named(NAME)
        .data.tags["mlflow.note.content"]
        .endswith(" includes this run.\n\nMine too.")
    )
    assert overview.refresh(connect(), CONFIG, ()) == []


def test_the_view_selects_the_runs_and_columns_that_there_are(logged: Path) -> None:
    name, view = saved_view("configurations")
    assert name == "Configurations"
    (found,) = client().search_runs(["1"], view["searchFilter"])
    assert found.info.run_name == NAME
    for column in view["selectedColumns"]:
        kind, key = re.fullmatch(r"(\w+)\.`(.*)`", column).groups()  # type: ignore[union-attr]
        assert key in getattr(found.data, kind), column
    sections = {section["uuid"]: section["display"] for section in view["compareRunSections"]}
    for chart in view["compareRunCharts"]:
        assert sections[chart["metricSectionId"]]
        drawn = chart.get("selectedMetricKeys") or chart["selectedMetrics"]
        assert set(drawn) <= found.data.metrics.keys()
    # Every other metric's chart goes to a section that is closed.
    for metric in found.data.metrics:
        assert not sections[metric.rpartition("/")[0] or "Model metrics"]


def test_an_experiment_leaves_the_pages_to_the_study(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "short")
    monkeypatch.setattr(overview, "refresh", lambda *given: pytest.fail("it writes them"))
    overview.log_overview(CONFIG)
    assert "short is an experiment" in capsys.readouterr().out


def test_a_sweep_has_a_view_of_its_own(root: Path) -> None:  # noqa: F811
    assert overview.save_sweep(connect(), "none", ["activation.name"]) is None
    log_trained("a", 0.5, 0.1, sweep="my.sweep")
    log_trained("b", 0.6, 0.1)
    link = overview.save_sweep(connect(), "my.sweep", ["phase", "network.depth", "activation.name"])
    assert link == (
        "#/experiments/1/runs?viewStateShareKey=sweep-my-sweep&compareRunsMode=CHART"
        "&workflowType=machine_learning"
    )
    name, view = saved_view("sweep-my-sweep")
    assert name == "Sweep my.sweep"
    (found,) = client().search_runs(["1"], view["searchFilter"])
    assert found.info.run_name == "a/mlp"
    for column in view["selectedColumns"]:
        kind, key = re.fullmatch(r"(\w+)\.`(.*)`", column).groups()  # type: ignore[union-attr]
        # Equal seeds, as few as these are, have no interval.
        assert key in getattr(found.data, kind) or "_ci_" in key, column
    assert "phase" not in str(view["compareRunCharts"])


# --- The registry -------------------------------------------------------------------------


def test_where_no_images_were_held_out_the_best_fits_the_training_images_best(
    logged: Path,
) -> None:
    (model,) = registered()
    assert (model.name, set(model.aliases)) == (REGISTERED, {"leaky_relu-mlp", "best"})
    version = client().get_model_version_by_alias(REGISTERED, "best")
    parent = run_named(NAME)
    (output,) = parent.outputs.model_outputs
    assert version.source == f"models:/{output.model_id}"
    assert version.run_id == parent.info.run_id
    assert model.tags["best"] == (
        f"the least mean training loss, {parent.data.metrics['loss_mean']:.5f}, of 1"
        " configurations; no images were held out to choose by"
    )


def log_trained(name: str, objective: float | None, loss: float, **given: Any) -> str:
    """Log a configuration whose validation accuracy and training loss are known."""
    config: Config = replace(CONFIG, activation=replace(CONFIG.activation, name=name), **given)
    reached = objective or 0.5
    plant_run(
        config,
        FOLDER,
        lambda seed, epoch: reached if epoch else 1 - reached,
        loss,
        fingerprint=name,
    )
    publish_live(config)
    return run_named(f"{name}/mlp").info.run_id


HELD_OUT = {"data": DataConfig("mnist", 100, 0)}


def test_held_out_images_choose_the_best_and_test_images_nothing(root: Path) -> None:  # noqa: F811
    for name, objective, loss in (("one", 0.7, 0.1), ("two", 0.9, 0.3), ("three", 0.8, 0.2)):
        log_trained(name, objective, loss, **HELD_OUT)
    store = connect()
    runs = store.search("FINISHED", {"actlab.kind": "configuration"})
    assert {run.info.run_name: run.data.metrics["test_accuracy_mean"] for run in runs} == {
        "one/mlp": pytest.approx(0.3),
        "two/mlp": pytest.approx(0.1),
        "three/mlp": pytest.approx(0.2),
    }
    assert f"{REGISTERED}@best: two/mlp" in registry.register(store, "mnist", runs)
    assert registered()[0].tags["best"] == (
        "the greatest mean validation accuracy, 0.9000 on 100 held-out images, of 3 configurations"
    )
    assert registry.register(store, "mnist", runs) == []
    assert len(client().search_model_versions("")) == 3


def found_runs(**columns: list[str]) -> FoundRuns:
    given = {
        "run": ["a", "b"],
        "outcome": ["trained", "trained"],
        "objective": [0.5, 0.6],
        "phase": [None, None],
        "data.name": ["mnist"] * 2,
        "data.validation_size": ["100"] * 2,
        "data.split_seed": ["0"] * 2,
    }
    parents = pd.DataFrame(given | columns)
    return FoundRuns(parents, pd.DataFrame(), pd.DataFrame(), [])


@pytest.mark.parametrize(
    ("columns", "best"),
    [
        ({}, ("b", 2)),
        ({"objective": [-0.1, -0.2]}, ("a", 2)),  # losses of a regression
        ({"data.validation": ["first", "last"]}, None),
        ({"outcome": ["trained", "diverged"]}, ("a", 1)),
        ({"data.validation_size": ["0", "0"]}, None),
        ({"data.split_seed": ["0", "1"]}, None),
        ({"phase": ["tuned", "selection"]}, ("a", 1)),
    ],
)
def test_a_sweep_has_a_best_where_all_held_out_the_same_images(
    columns: dict[str, Any], best: tuple[str, int] | None
) -> None:
    assert registry.best_of_sweep(found_runs(**columns)) == best


def test_the_best_of_a_sweep_is_registered_under_its_name(root: Path) -> None:  # noqa: F811
    a, b = (log_trained(name, value, 0.1, **HELD_OUT) for name, value in (("a", 0.5), ("b", 0.6)))
    found = found_runs(run=[a, b])
    said = registry.register_best(connect(), "my.sweep", found)
    assert said == (
        "models:/actlab-mnist@best-my-sweep: b/mlp, the greatest mean validation accuracy, 0.6000"
        " on 100 held-out images, of 2 configurations"
    )
    (model,) = registered()
    assert set(model.aliases) == {"best-my-sweep"}
    assert registry.register_best(connect(), "", found) is None


def test_a_store_without_a_registry_costs_one_line(
    root: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mlflow import MlflowClient

    publish_live()

    def refuse(*args: Any, **named: Any) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", refuse)
        overview.log_overview(CONFIG)
    (line,) = capsys.readouterr().out.splitlines()
    assert "(Read-only file system): its descriptions, views and registered models are not" in line
    assert sync(CONFIG, ["gradients", "report"]).brought_up_to_date


def test_pages_stay_while_a_training_or_the_report_is_stale(logged: Path) -> None:
    held = pages()
    store = connect()
    both = replace(CONFIG, activations=["leaky_relu", "relu"])
    assert overview.refresh(store, both, ["train@relu-mlp"]) == []
    assert overview.refresh(store, CONFIG, ["report"]) == []
    assert pages() == held


# --- What is served -----------------------------------------------------------------------


def test_the_model_that_is_served_is_the_best_or_the_one_asked_for(logged: Path) -> None:
    (output,) = run_named(NAME).outputs.model_outputs
    best = f"models:/{REGISTERED}@best"
    assert registry.find_model(connect(), None, "mnist") == best
    for uri in (best, f"models:/{REGISTERED}/1", f"models:/{output.model_id}"):
        assert registry.find_model(connect(), uri, "mnist") == uri


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("actlab-mnist@best", "it has to be models:/<name>@<alias>"),
        ("models:/actlab-mnist@none", "MLflow has no model models:/actlab-mnist@none: it has"),
        ("models:/actlab-mnist/7", "MLflow has no model models:/actlab-mnist/7: it has"),
        ("models:/m-none", "MLflow has no model models:/m-none: it has models:/actlab-mnist@best,"),
        (None, "MLflow has no model models:/actlab-fashion_mnist@best: it has models:/actlab-m"),
    ],
)
def test_a_model_that_is_missing_is_named(logged: Path, asked: str | None, said: str) -> None:
    with pytest.raises(UserError) as refused:
        registry.find_model(connect(), asked, "fashion_mnist")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
