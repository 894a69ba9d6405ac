"""A training that goes on gives what it would have given; what is damaged is begun anew."""

import hashlib
import io
import math
import random
from contextlib import closing

import numpy as np
import pytest

from actlab.activations.config import ActivationConfig
from actlab.data.splits import Split
from actlab.models.config import NetworkConfig
from actlab.models.network import ModelSpec
from actlab.training.checkpoints import STATE, Checkpoints
from actlab.training.trainer import Epoch, Fitted, Protocol, State, fit_seeds

KEPT, EPOCHS = [0, 2, 4], 4
FUNCTIONS = {"relu": {}, "prelu": {"slope": 0.25}}


class CutError(Exception):
    """What ends a training before its time."""


def study(images, function, checkpoints, cut_after=None):
    """Train two seeds with checkpoints; `cut_after` ends them after that many epochs in all.

    Gives what a user keeps, other than times, and how many epochs were trained.
    """
    spec = ModelSpec(
        ActivationConfig(function, function, FUNCTIONS[function]),
        NetworkConfig("mlp", [12, 8]),
        "glorot_uniform",
    )
    begun = {seed: checkpoints.load(seed, KEPT) for seed in (0, 1)}
    begun = {seed: found for seed, found in begun.items() if found}
    epochs = {seed: begun[seed].epochs if seed in begun else [] for seed in (0, 1)}
    updates = {seed: begun[seed].updates if seed in begun else [] for seed in (0, 1)}
    fitted = {seed: found.fitted for seed, found in begun.items() if found.fitted}
    trained = []

    def keep(seed, epoch, model, next_step):
        checkpoints.keep(seed, epoch, model)
        updates[seed].extend((epoch, *ratio) for ratio in next_step().items())

    def save(state, gave):
        if cut_after is not None and len(trained) == cut_after:
            raise CutError
        trained.append(gave)
        epochs[state.seed].append(gave)
        checkpoints.save(state, epochs[state.seed], updates[state.seed])

    events = fit_seeds(
        spec,
        [seed for seed in (0, 1) if seed not in fitted],
        *(images, images, images),
        Protocol(EPOCHS, 64, 0.01, KEPT),
        keep,
        1,
        {seed: found.state for seed, found in begun.items()},
        save,
    )
    with closing(events):
        for event in events:
            if isinstance(event, Fitted):
                checkpoints.finish(event)
                fitted[event.seed] = event
    gave = [
        (each.seed, each.epoch, each.loss, each.accuracy, each.val_loss, each.val_accuracy)
        for seed in (0, 1)
        for each in epochs[seed]
    ]
    tests = [
        (each.test_loss, each.test_accuracy, each.test_logits.tobytes())
        for each in (fitted[0], fitted[1])
    ]
    weights = [checkpoints.weights(seed, epoch).read_bytes() for seed in (0, 1) for epoch in KEPT]
    return (gave, tests, weights, updates), len(trained)


@pytest.fixture(scope="module")
def images(mnist):
    return Split(mnist.train.images[:300], mnist.train.labels[:300])


# Within a seed, at a kept epoch (2) and not; after one seed; after all.
@pytest.mark.parametrize(("function", "cuts"), [("relu", (3, 4, 8)), ("prelu", (2,))])
def test_a_training_that_is_cut_short_goes_on_to_the_bit(function, cuts, images, tmp_path):
    whole, trained = study(images, function, Checkpoints(tmp_path / "whole"))
    assert trained == 2 * EPOCHS
    for cut_after in cuts:
        checkpoints = Checkpoints(tmp_path / f"{cut_after}")
        if cut_after < 2 * EPOCHS:
            with pytest.raises(CutError):
                study(images, function, checkpoints, cut_after)
        else:
            study(images, function, checkpoints)
        resumed, trained = study(images, function, checkpoints)
        assert resumed == whole
        assert trained == 2 * EPOCHS - cut_after  # each epoch once


@pytest.fixture
def saved(tmp_path):
    """A seed's checkpoint with every kind of number, its weights in place."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    rng = np.random.default_rng(0)
    state = State(7, 2, [rng.random((3, 4)).astype(np.float32), np.array(9, np.int64)])
    epochs = [
        Epoch(7, 1, 0.1, 0.9, 1 / 3, 0.8, 1.5, 2.5, 2),
        Epoch(7, 2, math.inf, 0.2, 0.3, 0.1, 1.0, 2.0, 1),
    ]
    updates = [(0, "hidden_1", 1e-300), (2, "output", 0.1)]
    for epoch in (0, 2):
        checkpoints.weights(7, epoch).parent.mkdir(parents=True, exist_ok=True)
        checkpoints.weights(7, epoch).write_bytes(b"weights")
    checkpoints.save(state, epochs, updates)
    return checkpoints, state, epochs, updates


def test_what_is_saved_is_loaded(saved):
    checkpoints, state, epochs, updates = saved
    fitted = Fitted(7, 0.5, 0.75, np.ones((2, 10), np.float32), 3.5)
    assert checkpoints.load(7, [0, 2]).fitted is None
    checkpoints.finish(fitted)
    assert checkpoints.load(7, [0, 2, 4]).fitted is None  # of another process: 2 is not the end
    found = checkpoints.load(7, [0, 2])
    assert (found.epochs, found.updates, found.state.epoch) == (epochs, updates, 2)
    for ours, theirs in zip(found.state.variables, state.variables, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found.fitted.test_logits, fitted.test_logits)
    assert (found.fitted.test_loss, found.fitted.compile_seconds) == (0.5, 3.5)
    assert checkpoints.load(8, KEPT) is None
    checkpoints.remove()
    assert checkpoints.load(7, KEPT) is None


def test_a_loss_that_is_no_number_is_saved(saved):
    checkpoints, state, *_ = saved
    checkpoints.save(
        state, [Epoch(7, 1, math.nan, 0.2, 0.3, 0.1, 1.0, 2.0, 1)], [(0, "output", math.nan)]
    )
    found = checkpoints.load(7, KEPT)
    assert math.isnan(found.epochs[0].loss)
    assert math.isnan(found.updates[0][2])


def test_on_another_processor_a_seed_begins_anew(saved, monkeypatch):
    checkpoints, *_ = saved
    monkeypatch.setattr("actlab.training.checkpoints._processor", lambda: "another")
    assert checkpoints.load(7, KEPT) is None


def test_without_the_weights_that_are_behind_it_a_seed_begins_anew(saved):
    checkpoints, *_ = saved
    assert checkpoints.load(7, [0, 2, 4])  # 4 is to come
    checkpoints.weights(7, 2).unlink()
    assert checkpoints.load(7, [0, 2, 4]) is None


def test_a_damaged_checkpoint_is_none(saved):
    """As a power failure leaves it: cut short, zeros, other bits."""
    checkpoints, *_ = saved
    path = checkpoints.folder / "seed-7" / STATE
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
            assert checkpoints.load(7, KEPT) is None, (kind, place)
    path.write_bytes(content)
    assert checkpoints.load(7, KEPT)


def test_no_checkpoint_is_unpickled(saved, tmp_path):
    checkpoints, *_ = saved
    path = checkpoints.folder / "seed-7" / STATE

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    packed = io.BytesIO()
    np.savez(packed, known=np.array([Trap()], dtype=object))
    content = packed.getvalue()
    path.write_bytes(hashlib.sha256(content).digest() + content)
    assert checkpoints.load(7, KEPT) is None
    assert not (tmp_path / "sprung").exists()
