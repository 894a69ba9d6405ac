"""A whole configuration: every section, each from the package that it configures."""

from typing import Annotated

from actlab.activations.config import ActivationConfig
from actlab.data.config import DataConfig
from actlab.engine.validation import DISTINCT, Count, Name, Seeds, section
from actlab.evidence.config import ReportConfig
from actlab.models.config import Initializer, NetworkConfig
from actlab.probes.config import GradientsConfig, TheoryConfig, TimingConfig
from actlab.training.config import Optimizer, TrainingConfig


@section
class CompareConfig:
    """Which MLflow runs are compared, and which keys distinguish them.

    Attributes
    ----------
    filter
        Conditions on the configurations' runs in MLflow's search language; empty: all runs of
        the sweep.
    by
        Keys of the configuration that define the groups; None: all keys that differ.
    """

    filter: str
    by: list[str] | None


@section
class PathsConfig:
    """Where files are, relative to the root of the repository.

    `checkpoints` holds the state of trainings that have not finished.
    """

    source: str | None
    raw: str
    processed: str
    output: str
    runs: str
    results: str
    timings: str
    reports: str
    checkpoints: str


@section
class Config:
    """A whole configuration: params.yaml, one activation, one network, the paths.

    Attributes
    ----------
    sweep
        Name by which MLflow finds the jobs of a sweep; None: no name.
    force
        Whether to train a configuration again that MLflow holds as finished.
    declaration
        Of a job of the sweeper `settle`: which rules were declared before it, a digest and a
        commit. It changes no result.
    models_at_once
        How many models train in parallel; None: one per core, with the cores divided among the
        jobs that run at the same time. It changes no result.
    """

    data: DataConfig
    activations: Annotated[list[str], DISTINCT]
    networks: Annotated[list[str], DISTINCT]
    seeds: Seeds
    initializer: Initializer
    optimizer: Optimizer
    training: TrainingConfig
    gradients: GradientsConfig
    timing: TimingConfig
    theory: TheoryConfig
    report: ReportConfig
    activation: ActivationConfig
    network: NetworkConfig
    sweep: Name | None
    force: bool
    declaration: str | None
    models_at_once: Count | None
    compare: CompareConfig
    paths: PathsConfig
