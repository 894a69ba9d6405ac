"""Provide the raw files of the data set: `python -m actlab.stages.fetch_data`."""

from pathlib import Path

from actlab.schema import Config
from actlab.stages.entry import run


def fetch_data(config: Config) -> None:
    """Fetch the four idx files, or convert a user's own, unless they are there."""
    from actlab.data.raw import provide_raw

    name, root = config.data.name, Path(config.paths.raw)
    if not provide_raw(name, root, config.paths.source):
        print(f"{root / name}: there, SHA-256 verified", flush=True)


if __name__ == "__main__":
    run(fetch_data)
