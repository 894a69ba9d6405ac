"""Compare mean-field theory with untrained networks: `python -m actlab.stages.theory`."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from actlab.errors import UserError
from actlab.models.config import InitializerConfig, NetworkConfig
from actlab.schema import Config
from actlab.stages.entry import run


def load_yaml(path: str) -> dict[str, Any]:
    """Load the keys of a YAML file."""
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def theory(config: Config) -> None:
    """Predict and measure every layer's ratios, for each activation with each initializer."""
    from actlab.activations.functions import nonlinearity_of
    from actlab.activations.mean_field import UncertainError
    from actlab.data.splits import first_images, load_processed
    from actlab.engine import csvs
    from actlab.engine.files import atomic_write
    from actlab.models.initializers import resolve_initializer
    from actlab.probes.theory import activation_moments, born_dead_probability
    from actlab.probes.untrained import compare_with_theory, is_silent_below_zero
    from actlab.results import metadata, tables

    processed = Path(config.paths.processed)
    splits = load_processed(processed, asdict(config.data), is_scaled=False)
    test, probe, classes = splits.test, config.theory, len(splits.classes)
    if probe.images > len(test.labels):
        raise UserError(
            f"theory.images is {probe.images}: there are {len(test.labels)} test images"
        )
    images = first_images(test, probe.images)
    networks = [NetworkConfig(**load_yaml(f"conf/network/{name}.yaml")) for name in config.networks]
    ratios, mean_field, moments, born_dead = [], [], [], []
    for name in config.activations:
        activation = metadata.load(name, Path(config.paths.results) / "activations")
        compared = {}
        for initializer in probe.initializers:
            own = config.initializer  # with the values of params.yaml
            asked = own if initializer == own.name else InitializerConfig.read(initializer)
            resolved = resolve_initializer(asked, activation)
            if resolved.name not in compared:
                compared[resolved.name] = compare_with_theory(
                    activation, resolved, probe.width, probe.depth, probe.seeds, images, classes
                )
            steps, summary = compared[resolved.name]
            ratios += [(name, initializer, resolved.name, *step) for step in steps]
            mean_field.append((name, initializer, resolved.name, *summary))
        try:
            mean, variance = activation_moments(nonlinearity_of(activation), 0.0, 1.0)
        except UncertainError:
            mean, variance = math.nan, math.nan
        moments.append((name, mean, variance))
        if is_silent_below_zero(activation):
            born_dead += [
                (name, network.name, born_dead_probability(network.hidden)) for network in networks
            ]
        print(f"{name}: theory and measurement with {', '.join(compared)}", flush=True)
    with atomic_write(Path(config.paths.results) / "theory") as folder:
        csvs.write_table(ratios, tables.THEORY_RATIOS, folder / "ratios.csv")
        csvs.write_table(mean_field, tables.MEAN_FIELD, folder / "mean_field.csv")
        csvs.write_table(moments, tables.MOMENTS, folder / "moments.csv")
        csvs.write_table(born_dead, tables.BORN_DEAD, folder / "born_dead.csv")


if __name__ == "__main__":
    run(theory)
