"""The command on a real store, filled through the calls that a training makes."""

import itertools
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from planted import activation_of, configured
from planted_run import folder_of, plant_run

from actlab.data.config import DataConfig
from actlab.engine.launches import record_launch
from actlab.errors import UserError
from actlab.models.config import NetworkConfig
from actlab.results import layout, tables
from actlab.schema import CompareConfig
from actlab.stages.compare import compare
from actlab.tracking import publish
from actlab.tracking import store as stores
from actlab.tracking.publish import LivePublisher
from actlab.tracking.reading import _search, find_runs
from actlab.tracking.store import connect, sweep_tags
from actlab.training.config import TrainingConfig

pytestmark = [
    # As in published.py.
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy:DeprecationWarning:mlflow.store.tracking"
    ),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning:mlflow"),
]

EPOCHS, SEEDS = 2, [0, 1, 2]
ACTIVATIONS, DEPTHS = ("tanh", "relu"), (1, 2, 4)


def accuracy_of(activation: str, depth: int, seed: int, epoch: int = EPOCHS) -> float:
    level, pace = {"tanh": (0.9, 3), "relu": (0.95, 7)}[activation]
    return level - 0.01 * depth + 0.001 * ((seed * pace + depth) % 5) - 0.1 * (EPOCHS - epoch)


def job(activation: str, depth: int, sweep: str = "depth.launch1"):
    return configured(
        Path("multirun", f"{activation}-{depth}"),
        sweep=sweep,
        seeds=SEEDS,
        data=DataConfig("mnist", 10000, 0),
        training=TrainingConfig(EPOCHS, 128, [0]),
        activation=activation_of(activation),
        network=NetworkConfig("uniform", f"{depth}x4"),
    )


#: When trainings begin: the oldest comes first.
_MOMENTS = itertools.count()


def log(config, whole: bool = True) -> None:
    """Publish a training whose model is not stored; one that is not whole has failed."""
    name, depth = config.activation.name, len(config.network.hidden)

    def accuracy(seed: int, epoch: int) -> float:
        return accuracy_of(name, depth, seed, epoch or EPOCHS)

    epochs = None if whole else dict.fromkeys(config.seeds, EPOCHS)
    with LivePublisher(config, folder_of(config)) as publisher:
        plant_run(
            config, folder_of(config), accuracy, epochs=epochs, code="", began=10 * next(_MOMENTS)
        )
        publisher.publish()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A root whose store has a sweep of six jobs, one that failed, and one of another sweep."""
    root = tmp_path_factory.mktemp("filled")
    shutil.copy(empty_store, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DVC_ROOT", raising=False)
        patch.setattr(publish, "log_model", lambda *_: (None, 100))
        log(job("relu", 1), whole=False)  # and again, whole
        for activation, depth in itertools.product(ACTIVATIONS, DEPTHS):
            log(job(activation, depth))
        log(job("relu", 8), whole=False)
        log(replace(job("relu", 1, "other"), data=DataConfig("mnist", 0, 0)))
        record_launch(connect(), "depth", ["network.hidden", "activation"], None, "a grid")
    return root


@pytest.fixture
def root(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `filled` as the current folder."""
    shutil.copytree(filled, tmp_path / "root")
    monkeypatch.chdir(tmp_path / "root")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path / "root"


def runs_of(store, sweep: str):
    return _search(store, sweep, "")


def asked(root: Path, sweep: str | None, conditions: str = "", by: list[str] | None = None):
    return replace(configured(root), sweep=sweep, compare=CompareConfig(conditions, by))


def test_a_comparison_is_written_shown_and_logged_once(root, capsys):
    for _ in range(2):
        compare(asked(root, "depth"))
    folder = root / "reports/compare/depth"
    assert {path.name for path in folder.iterdir()} == {
        "report.html",
        "report.md",
        "summary.csv",
        "comparisons.csv",
        "figures",
        "tables",
    }
    summary = pd.read_csv(folder / "summary.csv")
    for row in summary.to_dict("records"):
        values = [accuracy_of(row["activation"], row["network.depth"], each) for each in SEEDS]
        assert row["test_accuracy_mean"] == pytest.approx(sum(values) / 3)
        assert row["val_accuracy_mean"] == pytest.approx(sum(values) / 3)
    assert len(summary) == 6
    compared = pd.read_csv(folder / "comparisons.csv")
    assert tuple(compared.columns) == ("network.depth", "activation", *tables.COMPARED)

    shown = capsys.readouterr().out
    assert str(folder / "report.html") in shown
    assert "The best of 6 configurations by held-out validation images is depth 1, relu" in shown
    assert "1 run is not finished, and left out: relu/uniform (failed)." in shown

    store = connect()
    (run,) = store.search("FINISHED", {"actlab.kind": "comparison"})
    assert run.info.run_name == "comparison depth"
    assert run.data.params["compare.by"] == "network.depth,activation.name"
    assert run.data.tags["verdict.test_accuracy.depth 2: tanh - relu"] == "worse"
    kept = {each.path for each in store.client.list_artifacts(run.info.run_id)}
    assert {"report.html", "summary.csv", "figures", "tables"} <= kept


def test_curves_come_from_every_seed_and_epoch(root):
    found = find_runs("depth", "")
    names = found.parents.set_index("run")[["activation.name", "network.depth"]]
    assert len(found.history) == 6 * len(SEEDS) * EPOCHS
    assert tuple(found.history.columns) == ("parent", *layout.HISTORY)
    for row in found.history.to_dict("records"):
        name, depth = names.loc[row["parent"]]
        expected = accuracy_of(name, int(depth), row["seed"], row["epoch"])
        assert row["accuracy"] == row["val_accuracy"] == pytest.approx(expected)
        planted = folder_of(job(name, int(depth))).read_table("history")
        step = planted.set_index(["seed", "epoch"]).loc[(row["seed"], row["epoch"])]
        assert row["val_loss"] == step["val_loss"]
        assert row["loss"] == step["loss"]
    (unfinished,) = found.unfinished
    assert unfinished == "relu/uniform (failed)"


def test_the_latest_launch_of_a_sweep_is_compared(root):
    store = connect()
    record_launch(store, "depth", ["activation"], None, "another grid")
    with pytest.raises(UserError, match=r"^launch 2 of sweep depth has no finished run: .*; 6 fin"):
        compare(asked(root, "depth"))
    for run in runs_of(store, "depth"):
        if run.data.params["network.depth"] == "2":
            store.write(run.info.run_id, tags={"sweep.depth.launch2": "yes"})
    compare(asked(root, "depth"))
    summary = pd.read_csv(root / "reports/compare/depth/summary.csv")
    assert summary["activation"].tolist() == ["tanh", "relu"]
    report = (root / "reports/compare/depth/report.md").read_text()
    note = "4 runs are left out, of earlier launches of sweep depth: its latest, launch 2, does not"
    assert note in report
    assert "not finished" not in report  # what failed was of the first launch
    assert len(find_runs("depth.launch1", "").parents) == 6


def test_the_whole_store_is_compared_without_a_sweep(root):
    compare(asked(root, None))
    summary = pd.read_csv(root / "reports/compare/runs/summary.csv")
    assert len(summary) == 7
    assert "data.validation_size" in summary


@pytest.mark.parametrize(
    ("sweep", "conditions", "by", "said"),
    [
        ("dept", "", None, r"no run of a sweep named 'dept': it has depth \(6\), other \(1\)$"),
        ("other", "", None, "sweep other has one finished configuration, relu on uniform: a compa"),
        ("depth", "nonsense", None, r"^compare\.filter is 'nonsense': .*training\.epochs` = '20'$"),
        (
            None,
            "params.`training.epochs` = '77'",
            None,
            "no configuration for which compare.filter=.*77.* holds$",
        ),
        (
            "depth",
            "params.`network.depth` = '8'",
            None,
            "has 1 run of sweep depth, none of them fi",
        ),
        ("depth", "", ["activation.name"], "would pool runs that differ in network.depth: add"),
    ],
    ids=["unknown", "one", "no filter", "nothing", "unfinished", "pooled"],
)
def test_what_cannot_be_compared_is_one_line(sweep, conditions, by, said, root):
    with pytest.raises(UserError, match=said) as raised:
        compare(asked(root, sweep, conditions, by))
    assert "\n" not in str(raised.value)
    assert not (root / "reports").exists()


def test_roles_in_a_fair_sweep_come_from_tags(root):
    store = connect()
    record_launch(store, "depth", ["network.hidden", "activation"], "activation", "a fair grid")
    roles = {
        ("relu", "1"): ["selection"],
        ("relu", "2"): ["selection", "baseline"],
        ("relu", "4"): ["baseline", "tuned"],
        ("tanh", "1"): ["selection"],
        ("tanh", "2"): ["selection"],
        ("tanh", "4"): ["tuned"],
    }
    for run in runs_of(store, "depth"):
        key = run.data.params["activation.name"], run.data.params["network.depth"]
        names = [f"depth.launch2.{role}" for role in roles.get(key, [])]
        for name in [*names, "another.launch1.selection"]:  # which has no say in this one
            store.write(run.info.run_id, tags=sweep_tags(name))
    found = find_runs("depth", "").parents
    phases = found.groupby(["activation.name", "network.depth"])["phase"].agg(list).to_dict()
    assert phases == roles
    compare(asked(root, "depth"))
    folder = root / "reports/compare/depth"
    summary = pd.read_csv(folder / "summary.csv").set_index(["phase", "activation"])
    assert list(summary.index) == [("baseline", "relu"), ("tuned", "tanh"), ("tuned", "relu")]
    # Of relu's two baselines the newer one counts, which is tuned too.
    reached = sum(accuracy_of("relu", 4, seed) for seed in SEEDS) / 3
    assert summary.loc[("baseline", "relu"), "test_accuracy_mean"] == pytest.approx(reached)
    assert pd.read_csv(folder / "tuning.csv")["chosen"].tolist() == ["depth 4"] * 2


def test_a_fair_sweep_without_a_record_is_one_line(root):
    store = connect()
    run = runs_of(store, "other")[0].info.run_id
    store.write(run, tags={"sweep.other.selection": "yes"})
    with pytest.raises(
        UserError, match=r"^other is a fair sweep of which no launch is recorded: r"
    ):
        compare(asked(root, "other"))


@pytest.mark.parametrize(
    ("more", "kept"),
    [([], 5), (["mine"], 6), (["fair.launch1.tuned"], 6), (["more.launch1.selection"], 5)],
    ids=["selection alone", "another sweep", "tuned too", "selection of two"],
)
@pytest.mark.parametrize("source", ["sweep", "dvc"])
def test_without_a_sweep_what_is_more_than_a_selection_run_is_kept(more, kept, source, root):
    store = connect()
    run = runs_of(store, "depth")[1].info.run_id
    for tag in ("sweep.depth", "sweep.depth.launch1"):
        store.client.delete_tag(run, tag)
    for name in ["fair.launch1.selection", *more]:
        store.write(run, tags=sweep_tags(name) | {"actlab.source": source})
    found = find_runs(None, "")
    assert len(found.parents) == (7 if source == "dvc" else kept + 1)
    assert len(found.notes) == 7 - len(found.parents)
    if found.notes:
        assert found.notes[0].startswith("1 run is left out, on which a fair sweep chose its sett")
        with pytest.raises(
            UserError, match=r"^there are only runs on which a fair sweep chose its"
        ):
            find_runs("fair.launch1.selection", "")


def test_seeds_of_other_code_are_not_pooled(root, monkeypatch):
    monkeypatch.setattr(publish, "log_model", lambda *_: (None, 100))
    log(replace(job("relu", 2), seeds=[7]))
    store = connect()
    store.write(runs_of(store, "depth")[-1].info.run_id, tags={"actlab.code": "other"})
    assert find_runs("depth", "").parents["code"].tolist() == [""] * 6 + ["other"]
    compare(asked(root, "depth"))
    summary = pd.read_csv(root / "reports/compare/depth/summary.csv")
    seeds = summary.set_index(["activation", "network.depth"])["seeds"].to_dict()
    assert seeds == {(name, depth): 3 for name in ACTIVATIONS for depth in DEPTHS} | {
        ("relu", 2): 1
    }


def test_a_filter_narrows_a_sweep(root):
    compare(asked(root, "depth", "params.`network.depth` = '2'"))
    summary = pd.read_csv(root / "reports/compare/depth/summary.csv")
    assert summary["activation"].tolist() == ["tanh", "relu"]


def test_a_store_that_is_read_only_is_compared_and_not_logged(root, monkeypatch, capsys):
    def refuse(file):
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(stores, "_begin_writing", refuse)
    compare(asked(root, "depth"))
    *_, line = capsys.readouterr().out.splitlines()
    assert line == (
        f"MLflow at sqlite:///{root}/mlflow.db cannot be used (attempt to write a readonly"
        " database): the comparison is not logged"
    )
    assert (root / "reports/compare/depth/report.html").is_file()


def test_an_empty_store_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"is not there: run `dvc repro` or a sweep"):
        compare(asked(tmp_path, None))
    assert not [*tmp_path.iterdir()]
    connect()
    with pytest.raises(UserError, match=r"has no finished configuration: run `dvc repro` or a swe"):
        compare(asked(tmp_path, None))
    with pytest.raises(UserError, match=r"sweep named 'depth': it has no finished sweep$"):
        compare(asked(tmp_path, "depth"))


def test_a_store_that_does_not_answer_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(UserError, match=r"nothing is compared$") as raised:
        compare(asked(tmp_path, "depth"))
    assert "secret" not in str(raised.value)
