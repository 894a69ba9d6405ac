"""Hold mean-field theory to untrained networks: `python -m actlab.stages.theory`."""

from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from actlab.config import ActivationConfig, Config, NetworkConfig
from actlab.errors import UserError
from actlab.stages.command import run


def read_configured(name: str, folder: Path) -> ActivationConfig:
    """Read and check the file of a configured activation."""
    values = OmegaConf.load(folder / f"{name}.yaml")
    read = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ActivationConfig), values))
    assert isinstance(read, ActivationConfig)
    return read


def read_network(name: str, folder: Path) -> NetworkConfig:
    """Read and check the file of a configured network."""
    values = OmegaConf.load(folder / f"{name}.yaml")
    read = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(NetworkConfig), values))
    assert isinstance(read, NetworkConfig)
    return read


def theory(config: Config) -> None:
    """Predict and measure every layer's ratios, for each activation with each initialiser.

    And what the matched initialiser does to the configured networks before training.
    """
    from actlab import tables
    from actlab.config import MATCHED, resolve_initializer
    from actlab.datasets import Split, load_processed
    from actlab.initialisation import compare_with_theory, is_silent_below_zero, probe_gradients
    from actlab.outputs import written_whole
    from actlab.theory import Nonlinearity, activation_moments, born_dead_probability

    test = load_processed(Path(config.paths.processed), asdict(config.data)).test
    probe = config.theory
    if probe.images > len(test.labels):
        raise UserError(
            f"theory.images is {probe.images}: there are {len(test.labels)} test images"
        )
    batch = Split(test.images[: probe.images], test.labels[: probe.images])
    networks = [read_network(name, Path("conf/network")) for name in config.networks]
    ratios, mean_field, matching, moments, born_dead = [], [], [], [], []
    for name in config.activations:
        activation = read_configured(name, Path("conf/activation"))
        compared: dict[str, Any] = {}
        for initializer in probe.initializers:
            resolved = resolve_initializer(initializer, activation)
            if resolved not in compared:
                compared[resolved] = compare_with_theory(
                    activation, resolved, probe.width, probe.depth, probe.seeds, batch
                )
            rows, row = compared[resolved]
            names = (activation.name, initializer, resolved)
            ratios += [(*names, *each) for each in rows]
            mean_field.append((*names, *row))
        for network, initializer in product(
            networks, dict.fromkeys([config.model.kernel_initializer, MATCHED])
        ):
            resolved = resolve_initializer(initializer, activation)
            names = (activation.name, network.name, initializer, resolved)
            for row in probe_gradients(activation, network, resolved, probe.seeds, batch):
                matching.append((*names, *row))
        phi = Nonlinearity.of(activation)
        moments.append((activation.name, *activation_moments(phi, 0.0, 1.0)))
        if is_silent_below_zero(activation):
            for network in networks:
                probability = born_dead_probability(network.hidden)
                born_dead.append((activation.name, network.name, probability))
        print(f"{activation.name}: theory and measurement of {', '.join(compared)}", flush=True)
    with written_whole(Path(config.paths.results) / "theory") as folder:
        tables.write_table(ratios, tables.THEORY_RATIOS, folder / "ratios.csv")
        tables.write_table(mean_field, tables.MEAN_FIELD, folder / "mean_field.csv")
        tables.write_table(matching, tables.MATCHING, folder / "matched.csv")
        tables.write_table(moments, tables.MOMENTS, folder / "moments.csv")
        tables.write_table(born_dead, tables.BORN_DEAD, folder / "born_dead.csv")


if __name__ == "__main__":
    run(theory)
