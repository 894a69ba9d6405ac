"""Hold mean-field theory to untrained networks: `python -m actlab.stages.theory`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from actlab.config import Config
from actlab.errors import UserError
from actlab.stages.command import run


def theory(config: Config) -> None:
    """Predict and measure every layer's ratios, for each activation with each initialiser."""
    from actlab import descriptions, tables
    from actlab.datasets import Split, load_processed
    from actlab.initialisation import compare_with_theory
    from actlab.outputs import written_whole
    from actlab.own import resolve_initializer

    test = load_processed(Path(config.paths.processed), asdict(config.data)).test
    probe = config.theory
    if probe.images > len(test.labels):
        raise UserError(
            f"theory.images is {probe.images}: there are {len(test.labels)} test images"
        )
    batch = Split(test.images[: probe.images], test.labels[: probe.images])
    ratios, mean_field = [], []
    for name in config.activations:
        activation = descriptions.load(name, Path(config.paths.results) / "activations")
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
        print(f"{activation.name}: theory and measurement of {', '.join(compared)}", flush=True)
    with written_whole(Path(config.paths.results) / "theory") as folder:
        tables.write_table(ratios, tables.THEORY_RATIOS, folder / "ratios.csv")
        tables.write_table(mean_field, tables.MEAN_FIELD, folder / "mean_field.csv")


if __name__ == "__main__":
    run(theory)
