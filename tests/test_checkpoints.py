"""A training that goes on gives what it would have given; what is damaged is begun anew."""

import hashlib
import io
import math
import random
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from planted import GLOROT

from actlab.activations.config import ActivationConfig
from actlab.data.splits import Split
from actlab.models.config import NetworkConfig
from actlab.models.network import ModelSpec
from actlab.results.checkpoints import STATE, Checkpoints
from actlab.results.layout import RunFolder, weights_path
from actlab.training.config import OptimizerConfig, TrainingConfig
from actlab.training.trainer import Epoch, Fitted, Protocol, State, fit_seeds

KEPT, EPOCHS = [0, 2, 4], 4
SCHEDULE = {
    "_target_": "keras.optimizers.schedules.ExponentialDecay",
    "initial_learning_rate": 0.1,
    "decay_steps": 3,
    "decay_rate": 0.9,
}
#: What is trained: an activation, its constants, the network's other keys, the optimizer.
STUDIES = {
    "relu": ("relu", {}, {}, {"name": "adam", "learning_rate": 0.01}),
    "prelu": ("prelu", {"slope": 0.25}, {}, {"name": "adam", "learning_rate": 0.01}),
    "dropout": (
        *("gelu", {"approximate": False}, {"dropout": 0.3, "batch_norm": "before", "l2": 0.01}),
        {"name": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": SCHEDULE},
    ),
    "alpha_dropout": (
        *("selu", {}, {"alpha_dropout": 0.1, "layer_norm": "after", "skip": True}),
        {"name": "adafactor", "clipnorm": 1.0},
    ),
}


class CutError(Exception):
    """What ends a training before its time."""


def study(images, name, folder, cut_after=None, models_at_once=1):
    """Train two seeds with checkpoints; `cut_after` ends them after that many epochs in all.

    Gives the files that a user keeps, other than times, and how many epochs were trained.
    """
    function, constants, network, optimizer = STUDIES[name]
    spec = ModelSpec(
        ActivationConfig(function, function, constants),
        NetworkConfig("mlp", [12, 8, 8], **network),
        GLOROT,
    )
    checkpoints = Checkpoints(folder, [0, 1], KEPT)
    trained = []

    def save(state, gave):
        if cut_after is not None and len(trained) == cut_after:
            raise CutError
        trained.append(gave)
        checkpoints.save(state, gave)

    events = fit_seeds(
        spec,
        [seed for seed in (0, 1) if seed not in checkpoints.fitted],
        *(images, images, images),
        Protocol(TrainingConfig(EPOCHS, 64, KEPT), OptimizerConfig.read(optimizer)),
        checkpoints.keep,
        models_at_once,
        {seed: (state, checkpoints.epochs[seed]) for seed, state in checkpoints.states.items()},
        save,
    )
    with closing(events):
        for event in events:
            if isinstance(event, Fitted):
                checkpoints.finish(event)
    checkpoints.write()
    whole = {
        str(path.relative_to(folder)): path.read_bytes()
        for kind in (checkpoints.run.models, checkpoints.run.results)
        for path in sorted(kind.rglob("*.*"))
    }
    return whole, len(trained)


@pytest.fixture(scope="module")
def images(mnist):
    return Split(mnist.train.images[:300], mnist.train.labels[:300])


# Within a seed, at a kept epoch (2) and not; after one seed; after all.
@pytest.mark.parametrize(
    ("name", "cuts"),
    [("relu", (3, 4, 8)), ("prelu", (2,)), ("dropout", (3,)), ("alpha_dropout", (3,))],
)
def test_a_training_that_is_cut_short_goes_on_to_the_bit(name, cuts, images, tmp_path):
    whole, trained = study(images, name, tmp_path / "whole")
    assert trained == 2 * EPOCHS
    assert len(whole) == 2 * len(KEPT) + 4  # history, test and updates; test.npz
    for cut_after in cuts:
        folder = tmp_path / f"{cut_after}"
        if cut_after < 2 * EPOCHS:
            with pytest.raises(CutError):
                study(images, name, folder, cut_after)
        else:
            study(images, name, folder)
        resumed, trained = study(images, name, folder)
        assert resumed == whole
        assert trained == 2 * EPOCHS - cut_after  # each epoch once


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout"])
def test_models_at_once_change_no_bit(name, images, tmp_path):
    one, two = (study(images, name, tmp_path / f"{n}", models_at_once=n) for n in (1, 2))
    assert one == two


def load(folder, kept_epochs, seed=7):
    return Checkpoints(folder, [seed], kept_epochs)


@pytest.fixture
def saved(tmp_path):
    """A folder with a seed's checkpoint that has every kind of number, its weights in place."""
    checkpoints = load(tmp_path, KEPT)
    for epoch in (0, 2):
        path = weights_path(checkpoints.run.models, 7, epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
    checkpoints.updates[7] = [(0, "hidden_1", 1e-300), (2, "output", math.nan)]
    for state, epoch in zip(STATES, GIVEN, strict=True):
        checkpoints.save(state, epoch)
    return tmp_path


STATES = [
    State(7, epoch, [np.array([[epoch, 0.1]], np.float32), np.array(9, np.int64)])
    for epoch in (1, 2)
]
GIVEN = [
    Epoch(7, 1, math.nan, 0.9, 1 / 3, 0.8, 1.5, 2.5, 2, 10),
    Epoch(7, 2, math.inf, 0.2, 0.3, 0.1, 1.0, 2.0, 1, 20),
]


def test_a_seed_that_ended_early_on_a_kept_epoch_is_loaded(tmp_path):
    checkpoints = load(tmp_path, [0, 2, 20])
    for epoch in (0, 20):  # the weights after its last epoch, 2, have the name of the final one
        path = weights_path(checkpoints.run.models, 7, epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
    checkpoints.epochs[7] = GIVEN[:1]
    checkpoints.save(replace(STATES[1], is_last=True), GIVEN[1])
    found = load(tmp_path, [0, 2, 20])
    assert (found.states[7].epoch, found.states[7].is_last) == (2, True)


def test_what_is_saved_is_loaded(saved):
    found = load(saved, [0, 2])
    assert found.fitted == {}
    found.finish(Fitted(7, 0.5, 0.75, np.ones((2, 10), np.float32)))
    assert load(saved, [0, 2, 4]).fitted == {}  # of another process: 2 is not the end
    found = load(saved, [0, 2])
    assert repr(found.epochs) == repr({7: GIVEN})  # NaN is not NaN
    assert repr(found.updates) == repr({7: [(0, "hidden_1", 1e-300), (2, "output", math.nan)]})
    assert found.states[7].epoch == 2
    for ours, theirs in zip(found.states[7].variables, STATES[1].variables, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert found.fitted[7].test_loss == 0.5
    np.testing.assert_array_equal(found.fitted[7].test_logits, np.ones((2, 10)))
    assert load(saved, KEPT, seed=8).states == {}
    found.remove()
    assert load(saved, KEPT).states == {}


def test_the_run_folder_has_the_rows_so_far(saved):
    found = load(saved, [0, 2])
    found.write()
    assert found.run.read_table("history")["epoch"].tolist() == [1, 2]
    assert found.run.read_table("timings")["ended"].tolist() == [10, 20]
    assert found.run.read_table("updates")["layer"].tolist() == ["hidden_1", "output"]
    assert found.run.read_table("test").empty
    assert not (found.run.results / "test.npz").exists()
    found.finish(Fitted(7, 0.5, 0.75, np.ones((2, 10), np.float32)))
    found.write()
    assert found.run.read_table("test").to_numpy().tolist() == [[7, 0.5, 0.75]]
    assert np.load(found.run.results / "test.npz")["seed-7"].shape == (2, 10)


def test_a_run_is_copied_without_what_a_kill_left_half_written(saved):
    run = load(saved, [0, 2]).run
    load(saved, [0, 2]).write()
    run.record.write_text("{}")
    half = run.models / "seed-7/.epoch-002.weights.h5.host.1.x.partial/epoch-002.weights.h5"
    half.parent.mkdir()
    half.write_bytes(b"half")
    copied = RunFolder(saved / "copied")
    run.copy_to(copied)
    names = ["seed-7/epoch-000.weights.h5", "seed-7/epoch-002.weights.h5"]
    assert sorted(map(str, copied.models.rglob("*.*"))) == [
        str(copied.models / name) for name in names
    ]
    assert len(copied.read_table("history")) == len(copied.read_table("timings")) == 2
    assert copied.record.read_text() == "{}"


def test_on_another_processor_a_seed_begins_anew(saved, monkeypatch):
    monkeypatch.setattr("actlab.results.checkpoints._processor", lambda: "another")
    assert load(saved, KEPT).states == {}


def test_without_the_weights_that_are_behind_it_a_seed_begins_anew(saved):
    found = load(saved, [0, 2, 4])  # 4 is to come
    assert found.states
    weights_path(found.run.models, 7, 2).unlink()
    found = load(saved, [0, 2, 4])
    assert (found.states, found.epochs, found.updates) == ({}, {7: []}, {7: []})


def test_a_damaged_checkpoint_is_none(saved):
    """As a power failure leaves it: cut short, zeros, other bits."""
    path = saved / "seed-7" / STATE
    content, rng = path.read_bytes(), random.Random(0)
    for kind in ["cut", "zeros", "flip"] * 100:
        place, damaged = rng.randrange(len(content)), bytearray(content)
        if kind == "cut":
            del damaged[place:]
        elif kind == "zeros":
            damaged[place:] = bytes(len(content) - place)
        else:
            damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        if damaged != content:
            assert load(saved, KEPT).states == {}, (kind, place)
    path.write_bytes(content)
    assert load(saved, KEPT).states


def test_no_checkpoint_is_unpickled(saved, tmp_path):
    path = saved / "seed-7" / STATE

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    packed = io.BytesIO()
    np.savez(packed, values=np.array([Trap()], dtype=object))
    content = packed.getvalue()
    path.write_bytes(hashlib.sha256(content).digest() + content)
    assert load(saved, KEPT).states == {}
    assert not (tmp_path / "sprung").exists()
