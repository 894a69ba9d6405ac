import time

import numpy as np
import pytest
from planted import activation_of

from actlab.activations.functions import nonlinearity_of
from actlab.probes import kernels

UNITS, IMAGES = 12, 7
COUNTS = {"forward": 2, "backward": 4, "elementwise": 8}


def parts_of(name):
    layer = kernels.build_layer(activation_of(name), UNITS)
    return layer, kernels.draw_batches(layer, IMAGES)


def by_numpy(operation, name, layer, batches, which):
    """What an operation gives, in double precision."""
    phi = nonlinearity_of(activation_of(name))
    inputs, preactivations, upstream = (each[which].astype(np.float64) for each in batches)
    kernel, bias = (each.numpy().astype(np.float64) for each in (layer.kernel, layer.bias))
    if operation == "forward":
        return [phi.value(inputs @ kernel + bias)]
    if operation == "elementwise":
        return [phi.value(preactivations)]
    deltas = upstream * phi.derivative(preactivations)
    return [inputs.T @ deltas, deltas.sum(axis=0), deltas @ kernel.T]


@pytest.mark.parametrize("operation", list(kernels.OPERATIONS))
@pytest.mark.parametrize("name", ["sigmoid", "prelu", "hard_shrink"])
def test_an_operation_gives_what_numpy_gives(name, operation):
    layer, batches = parts_of(name)
    layer.bias.assign(np.linspace(-1, 1, UNITS))
    run = kernels.compile_operation(operation, layer, batches)
    for repetitions, which in ((1, 0), (2, 1), (5, 0)):  # the two batches take turns
        given = run(repetitions)
        expected = by_numpy(operation, name, layer, batches, which)
        assert len(given) == len(expected)
        for one, other in zip(given, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_no_repetition_is_left_out():
    """Many repetitions take many times what a few take, by far more than calling costs."""
    layer = kernels.build_layer(activation_of("sigmoid"), 256)
    batches = kernels.draw_batches(layer, 64)
    for operation in kernels.OPERATIONS:
        run = kernels.compile_operation(operation, layer, batches)
        run(1)
        few, many = (min(clocked(run, count) for _ in range(5)) for count in (100, 1000))
        assert many > 5 * few, operation


def clocked(run, repetitions):
    """Seconds of the processor, which other processes do not lengthen."""
    started = time.process_time()
    run(repetitions)
    return time.process_time() - started


def time_blocks(activations):
    """Eight blocks; in the pipeline each is a process of its own."""
    return [
        timed
        for block in range(1, 9)
        for timed in kernels.time_kernels(activations, IMAGES, UNITS, COUNTS, block)
    ]


def test_blocks_hold_every_operation_of_every_activation_in_drawn_orders():
    activations = {name: activation_of(name) for name in ("sigmoid", "tanh", "relu")}
    timed = time_blocks(activations)
    assert len(timed) == 8 * 3 * 3
    assert [each.block for each in timed] == [at for at in range(1, 9) for _ in range(9)]
    assert [each.operation for each in timed[:9]] == [
        operation for operation in kernels.OPERATIONS for _ in range(3)
    ]
    orders = {tuple(each.activation for each in timed[at : at + 3]) for at in range(0, 72, 3)}
    assert {frozenset(order) for order in orders} == {frozenset(activations)}
    assert len(orders) > 3
    assert [each.place for each in timed] == [0, 1, 2] * 24
    again = time_blocks(activations)
    assert [each.activation for each in again] == [each.activation for each in timed]


def test_seconds_are_those_of_one_repetition(monkeypatch):
    """A clock that goes on by a second whenever it is read: a measurement takes one."""
    seconds = iter(range(1000))
    monkeypatch.setattr("actlab.probes.kernels.time.perf_counter", lambda: float(next(seconds)))
    activations = {name: activation_of(name) for name in ("tanh", "relu")}
    timed = list(kernels.time_kernels(activations, IMAGES, UNITS, COUNTS, block=2))
    assert {(each.operation, each.repetitions, each.seconds) for each in timed} == {
        ("forward", 2, 0.5),
        ("backward", 4, 0.25),
        ("elementwise", 8, 0.125),
    }
