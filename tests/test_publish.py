"""A training's run folder in a real MLflow store: live, at the end, when something fails."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted_run import plant_run
from published import (
    CONFIG,
    EPOCHS,
    FOLDER,
    MODELS,
    NAME,
    PATHS,
    SEEDS,
    WARNINGS,
    client,
    content,
    of_ended_process,
    points,
    publish_live,
    root,  # noqa: F401
    run_named,
    statuses,
    stored_runs,
    trained,  # noqa: F401
)

from actlab.data.splits import scale_images
from actlab.engine import csvs, interrupts
from actlab.tracking import address, publish, publisher, store
from actlab.tracking.publish import LivePublisher

pytestmark = [*WARNINGS, pytest.mark.usefixtures("root")]

METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


@pytest.fixture
def log_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many metrics every call of `log_batch` from now on has."""
    from mlflow import MlflowClient

    works, counts = MlflowClient.log_batch, []

    def counted(self: Any, run: str, metrics: Any = (), *rest: Any) -> None:
        counts.append(len(metrics))
        works(self, run, metrics, *rest)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    return counts


def test_what_mlflow_holds_is_what_the_folder_holds() -> None:
    publish_live()
    held = content()
    parent, child = held[NAME], held[f"{NAME}/seed-1"]
    assert set(held) == {NAME, f"{NAME}/seed-0", f"{NAME}/seed-1"}
    assert {run["status"] for run in held.values()} == {"FINISHED"}
    epochs = FOLDER.read(CONFIG).epochs
    ours = csvs.where(epochs, seed=1)
    for name in (*METRICS, "epoch_seconds"):
        expected = list(zip(ours["epoch"], ours[name], ours["ended"], strict=True))
        assert child["metrics"][name] == expected
    for name in METRICS:
        steps = range(1, EPOCHS + 1)
        means = [csvs.where(epochs, epoch=epoch)[name].mean() for epoch in steps]
        logged = [value for _, value, _ in parent["metrics"][f"{name}_mean"]]
        np.testing.assert_allclose(logged, means)
    assert points(f"{NAME}/seed-1", "compile_seconds") == [(0, 2.5)]
    assert child["tags"]["mlflow.parentRunId"] == NAME
    assert (child["params"]["activation.negative_slope"], child["params"]["seed"]) == ("0.25", "1")
    assert parent["params"]["seeds"] == "0,1"
    assert parent["params"]["network.parameters"] == str(784 * 4 + 4 + 4 * 10 + 10)
    assert parent["artifacts"] == ["history.csv", "layers.csv", "model.json", "test.csv"]
    for run, kind in ((parent, "configuration"), (child, "seed")):
        assert (run["tags"]["actlab.kind"], run["tags"]["actlab.source"]) == (kind, "dvc")
    assert parent["tags"]["actlab.fingerprint"] == "digest"
    assert parent["tags"]["actlab.code"] == "code"
    assert parent["tags"]["actlab.outcome"] == "trained"
    weights = (MODELS / f"seed-1/epoch-{EPOCHS:03d}.weights.h5").read_bytes()
    assert child["tags"]["actlab.weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert child["tags"]["actlab.seed"] == "1"


def test_the_parent_has_intervals_over_seeds() -> None:
    publish_live()
    accuracies = FOLDER.read_table("test")["test_accuracy"]
    ((_, low),) = points(NAME, "test_accuracy_ci_low")
    ((_, high),) = points(NAME, "test_accuracy_ci_high")
    # Student's t of one degree of freedom: 12.7062 (any table of its quantiles); of shares, on the
    # scale of log-odds.
    mean = accuracies.mean()
    half = 12.7062 * accuracies.std() / np.sqrt(2) / mean / (1 - mean)
    bounds = 1 / (1 + np.exp(-(np.log(mean / (1 - mean)) + np.array([-half, half]))))
    np.testing.assert_allclose([low, high], bounds, rtol=1e-4)
    assert points(NAME, "test_accuracy_sd") == [(0, pytest.approx(accuracies.std()))]
    assert run_named(NAME).data.metrics["diverged_seeds"] == 0
    assert "objective" not in run_named(NAME).data.metrics  # nothing is held out


def test_update_ratios_are_logged_with_the_health_of_a_layer() -> None:
    publish_live()
    ratios = csvs.where(FOLDER.read_table("updates"), layer="hidden_1", seed=1)
    expected = list(zip(ratios["epoch"], ratios["update_ratio"], strict=True))
    assert [epoch for epoch, _ in expected] == [0, 1, 3]
    assert points(f"{NAME}/seed-1", "health/update_ratio/hidden_1") == expected
    assert len(points(NAME, "health/update_ratio/hidden_1_mean")) == 3


def test_live_in_steps_in_one_go_and_again_are_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with LivePublisher(CONFIG, FOLDER) as publisher:
        for epochs in ({0: 1}, {0: 2, 1: 1}, {0: 4, 1: 2}, {0: 4, 1: 3}, {0: 4, 1: 4}):
            plant_run(CONFIG, FOLDER, epochs=epochs)
            for _ in range(2):
                publisher.publish()
            ended = [f"{NAME}/seed-0"] if epochs[0] == 4 else []
            names = {NAME, *(f"{NAME}/seed-{seed}" for seed in epochs)}
            if epochs != {0: 4, 1: 4}:
                assert statuses() == {
                    name: "FINISHED" if name in ended else "RUNNING" for name in names
                }
            for seed, reached in epochs.items():
                steps = [step for step, _ in points(f"{NAME}/seed-{seed}", "loss")]
                assert steps == [*range(1, min(reached, EPOCHS) + 1)]
    live = content()
    opened = store.connect()
    assert not publish.publish(CONFIG, FOLDER, opened)  # by another process: it is there
    assert content() == live
    plant_run(CONFIG, FOLDER, fingerprint="another", began=10)
    assert publish.publish(CONFIG, FOLDER, opened)  # equal weights, and another training
    plant_run(CONFIG, FOLDER)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///empty/mlflow.db")
    assert publish.publish(CONFIG, FOLDER, store.connect())
    assert content() == live
    assert capsys.readouterr() == ("", "")


def test_what_has_diverged_is_said_and_what_is_held_out_selects() -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, validation_size=100))
    plant_run(config, FOLDER, accuracy=lambda seed, epoch: 0.5 + seed / 10, loss=float("nan"))
    publish_live(config)
    parent = run_named(NAME).data
    assert parent.tags["actlab.outcome"] == "diverged"
    assert (
        "2 of 2 seeds diverged (the loss is not finite): seeds 0 and 1 in epoch 1."
        in parent.tags["mlflow.note.content"]
    )
    assert parent.metrics["diverged_seeds"] == 2
    assert parent.metrics["objective"] == pytest.approx(0.55)


def test_only_what_is_new_is_written_and_all_of_it_at_once(log_batches: list[int]) -> None:
    publisher = publish.create_publisher(CONFIG, FOLDER)
    plant_run(CONFIG, FOLDER, epochs={0: 1})
    publisher.publish()
    assert log_batches == [0, 5]  # the parent's parameters; an epoch
    plant_run(CONFIG, FOLDER, epochs={0: 3, 1: 2})
    publisher.publish()
    assert log_batches[2:] == [10, 10]
    publisher.publish()
    assert len(log_batches) == 4


def test_a_slow_store_is_left_alone_as_long_as_a_write_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(publisher.time, "monotonic", lambda: now[0])

    class Slow(publisher.Publisher):
        seconds = 0.1

        def publish(self) -> bool:
            now[0] += self.seconds
            return True

    slow: Any = Slow(lambda: publisher.Record("", [], {}, {}))
    live = publisher.LivePublisher(slow, advice=False)
    assert live.is_due
    for slow.seconds, pause in ((0.1, publisher.PAUSE), (30.0, 30.0)):
        live.publish()
        now[0] += pause - 0.01
        assert not live.is_due
        now[0] += 0.02
        assert live.is_due


def test_the_model_gives_keras_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pyfunc

    from actlab.backend import tf
    from actlab.models.network import ModelSpec, load_model
    from actlab.models.served import with_probabilities

    images = scale_images(np.load("data/processed/test_images.npy"))
    publish_live()
    (output,) = run_named(NAME).outputs.model_outputs
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.tracking_uri())
    loaded = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    assert [spec.shape for spec in loaded.metadata.signature.inputs] == [(-1, 784)]
    assert [spec.shape for spec in loaded.metadata.signature.outputs] == [(-1, 10)]
    np.testing.assert_array_equal(loaded.input_example, images[:1])
    versions = Path(mlflow.pyfunc.get_model_dependencies(f"models:/{output.model_id}"))
    assert f"tensorflow=={tf.__version__}" in versions.read_text().split()
    given = loaded.predict(images)
    spec = ModelSpec.load(MODELS / "model.json")
    expected = with_probabilities(load_model(MODELS, 0), spec)(images)
    np.testing.assert_allclose(given, expected, rtol=1e-6)
    np.testing.assert_allclose(given.sum(axis=1), 1, rtol=1e-6)


def test_seeds_of_any_other_study_are_published_from_one_table() -> None:
    rows = [(seed, "score", 0, 0.5 + seed / 10, 1_700_000_000_000) for seed in SEEDS]
    record = publisher.Record(
        name="svm",
        seeds=SEEDS,
        params={"model.c": 1.0},
        tags={"actlab.fingerprint": "svm"},
        metrics=pd.DataFrame(rows, columns=["seed", *publisher.METRICS]),
        began=dict.fromkeys(SEEDS, 1_699_999_999_000),
        digests={0: "a", 1: "b"},
    )
    assert publisher.Publisher(lambda: record).publish_once()
    assert not publisher.Publisher(lambda: record).publish_once()
    assert statuses() == dict.fromkeys(("svm", "svm/seed-0", "svm/seed-1"), "FINISHED")
    parent = run_named("svm").data
    assert (parent.params["model.c"], parent.metrics["score_mean"]) == ("1.0", 0.55)
    assert store.connect().find_finished("svm")


# --- What ends early, and stores that fail ------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("of the\ntraining"), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
def test_a_training_that_ends_early_leaves_no_run_running(
    error: BaseException, status: str
) -> None:
    def train() -> None:
        with LivePublisher(CONFIG, FOLDER) as publisher:
            plant_run(CONFIG, FOLDER, epochs={0: 4, 1: 1})
            publisher.publish()
            raise error

    with pytest.raises(type(error)):
        train()
    assert statuses() == {
        NAME: status,
        f"{NAME}/seed-0": "FINISHED",
        f"{NAME}/seed-1": status,
    }
    note = run_named(NAME).data.tags.get("mlflow.note.content")
    assert note == ("Failed: ValueError: of the training" if status == "FAILED" else None)


def test_a_training_that_is_cut_off_while_it_writes_its_model_leaves_no_run_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {}

    def log_model(*_: Any) -> None:  # 1.2 s after the signal it has not returned
        (close,) = interrupts._actions
        close()
        found.update(statuses())
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, "log_model", log_model)
    plant_run(CONFIG, FOLDER)
    with LivePublisher(CONFIG, FOLDER) as publisher, pytest.raises(KeyboardInterrupt):
        publisher.publish()
    assert found.pop(NAME) == "KILLED"
    assert set(found.values()) == {"FINISHED"}
    assert interrupts._actions == []


def test_a_training_that_fails_before_its_first_epoch_leaves_no_run() -> None:
    def train() -> None:
        with LivePublisher(CONFIG, FOLDER):
            raise ValueError("no images")

    with pytest.raises(ValueError, match="no images"):
        train()
    assert stored_runs() == []


def test_a_training_publishes_after_it_closes_the_runs_of_a_killed_process() -> None:
    opened = store.connect()
    opened.create_run("killed", of_ended_process())
    publish_live()
    assert statuses()["killed"] == "FAILED"
    # Once a process: to look for them takes a call.
    opened.create_run("later", of_ended_process())
    publish_live(replace(CONFIG, paths=replace(PATHS, output="multirun/single")))
    assert statuses()["later"] == "RUNNING"


def publish_in_steps() -> Any:
    with LivePublisher(CONFIG, FOLDER) as publisher:
        for epoch in range(1, EPOCHS + 2):
            plant_run(CONFIG, FOLDER, epochs=dict.fromkeys(SEEDS, epoch))
            publisher.publish()
    return publisher


@pytest.mark.parametrize(
    ("method", "fails"),
    [
        ("log_batch", 5),  # an epoch in the middle
        ("log_model_artifacts", 1),
        ("set_terminated", 3),  # of the parent
    ],
)
def test_no_space_in_the_middle_is_said_once_and_what_is_lost_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], method: str, fails: int
) -> None:
    from mlflow import MlflowClient

    works = getattr(MlflowClient, method)
    calls = []

    def full(self: Any, *args: Any, **named: Any) -> Any:
        calls.append(args)
        if len(calls) >= fails:
            raise OSError(28, "No space left on device")
        return works(self, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, method, full)
        publisher = publish_in_steps()
    assert publisher.is_lost
    assert not publisher.is_due
    assert len(calls) == fails
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(
        "cannot be used (No space left on device): this training is logged in part only;"
        " run `python -m actlab.stages.sync` when it can"
    )
    assert statuses()[NAME] == "RUNNING"
    half_written = {run.info.run_id for run in stored_runs()}
    assert publish.publish(CONFIG, FOLDER, store.connect())
    whole = [run for run in stored_runs() if run.info.run_id not in half_written]
    names = [NAME, f"{NAME}/seed-0", f"{NAME}/seed-1"]
    assert sorted(run.info.run_name for run in whole) == names
    assert {run.info.status for run in whole} == {"FINISHED"}
    models = client().search_logged_models(experiment_ids=["1"])
    assert {str(model.status) for model in models} <= {"READY", "FAILED"}


def test_publishing_in_one_go_that_fails_leaves_failed_runs_and_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow import MlflowClient

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MlflowClient, "log_artifact", full)
    with pytest.raises(OSError, match="No space left"):
        publish.publish(CONFIG, FOLDER, store.connect())
    assert statuses()[NAME] == "FAILED"


@pytest.mark.parametrize(
    ("output", "name"),
    [
        (".", NAME),
        ("multirun/single", NAME),
        ("multirun/activation=relu,network=mlp", NAME),
        ("multirun/activation=relu,seeds=[0,1],sgd=1", f"{NAME} seeds=[0,1],sgd=1"),
    ],
)
def test_a_run_of_a_sweep_is_named_after_its_overrides(output: str, name: str) -> None:
    assert publish.run_name(replace(CONFIG, paths=replace(PATHS, output=output))) == name
