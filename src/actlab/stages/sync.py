"""Write to MLflow what it lacks from the pipeline's outputs: `python -m actlab.stages.sync`."""

from actlab.config import Config
from actlab.stages.command import run


def sync(config: Config) -> None:
    """Write the runs, gradients and report that MLflow lacks; a second time writes nothing."""
    from actlab import tracking

    done = tracking.sync(config)
    for line in done.written:
        print(f"written: {line}")
    for line in done.left_out:
        print(f"left out: {line}")
    if not done.written and not done.left_out:
        print("MLflow already has every run")


if __name__ == "__main__":
    run(sync)
