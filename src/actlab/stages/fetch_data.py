"""Fetch the raw files of the data set: `python -m actlab.stages.fetch_data`."""

from pathlib import Path

from actlab.schema import Config
from actlab.stages.entry import run


def fetch_data(config: Config) -> None:
    """Fetch the four idx files from the first source that has the right ones."""
    from actlab.data.download import fetch_dataset

    fetch_dataset(
        config.data.name,
        Path(config.paths.raw),
        Path(config.paths.source).expanduser() if config.paths.source else None,
        say=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    run(fetch_data)
