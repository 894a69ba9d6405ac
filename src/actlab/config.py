"""The dataclasses that every configuration is checked against.

They import neither Hydra nor TensorFlow: a notebook may build them by hand. No field
has a default: params.yaml and conf/ hold the values, and OmegaConf says which is missing.
"""

import re
from dataclasses import dataclass
from typing import Any

from actlab.activations import ACTIVATIONS
from actlab.datasets import DATASETS
from actlab.errors import UserError

#: Kernel initialisers by their Keras names.
KERNEL_INITIALIZERS = (
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
)


def _require(holds: bool, key: str, value: object, allowed: str) -> None:
    if not holds:
        raise UserError(f"{key} is {value!r}: it has to be {allowed}")


def _require_name(key: str, name: str) -> None:
    # Names become folders: <activation>-<network>.
    plain = re.fullmatch(r"[A-Za-z0-9_.]*[A-Za-z0-9_]", name) is not None
    _require(plain, key, name, "letters, digits, _ and .")


def _require_distinct(key: str, values: list) -> None:
    _require(len(values) > 0, key, values, "a list of at least one entry")
    _require(len(set(values)) == len(values), key, values, "a list without repetitions")


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
        _require(self.split_seed >= 0, "data.split_seed", self.split_seed, "0 or more")


@dataclass
class ActivationConfig:
    """One activation: the name it goes by, a function of `activations`, its constants."""

    name: str
    function: str
    constants: dict[str, Any]

    def __post_init__(self) -> None:
        _require_name("activation.name", self.name)
        _require(
            self.function in ACTIVATIONS,
            "activation.function",
            self.function,
            f"one of {', '.join(ACTIVATIONS)}",
        )
        ACTIVATIONS[self.function].check_constants(self.constants)


@dataclass
class NetworkConfig:
    """The hidden layers of a network, by their units."""

    name: str
    hidden: list[int]

    def __post_init__(self) -> None:
        _require_name("network.name", self.name)
        _require(
            all(units >= 1 for units in self.hidden),
            "network.hidden",
            list(self.hidden),
            "a list of whole numbers of at least 1",
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
        _require(self.batch_size >= 1, "training.batch_size", self.batch_size, "1 or more")
        _require(
            0 < self.learning_rate < float("inf"),
            "training.learning_rate",
            self.learning_rate,
            "a number above 0",
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
class ReportConfig:
    """How the report speaks of uncertainty."""

    confidence: float

    def __post_init__(self) -> None:
        _require(0 < self.confidence < 1, "report.confidence", self.confidence, "between 0 and 1")


@dataclass
class PathsConfig:
    """Where files are; relative to the root of the repository."""

    source: str | None
    raw: str
    processed: str
    output: str
    models: str
    results: str
    timings: str
    reports: str


@dataclass
class Config:
    """A whole configuration: params.yaml, one activation, one network, the paths."""

    data: DataConfig
    activations: list[str]
    networks: list[str]
    seeds: list[int]
    model: ModelConfig
    training: TrainingConfig
    gradients: GradientsConfig
    report: ReportConfig
    activation: ActivationConfig
    network: NetworkConfig
    paths: PathsConfig

    def __post_init__(self) -> None:
        _require_distinct("activations", self.activations)
        _require_distinct("networks", self.networks)
        _require_distinct("seeds", self.seeds)
        _require(
            all(seed >= 0 for seed in self.seeds),
            "seeds",
            list(self.seeds),
            "a list of whole numbers of at least 0",
        )
