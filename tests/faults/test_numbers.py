"""Numbers at the edge of what there is: each has the answer of another way to it, or is refused."""

import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import (
    CONSTANTS,
    GLOROT,
    REPORT,
    adam,
    all_of,
    compared,
    composed_of,
    configured,
    plant,
    spoil,
)
from planted_sweep import Runs, plant_grid

from actlab.activations.config import ActivationConfig
from actlab.data.splits import Split, Splits, count_classes, save_processed
from actlab.engine import csvs
from actlab.errors import UserError
from actlab.evidence import comparisons, summaries
from actlab.models.config import NetworkConfig
from actlab.probes.config import GradientsConfig, TheoryConfig
from actlab.reporting import activation_figures, drawings, look, report, sections
from actlab.results import layout, tables
from actlab.results.study import Study
from actlab.schema import PathsConfig
from actlab.training.compiled import shuffled_order
from actlab.training.config import TrainingConfig
from actlab.training.trainer import Epoch, Fitted, Protocol, fit_seeds

pytestmark = [
    # MLflow's own models of its tables use what SQLAlchemy 2.1 calls deprecated.
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy:DeprecationWarning:mlflow.store.tracking"
    ),
    # MLflow's own agents have type hints that it finds too wide, when it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning:mlflow"),
]

PIXELS, CLASSES = 16, 10


def draw(count: int, label: int | None = None, pixel: float | None = None, pixels: int = PIXELS):
    """Images and labels at random; or all of one label, or of one pixel's value."""
    rng = np.random.default_rng([count, pixels])
    images = rng.random((count, pixels), dtype=np.float32)
    labels = rng.integers(0, CLASSES, count).astype(np.int32)
    if label is not None:
        labels = np.full(count, label, np.int32)
    if pixel is not None:
        images = np.full((count, pixels), pixel, np.float32)
    return Split(images, labels)


def spec_of(function: str, hidden: Sequence[int], pixels: int = PIXELS) -> Any:
    from actlab.models.network import ModelSpec

    activation = ActivationConfig(function, function, CONSTANTS.get(function, {}))
    network = NetworkConfig("net", list(hidden))
    return ModelSpec(activation, network, GLOROT, inputs=pixels)


# --- Trainings ----------------------------------------------------------------------------


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    highest = logits.max(axis=1)
    sums = np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest
    return float((sums - logits[np.arange(len(labels)), labels]).mean())


def regress(
    kernel: np.ndarray, train: Split, test: Split, seed: int, epochs: int, batch: int, rate: float
) -> tuple[list[float], np.ndarray]:
    """Softmax regression by Adam (Kingma & Ba 2015, section 2, last paragraph), in NumPy.

    Gives the mean loss of each epoch, each batch's before its update, and the logits of the test
    images after the last.
    """
    weights = [kernel.astype(np.float64), np.zeros(kernel.shape[1])]
    means = [np.zeros_like(each) for each in weights]
    squares = [np.zeros_like(each) for each in weights]
    losses, step = [], 0
    for epoch in range(1, epochs + 1):
        order, total = shuffled_order(seed, epoch, len(train.labels)), 0.0
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            images, labels = train.images[chosen].astype(np.float64), train.labels[chosen]
            logits = images @ weights[0] + weights[1]
            total += cross_entropy(logits, labels) * len(chosen)
            error = (softmax(logits) - np.eye(kernel.shape[1])[labels]) / len(chosen)
            step += 1
            size = rate * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            for at, gradient in enumerate((images.T @ error, error.sum(axis=0))):
                means[at] = 0.9 * means[at] + 0.1 * gradient
                squares[at] = 0.999 * squares[at] + 0.001 * gradient**2
                weights[at] = weights[at] - size * means[at] / (np.sqrt(squares[at]) + 1e-7)
        losses.append(total / len(order))
    return losses, test.images @ weights[0] + weights[1]


@dataclass(frozen=True)
class Edge:
    """A training whose answer is that of softmax regression: no hidden layer, or none that acts."""

    train: Split
    test: Split
    hidden: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    epochs: int = 2
    batch: int = 8
    rate: float = 0.01


#: Of ReLU: on images that are all zero its units are all dead, and the biases alone are trained.
EDGES = {
    "0 hidden layers": Edge(draw(20), draw(10)),
    "1 image": Edge(draw(1), draw(1)),
    "1 epoch": Edge(draw(20), draw(10), epochs=1),
    "a batch larger than the data": Edge(draw(5), draw(3), batch=1000),
    "a batch beyond 64 bits": Edge(draw(5), draw(3), batch=2**70),
    "a batch of 1": Edge(draw(5), draw(3), batch=1),
    "one class in a batch": Edge(
        draw(16)._replace(labels=np.repeat([3, 7], 8).astype(np.int32)), draw(10), batch=1
    ),
    "one class in the data": Edge(draw(20, label=3), draw(10, label=3), epochs=20, rate=0.1),
    "a class that is not in the data": Edge(draw(20, label=3), draw(10, label=4)),
    "images that are all 0": Edge(draw(20, pixel=0.0), draw(10, pixel=0.0)),
    "images that are all 1": Edge(draw(20, pixel=1.0), draw(10, pixel=1.0)),
    "a network that is all dead": Edge(draw(20, pixel=0.0), draw(10), hidden=(8, 8), epochs=5),
    "a seed beyond 32 bits": Edge(draw(20), draw(10), seeds=(2**32 - 1, 2**32, 2**32 + 1)),
    "a seed beyond 64 bits": Edge(draw(20), draw(10), seeds=(2**64, 2**100)),
    "a learning rate of 1e30": Edge(draw(20), draw(10), rate=1e30),
    "a learning rate of 1e-40": Edge(draw(20), draw(10), rate=1e-40),
}

#: What the quick part has; each takes a second to compile.
QUICK = ("1 image", "a network that is all dead", "a seed beyond 64 bits")


@pytest.mark.parametrize("name", EDGES)
def test_a_training_at_the_edge_is_that_of_regression_by_hand(name, is_whole, tally):
    from actlab.models.network import build_model

    if name not in QUICK and not is_whole:
        pytest.skip("each takes a second to compile: make faults")
    edge = EDGES[name]
    spec = spec_of("relu", edge.hidden)
    test = Split(np.zeros_like(edge.test.images), edge.test.labels) if edge.hidden else edge.test
    protocol = Protocol(TrainingConfig(edge.epochs, edge.batch, []), adam(edge.rate))
    events = list(fit_seeds(spec, edge.seeds, edge.train, test, test, protocol))
    assert len(events) == len(edge.seeds) * (edge.epochs + 1)
    kernels = [build_model(spec, seed).get_weights()[0] for seed in edge.seeds]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)
    for seed, kernel in zip(edge.seeds, kernels, strict=True):
        if edge.hidden:  # all that reaches the output is 0
            kernel = np.zeros((PIXELS, CLASSES))
        losses, logits = regress(kernel, edge.train, test, seed, edge.epochs, edge.batch, edge.rate)
        *epochs, fitted = (event for event in events if event.seed == seed)
        trained = [epoch.loss for epoch in epochs if isinstance(epoch, Epoch)]
        np.testing.assert_allclose(trained, losses, rtol=1e-4, atol=1e-5)
        assert isinstance(fitted, Fitted)
        scale = max(1.0, float(np.abs(logits).max()))
        np.testing.assert_allclose(fitted.test_logits, logits, rtol=1e-4, atol=1e-4 * scale)
        accuracy = (logits.argmax(axis=1) == test.labels).mean()
        assert fitted.test_accuracy == pytest.approx(accuracy, abs=1e-6)
    tally("numbers, trainings with an answer by hand", 1, [])


@pytest.mark.parametrize(("function", "rate"), [("relu", 1e30), ("exponential", 1e4)])
def test_a_loss_that_is_no_number_is_a_divergence_and_every_epoch_is_told(function, rate, is_whole):
    from actlab.results.layout import Run
    from actlab.training.trainer import Epoch, Fitted, Protocol, fit_seeds

    if function != "relu" and not is_whole:
        pytest.skip("it is as with relu: make faults")
    train, test, ratios = draw(20), draw(10), {}

    def keep(seed: int, epoch: int, model: Any, next_step: Any) -> None:
        ratios[epoch] = next_step()

    protocol = Protocol(TrainingConfig(3, 8, [0, 3]), adam(rate))
    events = list(fit_seeds(spec_of(function, (8, 8)), [0], train, test, test, protocol, keep))
    epochs = [each for each in events if isinstance(each, Epoch)]
    (fitted,) = (each for each in events if isinstance(each, Fitted))
    assert [each.epoch for each in epochs] == [1, 2, 3]
    assert math.isnan(epochs[-1].loss)
    assert math.isnan(fitted.test_loss)
    rows = pd.DataFrame([vars(each) for each in epochs])
    tested = pd.DataFrame({"seed": [0], "test_loss": [fitted.test_loss]})
    assert Run(configured(Path()), "", "", rows, tested, pd.DataFrame()).divergences == {0: 1}
    # NumPy's argmax of what holds a NaN is its place, as XLA's: the accuracy counts images.
    right = fitted.test_logits.argmax(axis=1) == test.labels
    assert fitted.test_accuracy == pytest.approx(right.mean(), abs=1e-6)
    assert all(math.isfinite(ratio) for ratio in ratios[0].values())
    assert any(math.isnan(ratio) for ratio in ratios[3].values())


def backpropagate(weights: Sequence[np.ndarray], batch: Split) -> tuple[np.ndarray, np.ndarray]:
    """Give the logits of a network of tanh, and the gradient of its first kernel, in NumPy."""
    kernels, biases = weights[::2], weights[1::2]
    values = [batch.images.astype(np.float64)]
    for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
        values.append(np.tanh(values[-1] @ kernel + bias))
    logits = values[-1] @ kernels[-1] + biases[-1]
    error = (softmax(logits) - np.eye(logits.shape[1])[batch.labels]) / len(batch.labels)
    for kernel, value in zip(reversed(kernels[1:]), reversed(values[1:]), strict=True):
        error = error @ kernel.T.astype(np.float64) * (1 - value**2)
    return logits, values[0].T @ error


@pytest.mark.parametrize("hidden", [(1,), (1,) * 8, (8,) * 100], ids=["1", "8x1", "100x8"])
def test_the_narrowest_and_the_deepest_are_solved_by_numpy(hidden):
    from actlab.models.network import build_model
    from actlab.probes.gradients import compile_pass, summarise_gradient

    model, batch = build_model(spec_of("tanh", hidden), 0), draw(12)
    passes = compile_pass(model)(batch)
    logits, gradient = backpropagate(model.get_weights(), batch)
    np.testing.assert_allclose(passes["output"].activations, logits, rtol=1e-4, atol=1e-6)
    scale = np.abs(gradient).max()
    assert scale > 0
    np.testing.assert_allclose(passes["hidden_1"].gradient, gradient, rtol=0, atol=1e-3 * scale)
    said = summarise_gradient(passes["hidden_1"].gradient, model.layers[0].kernel.numpy())
    assert said["l2_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-3)


def test_a_network_that_is_all_dead_has_no_gradient_and_its_biases_as_logits(tmp_path):
    from actlab.models.network import build_model, weights_path
    from actlab.probes.gradients import compile_pass, probe_configuration

    spec, batch = spec_of("relu", (8, 8, 8)), draw(12)
    model = build_model(spec, 0)
    for layer in model.layers[:-1]:
        layer.bias.assign(np.full(8, -1e3, np.float32))
    biases = np.linspace(-1, 1, CLASSES, dtype=np.float32)
    model.layers[-1].bias.assign(biases)
    np.testing.assert_array_equal(
        compile_pass(model)(batch)["output"].activations, np.tile(biases, (12, 1))
    )
    spec.save(tmp_path / "model.json")
    path = weights_path(tmp_path, 0, 0)
    path.parent.mkdir()
    model.save_weights(path)
    rows, densities = probe_configuration(tmp_path, [0], {"test": batch}, "test", 0.05, 5)
    said = {(layer, statistic): value for _, _, layer, _, statistic, value in rows}
    for layer in ("hidden_1", "hidden_2", "hidden_3"):
        assert said[layer, "dead_fraction"] == said[layer, "saturated_fraction"] == 1.0
        assert said[layer, "l2_norm"] == said[layer, "backprop_rms"] == 0.0
        assert math.isnan(said[layer, "one_sign_fraction"])  # the share of nothing
    assert said["output", "l2_norm"] == 0.0
    assert said["output", "backprop_rms"] > 0
    assert {layer for _, layer, *_ in densities} == {"hidden_1", "hidden_2", "hidden_3"}


# What float32, in which all is trained, cannot tell from 0 or from infinity would train nothing.
@pytest.mark.parametrize("rate", [1e-46, 1e-300, 3.5e38, 1e300, math.inf, math.nan, 0.0, -1.0])
def test_a_learning_rate_that_float32_lacks_is_refused(rate):
    with pytest.raises(UserError, match=rf"learning_rate is {re.escape(repr(rate))}: it has to be"):
        adam(rate)


@pytest.mark.parametrize("rate", [1e-45, 1e-30, 1e30, 3.4e38])
def test_a_learning_rate_that_float32_has_is_taken(rate):
    assert adam(rate).settings["learning_rate"] == rate


# --- Theory -------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["relu", "sigmoid"])
def test_theory_of_images_without_a_signal_says_nothing_and_measures_what_there_is(function):
    from actlab.probes.untrained import compare_with_theory

    activation = ActivationConfig(function, function, {})
    batch = draw(6, pixel=0.0, pixels=784)
    rows, predicted = compare_with_theory(activation, GLOROT, 8, 3, [0, 1], batch)
    for _, _, _, *predicted_and_band, _ in rows:
        assert np.isnan(predicted_and_band).all()
    forward = [row for row in rows if row[1] == "forward"]
    assert [row[0] for row in forward] == ["hidden_2"] * 2 + ["hidden_3"] * 2 + ["all"] * 2
    # hidden_1 is 0, so that nothing can be divided by it; hidden_3 by hidden_2 sigmoid has.
    assert all(math.isnan(row[-1]) for row in forward if row[0] == "hidden_2")
    measured = [row[-1] for row in forward if row[0] == "hidden_3"]
    assert all(math.isfinite(ratio) == (function == "sigmoid") for ratio in measured)
    sigma_w2, _, _, _, steepest, q_star, chi_1, _ = predicted
    assert sigma_w2 == pytest.approx(1.0)
    assert steepest == {"relu": 1.0, "sigmoid": 0.25}[function]
    assert math.isnan(q_star)
    assert math.isnan(chi_1)


# --- Reports ------------------------------------------------------------------------------

#: What no sentence may say: a missing number is "n/a", "undefined" or "∞".
NO_WORDS = re.compile(r"\b(?:nan|NaN|inf|None|null)\b|\d{30,}")


def wrong_words(markdown: str) -> list[str]:
    """Give the lines with a number that is none and not said plainly."""
    return [line for line in markdown.splitlines() if NO_WORDS.search(line)]


def report_of(planted: Study, folder: Path) -> report.Report:
    names = {name: getattr(planted, name) for name in ("activations", "networks", "seeds")}
    config = configured(folder, training=TrainingConfig(planted.epochs, 128, [0]), **names)
    counts = pd.DataFrame([("train", 0, 6), ("test", 0, 1)], columns=list(tables.CLASS_COUNTS))
    return composed_of(planted, compared(planted), counts, config)


def accuracies_of(value: float):
    return all_of(spoil("test", "test_accuracy", value), spoil("history", "val_accuracy", value))


DIVERGED = all_of(
    *(spoil("history", column, math.nan) for column in ("loss", "val_loss")),
    spoil("test", "test_loss", math.nan),
    spoil("updates", "update_ratio", math.nan),
    spoil("gradients", "value", math.nan),
)

#: What is planted; most of three activations on a network of two layers with two seeds.
STUDIES: dict[str, dict[str, Any]] = {
    "one seed, activation and network": {"activations": ["relu"], "seeds": [0]},
    "one seed": {"seeds": [5]},
    "one activation": {"activations": ["tanh"]},
    "0 hidden layers": {"networks": {"mlp": ()}},
    "0 hidden layers, one seed": {"networks": {"mlp": ()}, "seeds": [0]},
    "100 hidden layers": {"networks": {"deep": (4,) * 100}, "activations": ["relu", "tanh"]},
    "width 1": {"networks": {"mlp": (1,), "deep": (1,) * 8}},
    "seeds beyond 32 bits": {"seeds": [2**32, 2**32 + 1, 2**63 - 1]},
    "every seed diverged": {"changed": DIVERGED},
    "every seed diverged, one seed": {"changed": DIVERGED, "seeds": [0]},
    "losses beyond any scale": {
        "changed": all_of(spoil("test", "test_loss", 1.2e31), spoil("history", "val_loss", 1e31))
    },
    "infinite losses": {"changed": spoil("test", "test_loss", math.inf)},
    "gradients that are all zero": {"changed": spoil("gradients", "value", 0.0)},
    "gradients that are all alike": {"changed": spoil("gradients", "value", 0.25)},
    "infinite gradients": {"changed": spoil("gradients", "value", math.inf)},
    "accuracies that are all 1": {"changed": accuracies_of(1.0)},
    "accuracies that are all 0": {"changed": accuracies_of(0.0)},
    "steps of no size": {"changed": spoil("updates", "update_ratio", 0.0)},
}


@pytest.mark.parametrize("name", STUDIES)
def test_a_report_of_a_study_at_the_edge_says_no_number_that_is_none(
    name, tmp_path, is_whole, tally
):
    if not is_whole and list(STUDIES).index(name) % 5 != 1:
        pytest.skip("each takes two seconds: make faults")
    planted: dict[str, Any] = {"networks": {"mlp": (4, 4)}, "seeds": [0, 1], "epochs": 1}
    study = plant(tmp_path, **planted | STUDIES[name])
    composed = report_of(study, tmp_path)
    text = report.render_markdown(composed)
    assert len(composed.sections) > 5
    failures = wrong_words(text)
    for network, activation in study.identities():
        rows = csvs.where(study.test, activation=activation, network=network)
        line = f"| {network} | {activation} | {100 * rows['test_accuracy'].mean():.2f} %"
        if line not in text:
            failures.append(f"no line {line}")
    texts = [
        block
        for section in composed.sections
        for block in section.blocks
        if isinstance(block, report.Text)
    ]
    for line in [*composed.answer, *(line for block in texts for line in block.lines)]:
        if not line.endswith(".") or re.search(r"  | [,;.:]|,[,;.]|\(\)", line):
            failures.append(f"is no sentence: {line}")
    if len(study.seeds) == 1 and re.search("better than|shrinks with|grows with", text):
        failures.append("one seed shows an order")
    tally("numbers, reports of planted studies", 1, failures)


def diverged_runs() -> Runs:
    runs = Runs()
    for activation in ("tanh", "relu"):
        runs.add(activation, [0.1, 0.1], outcome="diverged")
    return runs


SWEEPS: dict[str, Callable[[], Runs]] = {
    "one activation": lambda: plant_grid(["relu"], {"network__depth": ["1", "2"]}, seeds=2),
    "one seed each": lambda: plant_grid(["tanh", "relu"], {}, seeds=1),
    "every run diverged": diverged_runs,
    "accuracies that are all alike": lambda: plant_grid(["tanh", "relu"], {}, 2, lambda *_: 0.5),
    "100 layers": lambda: plant_grid(["tanh", "relu"], {"network__depth": ["1", "100"]}, seeds=2),
    "learning rates of 1e-40 and 1e30": lambda: plant_grid(
        ["tanh", "relu"], {"optimizer__learning_rate": ["1e-40", "1e+30"]}, seeds=2
    ),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_comparison_of_a_sweep_at_the_edge_says_no_number_that_is_none(name, is_whole, tally):
    if not is_whole and list(SWEEPS).index(name) not in (1, 2):
        pytest.skip("each takes two seconds: make faults")
    sweep = SWEEPS[name]().gather()
    scores = comparisons.score(sweep, REPORT.target_accuracy)
    summary = summaries.summarise(sweep, scores, REPORT.confidence)
    found = comparisons.compare(sweep, scores, REPORT)
    drawn = drawings.draw(sweep, (), REPORT.confidence)
    composed = sections.compose(sweep, summary, found, drawn, configured(Path()))
    text = report.render_markdown(composed)
    text += sections.render_text(sweep, summary, REPORT.confidence)
    tally("numbers, comparisons of sweeps", 1, wrong_words(text))


# --- The whole chain ----------------------------------------------------------------------


def run_stages(
    folder: Path,
    train: Split,
    test: Split,
    activations: Sequence[str] = ("relu", "tanh"),
    networks: Mapping[str, list[int]] = MappingProxyType({"mlp": [8, 8]}),
    seeds: Sequence[int] = (0, 1),
    epochs: int = 2,
    batch: int = 8,
    rate: float = 0.001,
) -> str:
    """Run the pipeline's stages in this process, on these images; gives the report as Markdown."""
    from actlab.stages.activations import activations as describe
    from actlab.stages.activations import read_configured
    from actlab.stages.gradients import gradients
    from actlab.stages.report import report as write_report
    from actlab.stages.theory import theory
    from actlab.stages.timing import timing
    from actlab.stages.train import train as train_stage

    for name, hidden in networks.items():
        written = f"name: {name}\nhidden: {hidden}\n"
        (folder / f"conf/network/{name}.yaml").write_text(written)
    images = len(test.labels)
    config = configured(
        folder,
        activations=list(activations),
        networks=list(networks),
        seeds=list(seeds),
        training=TrainingConfig(epochs, batch, [0, 1]),
        optimizer=adam(rate),
        gradients=GradientsConfig(min(32, len(train.labels)), images, 0.05, 60),
        theory=TheoryConfig(["glorot_uniform", "recommended"], 8, 3, min(8, images), [0, 1]),
        paths=PathsConfig(
            *(None, "data/raw", "data/processed", "."),
            *("runs", "results", "timings", "reports", "checkpoints"),
        ),
    )
    splits = Splits(train, None, test, tuple("0123456789"), (28, 28))
    save_processed(splits, Path("data/processed"), asdict(config.data))
    counted = count_classes(splits)
    csvs.write_table(counted, tables.CLASS_COUNTS, Path("reports/data/class_counts.csv"))
    shown = (255 * train.images[:CLASSES]).astype(np.uint8).reshape(-1, 28, 28)
    drawn = activation_figures.plot_sample_images(shown, train.labels[:CLASSES], list("0123456789"))
    look.save_figure(drawn, Path("reports/data/sample_images"))
    describe(config)
    for network, hidden in networks.items():
        for name in activations:
            chosen = replace(
                config,
                activation=read_configured(name, Path("conf/activation")),
                network=NetworkConfig(network, list(hidden)),
            )
            train_stage(chosen)
    for stage in (gradients, timing, theory, write_report):
        stage(config)
    return Path("reports/report.md").read_text(encoding="utf-8")


def images(train: int = 20, test: int = 10, **alike: Any) -> dict[str, Split]:
    """Draw the images of a chain, which have 784 pixels."""
    return {"train": draw(train, pixels=784, **alike), "test": draw(test, pixels=784, **alike)}


CHAINS: dict[str, dict[str, Any]] = {
    "1 image, 1 epoch, one seed, activation and network": images(1, 1)
    | {"activations": ["relu"], "seeds": [0], "epochs": 1},
    "0 hidden layers, seeds beyond 32 bits, a batch larger than the data": images()
    | {"networks": {"mlp": []}, "seeds": [2**32, 2**32 + 1, 2**63 - 1], "batch": 1000},
    "a learning rate of 1e30": images() | {"rate": 1e30, "seeds": [0, 1, 2]},
    "images that are all 0: every unit dead": images(pixel=0.0),
    "images that are all 1": images(pixel=1.0),
    "one class": images(label=3),
    "width 1": images()
    | {"activations": ["sigmoid", "relu"], "networks": {"mlp": [1], "deep": [1] * 8}},
    "an activation that overflows": images()
    | {"activations": ["relu", "exponential"], "networks": {"mlp": [16] * 6}, "rate": 1.0},
    "100 hidden layers": images()
    | {"activations": ["relu"], "networks": {"mlp": [4] * 100}, "epochs": 1, "seeds": [0]},
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_whole_chain_of_a_study_at_the_edge(name, root, tmp_path, monkeypatch, is_whole, tally):
    """From training to MLflow and report; accuracies and losses are those of the logits."""
    if not is_whole:
        pytest.skip("the stages take 20 s: make faults")
    monkeypatch.chdir(tmp_path)
    for variable in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    for folder in ("conf", "custom"):
        shutil.copytree(root / folder, tmp_path / folder)
    given = CHAINS[name]
    text = run_stages(tmp_path, **given)
    failures = wrong_words(text)
    from mlflow import MlflowClient

    # By its path: MLflow keeps stores by name.
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'actlab'")
    runs = {each.info.run_name: each for each in client.search_runs([experiment.experiment_id])}
    assert {each.info.status for each in runs.values()} == {"FINISHED"}
    labels, seeds = given["test"].labels, given.get("seeds", (0, 1))
    paths = list(Path("runs").glob("*/results/test.npz"))
    networks, activations = given.get("networks", ["mlp"]), given.get("activations", "12")
    assert len(paths) == len(networks) * len(activations)
    for path in paths:
        activation, network = path.parent.name.split("-")
        table = tables.read_table(path.with_name("test.csv"), layout.TEST)
        assert table["seed"].tolist() == list(seeds)
        with np.load(path) as logits:
            for row in table.to_dict("records"):
                of_seed = logits[f"seed-{row['seed']}"].astype(np.float64)
                accuracy = (of_seed.argmax(axis=1) == labels).mean()
                loss = cross_entropy(of_seed, labels)
                run = runs[f"{activation}/{network}/seed-{row['seed']}"].data
                assert run.params["seed"] == str(row["seed"])
                for measured in (row, {"test_loss": math.nan} | run.metrics):
                    assert measured["test_accuracy"] == pytest.approx(accuracy, abs=1e-6)
                    assert measured["test_loss"] == pytest.approx(loss, rel=1e-4, nan_ok=True)
        mean = 100 * table["test_accuracy"].mean()
        assert f"| {network} | {activation} | {mean:.2f} %" in text
    tally("numbers, the whole chain", 1, failures)
