"""Check and describe every activation that is trained: `python -m actlab.stages.activations`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from actlab.activations.config import ActivationConfig
from actlab.engine.validation import validate
from actlab.errors import UserError
from actlab.models.config import InitializerConfig
from actlab.schema import Config
from actlab.stages.entry import run

if TYPE_CHECKING:
    from actlab.results.metadata import Description


def read_configured(name: str, folder: Path) -> ActivationConfig:
    """Read and check the YAML file of an activation; an error names the file."""
    path = folder / f"{name}.yaml"
    try:
        values = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        activation = validate(ActivationConfig, values, "activation")
    except (UserError, OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from error
    if activation.name != name:
        raise UserError(f"{path}: activation.name is {activation.name!r}: it has to be {name!r}")
    return activation


def describe(activation: ActivationConfig, initializer: InitializerConfig) -> "Description":
    """Compute the metadata of an activation; NaN where an integral overflows or is uncertain."""
    from actlab.activations import functions, mean_field
    from actlab.models.initializers import resolve_initializer, weight_variance
    from actlab.probes import theory
    from actlab.results import metadata

    phi = functions.nonlinearity_of(activation)
    resolved = resolve_initializer(initializer, activation)
    try:
        gains = theory.gains(phi)
        sigma_w2 = weight_variance(resolved, 1, 1)
        chi_1 = mean_field.chi_at_fixed_point(phi, sigma_w2)
    except mean_field.UncertainError:
        gains, chi_1 = (math.nan, math.nan), math.nan
    row = functions.get_activation(activation)
    return metadata.describe(activation, row, phi, gains, resolved.name, chi_1)


def activations(config: Config) -> None:
    """Verify each function and its derivative; write the metadata that the report shows."""
    from actlab.activations import functions
    from actlab.engine.files import atomic_write
    from actlab.results import metadata

    with atomic_write(Path(config.paths.results) / "activations") as folder:
        print("activation        range               max|φ'|   E[φ²]    χ₁  initializer")
        for name in config.activations:
            activation = read_configured(name, Path("conf/activation"))
            functions.check(activation)
            sources = functions.digest_sources(activation.function) if activation.is_own else None
            described = describe(activation, config.initializer)
            metadata.save(described, sources, folder / name)
            print(
                f"{name:17} {described.range!s:19} {described.steepest_slope:8.4g}"
                f" {described.value_gain:7.3g} {described.chi_1:5.3g}"
                f"  {described.recommended_initializer}",
                flush=True,
            )


if __name__ == "__main__":
    run(activations)
