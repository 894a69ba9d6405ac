"""Split and scale the raw images: `python -m actlab.stages.preprocess`."""

from dataclasses import asdict
from pathlib import Path

from actlab.schema import Config
from actlab.stages.entry import run


def preprocess(config: Config) -> None:
    """Scale the images, hold some out, count the classes."""
    from actlab.data.datasets import OwnFiles, load_definition
    from actlab.data.prepare import prepare
    from actlab.data.splits import FILES, count_classes, load_whole, read_digests, save_processed
    from actlab.engine.files import atomic_write

    data = config.data
    folder = Path(config.paths.raw, data.name)
    splits = prepare(load_whole(data.name, folder), data)
    made_with = asdict(data)
    if isinstance(load_definition(data.name), OwnFiles):
        made_with["files"] = read_digests(folder)  # so that a training needs no raw files
    with atomic_write(Path(config.paths.processed), replaces=FILES) as folder:
        save_processed(splits, folder, made_with)
    counts = count_classes(splits)
    for name, split in splits.items():
        per_class = ", ".join(str(row[2]) for row in counts if row[0] == name)
        print(f"{name}: images {split.images.shape}, of each class {per_class}")


if __name__ == "__main__":
    run(preprocess)
