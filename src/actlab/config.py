"""The dataclasses that every configuration is checked against.

They import neither Hydra nor TensorFlow: a notebook may build them by hand. No field
has a default: params.yaml and conf/ hold the values, and OmegaConf says which is missing.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from actlab.activations import ACTIVATIONS, REFUSED
from actlab.datasets import DATASETS
from actlab.errors import UserError

#: Stands for the initialiser that each activation's literature recommends.
MATCHED = "matched"

#: Kernel initialisers by their Keras names, and `MATCHED`.
KERNEL_INITIALIZERS = (
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    MATCHED,
)


def _require(holds: bool, key: str, value: object, allowed: str) -> None:
    if not holds:
        raise UserError(f"{key} is {value!r}: it has to be {allowed}")


def _require_name(key: str, name: str) -> None:
    # Names become folders, <activation>-<network>, and file systems take 255 bytes.
    plain = re.fullmatch(r"[A-Za-z0-9_.]{0,99}[A-Za-z0-9_]", name) is not None
    _require(plain, key, name, "letters, digits, _ and ., 100 of them at most")


def _require_distinct(key: str, values: list) -> None:
    _require(len(values) > 0, key, values, "a list of at least one entry")
    _require(len(set(values)) == len(values), key, values, "a list without repetitions")


#: The greatest seed: tables and MLflow hold whole numbers of 64 bits.
GREATEST_SEED = 2**63 - 1


def _require_seeds(key: str, seeds: list[int]) -> None:
    fitting = all(0 <= seed <= GREATEST_SEED for seed in seeds)
    _require(fitting, key, list(seeds), f"a list of whole numbers from 0 to {GREATEST_SEED}")


def _require_at_most(section: str, values: object, limits: dict[str, int]) -> None:
    """Refuse what would take days or terabytes, or does not fit XLA's counters of 32 bits."""
    for name, most in limits.items():
        value = getattr(values, name)
        _require(value <= most, f"{section}.{name}", value, f"at most {most}")


@dataclass
class DataConfig:
    """Which images, and how many of the training images are held out."""

    name: str
    validation_size: int
    split_seed: int

    def __post_init__(self) -> None:
        _require(self.name in DATASETS, "data.name", self.name, f"one of {', '.join(DATASETS)}")
        limit = DATASETS[self.name].training_images - 1
        _require(
            0 <= self.validation_size <= limit,
            "data.validation_size",
            self.validation_size,
            f"from 0 to {limit}",
        )
        _require(
            0 <= self.split_seed <= GREATEST_SEED,
            "data.split_seed",
            self.split_seed,
            f"from 0 to {GREATEST_SEED}",
        )


#: A function of a user's own: one or more modules, then the function.
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@dataclass
class ActivationConfig:
    """One activation: the name it goes by, its function, the function's constants.

    The function is a row of `activations.ACTIVATIONS`, or a user's own by its dotted name
    (`my_module.my_function`, see `own`): of that, nothing is looked at here.
    """

    name: str
    function: str
    constants: dict[str, Any]

    def __post_init__(self) -> None:
        _require_name("activation.name", self.name)
        if self.function in REFUSED:
            raise UserError(f"activation.function is {self.function!r}: {REFUSED[self.function]}")
        if self.is_own:
            for name, value in self.constants.items():
                _require(
                    isinstance(value, bool | int | float | str | None),
                    f"activation.constants.{name}",
                    value,
                    "a number, a text, true, false or null",
                )
            return
        _require(
            self.function in ACTIVATIONS,
            "activation.function",
            self.function,
            f"one of {', '.join(ACTIVATIONS)}, or your own: my_module.my_function",
        )
        ACTIVATIONS[self.function].check_constants(self.constants)

    @property
    def is_own(self) -> bool:
        """Whether the function is none of the table's but a user's own.

        >>> ActivationConfig("mine", "example.snake", {"frequency": 1.0}).is_own
        True
        """
        return _DOTTED.fullmatch(self.function) is not None


#: Equal hidden layers: how many, and the units of each.
_EQUAL_LAYERS = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,5})")


@dataclass
class NetworkConfig:
    """The hidden layers of a network, by their units.

    `hidden` is a list of whole numbers, or `8x64` for eight layers of 64 units, which becomes
    that list.

    >>> NetworkConfig("uniform", "3x16").hidden
    [16, 16, 16]
    """

    name: str
    hidden: Any

    def __post_init__(self) -> None:
        _require_name("network.name", self.name)
        if isinstance(self.hidden, str) and (equal := _EQUAL_LAYERS.fullmatch(self.hidden)):
            self.hidden = [int(equal[2])] * int(equal[1])
        _require(
            isinstance(self.hidden, list)
            and all(type(units) is int and 1 <= units <= 999_999 for units in self.hidden),
            "network.hidden",
            self.hidden,
            "a list of whole numbers of at least 1 and at most 999999, or layers x units such as"
            " 8x64",
        )


@dataclass
class ModelConfig:
    """What every network of a study has in common."""

    kernel_initializer: str

    def __post_init__(self) -> None:
        _require(
            self.kernel_initializer in KERNEL_INITIALIZERS,
            "model.kernel_initializer",
            self.kernel_initializer,
            f"one of {', '.join(KERNEL_INITIALIZERS)}",
        )


@dataclass
class TrainingConfig:
    """How a network is trained (Adam, cross-entropy), and when its weights are kept."""

    epochs: int
    batch_size: int
    learning_rate: float
    probe_epochs: list[int]

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "training.epochs", self.epochs, "1 or more")
        _require_at_most("training", self, {"epochs": 1_000_000})
        _require(self.batch_size >= 1, "training.batch_size", self.batch_size, "1 or more")
        # Beyond them it is 0 or infinite where it is used, in float32.
        _require(
            1e-45 <= self.learning_rate <= 3.4e38,
            "training.learning_rate",
            self.learning_rate,
            "a number above 0 that float32 has, from 1e-45 to 3.4e38",
        )
        _require(
            all(epoch >= 0 for epoch in self.probe_epochs),
            "training.probe_epochs",
            list(self.probe_epochs),
            "a list of whole numbers of at least 0",
        )

    def kept_epochs(self) -> list[int]:
        """Epochs after which weights are kept: the probe epochs, the first (0), the last.

        >>> TrainingConfig(3, 128, 0.001, [1, 20]).kept_epochs()
        [0, 1, 3]
        """
        within = {epoch for epoch in self.probe_epochs if epoch <= self.epochs}
        return sorted(within | {0, self.epochs})


@dataclass
class GradientsConfig:
    """How many images the two gradient probes look at, and how the state of units is told."""

    notebook_images: int
    test_images: int
    saturated_below: float
    preactivation_bins: int

    def __post_init__(self) -> None:
        for name in ("notebook_images", "test_images"):
            _require(
                getattr(self, name) >= 1, f"gradients.{name}", getattr(self, name), "1 or more"
            )
        _require(
            0 < self.saturated_below < 1,
            "gradients.saturated_below",
            self.saturated_below,
            "between 0 and 1",
        )
        _require(
            3 <= self.preactivation_bins <= 1000,
            "gradients.preactivation_bins",
            self.preactivation_bins,
            "from 3 to 1000",
        )


@dataclass
class TimingConfig:
    """How often the activations are timed side by side, and the layer that is timed alone.

    Attributes
    ----------
    blocks
        In each, every activation has its turn.
    block_epochs
        Epochs that an activation trains in its turn; the shortest counts.
    kernel_units
        Inputs and units of the layer whose passes are timed alone.
    kernel_repetitions
        How many passes a measurement of them takes, one behind the other.
    elementwise_repetitions
        Likewise of the activation without the layer, which is far shorter.
    """

    blocks: int
    block_epochs: int
    kernel_units: int
    kernel_repetitions: int
    elementwise_repetitions: int

    def __post_init__(self) -> None:
        _require(self.blocks >= 2, "timing.blocks", self.blocks, "2 or more")
        repeated = ("block_epochs", "kernel_units", "kernel_repetitions")
        for name in (*repeated, "elementwise_repetitions"):
            _require(getattr(self, name) >= 1, f"timing.{name}", getattr(self, name), "1 or more")
        repetitions = {f"{of}_repetitions": 1_000_000_000 for of in ("kernel", "elementwise")}
        most = {"blocks": 10_000, "block_epochs": 100, "kernel_units": 10_000, **repetitions}
        _require_at_most("timing", self, most)


@dataclass
class TheoryConfig:
    """The untrained networks on which mean-field theory is held to measurement."""

    initializers: list[str]
    width: int
    depth: int
    images: int
    seeds: list[int]

    def __post_init__(self) -> None:
        _require_distinct("theory.initializers", self.initializers)
        for name in self.initializers:
            _require(
                name in KERNEL_INITIALIZERS,
                "theory.initializers",
                name,
                f"one of {', '.join(KERNEL_INITIALIZERS)}",
            )
        _require(self.width >= 1, "theory.width", self.width, "1 or more")
        _require(self.depth >= 2, "theory.depth", self.depth, "2 or more")
        _require(self.images >= 1, "theory.images", self.images, "1 or more")
        _require_at_most("theory", self, {"width": 10_000, "depth": 10_000})
        _require_distinct("theory.seeds", self.seeds)
        _require_seeds("theory.seeds", self.seeds)


@dataclass
class ReportConfig:
    """How the report speaks of uncertainty, and which differences do not matter.

    Attributes
    ----------
    confidence
        Of every interval; one minus it is the rate of errors that a verdict may have.
    target_accuracy
        The validation accuracy that epochs are counted to, a fraction.
    equivalence_margin
        The difference of test accuracies, and of calibration errors, that does not matter.
    equivalence_margin_nats, equivalence_margin_epochs
        Likewise of test losses, and of epochs to the target.
    equivalence_margin_ratio
        Likewise of times, as a part: 0.05 is 5 % more.
    """

    confidence: float
    target_accuracy: float
    equivalence_margin: float
    equivalence_margin_nats: float
    equivalence_margin_epochs: float
    equivalence_margin_ratio: float

    def __post_init__(self) -> None:
        for name in ("confidence", "target_accuracy"):
            value = getattr(self, name)
            _require(0 < value < 1, f"report.{name}", value, "between 0 and 1")
        for name in ("", "_nats", "_epochs", "_ratio"):
            value = getattr(self, f"equivalence_margin{name}")
            _require(
                0 < value < math.inf, f"report.equivalence_margin{name}", value, "a number above 0"
            )


@dataclass
class CompareConfig:
    """Which runs of MLflow are compared, and what tells them apart.

    Attributes
    ----------
    filter
        Conditions on the configurations' runs in MLflow's search language; empty: all that the
        name of a sweep selects.
    by
        The keys of the configuration that the groups differ in; None: all that do differ.
    """

    filter: str
    by: list[str] | None


@dataclass
class PathsConfig:
    """Where files are; relative to the root of the repository.

    In `checkpoints` lies what is kept of trainings while they run.
    """

    source: str | None
    raw: str
    processed: str
    output: str
    models: str
    results: str
    timings: str
    reports: str
    checkpoints: str


@dataclass
class Config:
    """A whole configuration: params.yaml, one activation, one network, the paths.

    Attributes
    ----------
    sweep
        The name under which the jobs of a sweep are found again in MLflow; None has none.
    force
        Whether a configuration is trained again that MLflow has finished.
    models_at_once
        How many train side by side; None is one a core, the cores shared out among the jobs that
        run at once. It changes no result.
    """

    data: DataConfig
    activations: list[str]
    networks: list[str]
    seeds: list[int]
    model: ModelConfig
    training: TrainingConfig
    gradients: GradientsConfig
    timing: TimingConfig
    theory: TheoryConfig
    report: ReportConfig
    activation: ActivationConfig
    network: NetworkConfig
    sweep: str | None
    force: bool
    models_at_once: int | None
    compare: CompareConfig
    paths: PathsConfig

    def __post_init__(self) -> None:
        if self.sweep is not None:
            _require_name("sweep", self.sweep)
        if self.models_at_once is not None:
            _require(self.models_at_once >= 1, "models_at_once", self.models_at_once, "1 or more")
        _require_distinct("activations", self.activations)
        _require_distinct("networks", self.networks)
        _require_distinct("seeds", self.seeds)
        _require_seeds("seeds", self.seeds)
