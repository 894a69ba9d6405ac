"""Fetch the raw files of the data set: `python -m actlab.stages.fetch_data`."""

from pathlib import Path

from actlab.schema import Config
from actlab.stages.entry import run


def fetch_data(config: Config) -> None:
    """Fetch the four idx files, unless they are there: from the first source that has them."""
    from actlab.data.raw import provide_raw

    provide_raw(
        config.data.name,
        Path(config.paths.raw),
        config.paths.source,
    )


if __name__ == "__main__":
    run(fetch_data)
