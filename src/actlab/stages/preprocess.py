"""Split and scale the raw images: `python -m actlab.stages.preprocess`."""

from dataclasses import asdict
from pathlib import Path

from actlab.schema import Config
from actlab.stages.entry import run


def preprocess(config: Config) -> None:
    """Scale the images, hold some out, count the classes."""
    from actlab.data.datasets import DATASETS, load_raw
    from actlab.data.splits import Split, Splits, build_splits, count_classes, save_processed
    from actlab.engine.files import atomic_write

    train, test = load_raw(config.data.name, Path(config.paths.raw))
    splits = build_splits(train, test, config.data.validation_size, config.data.split_seed)
    arrays = (f"{split}_{kind}.npy" for split in Splits._fields for kind in Split._fields)
    with atomic_write(Path(config.paths.processed), replaces=["data.json", *arrays]) as folder:
        save_processed(splits, folder, asdict(config.data))
    counts = count_classes(splits, len(DATASETS[config.data.name].classes))
    for name, split in splits._asdict().items():
        if split is not None:
            per_class = ", ".join(str(row[2]) for row in counts if row[0] == name)
            print(f"{name}: images {split.images.shape}, of each class {per_class}")


if __name__ == "__main__":
    run(preprocess)
