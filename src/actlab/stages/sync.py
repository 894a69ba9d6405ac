"""Write to MLflow what it lacks from the pipeline's outputs: `python -m actlab.stages.sync`."""

import json
import subprocess
import sys
from itertools import product

from actlab.config import Config
from actlab.errors import UserError
from actlab.plan import with_downstream
from actlab.stages.command import run


def changed_stages() -> set[str]:
    """Ask DVC for the stages whose own inputs or outputs differ from those of their last run.

    Raises
    ------
    UserError
        When DVC cannot say, such as outside a repository, or while it is at work.
    """
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        reason = " ".join(asked.stderr.split()).removeprefix("ERROR: ")[:200]
        raise UserError(f"`dvc status` fails ({reason}): mend that, then run this again")
    return set(json.loads(asked.stdout))


def trainings(config: Config) -> list[str]:
    """Give the stages that train, by DVC's names."""
    return [
        f"train@{activation}-{network}"
        for activation, network in product(config.activations, config.networks)
    ]


def sync(config: Config) -> None:
    """Write the runs, gradients and report that MLflow lacks; a second time writes nothing."""
    from actlab import sync

    stale = with_downstream(changed_stages(), trainings(config))
    done = sync.sync(config, stale)
    for line in done.written:
        print(f"written: {line}")
    for line in done.brought_up_to_date:
        print(f"brought up to date: {line}")
    for line in done.left_out:
        print(f"left out: {line}")
    if not (done.written or done.left_out or done.brought_up_to_date):
        print("MLflow already has every run")


if __name__ == "__main__":
    run(sync)
