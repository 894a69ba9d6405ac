"""Write to MLflow what it lacks from the pipeline's outputs: `python -m actlab.stages.sync`."""

from actlab.errors import UserError
from actlab.schema import Config
from actlab.stages.entry import run


def find_stale_stages() -> set[str]:
    """Ask DVC for the stages that changed since their last run, and those downstream of them.

    Raises
    ------
    UserError
        When DVC cannot tell, such as outside a repository, or while it is running.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.graph import get_subgraph_of_nodes

    try:
        with Repo() as repo:
            graph, changed = repo.index.graph, repo.status()
            sources = [stage for stage in graph if stage.addressing in changed]
            stale = get_subgraph_of_nodes(graph, sources, downstream=True) if sources else []
    except DvcException as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"DVC cannot tell what changed ({reason}): fix that, then run this again"
        ) from error
    return {stage.addressing for stage in stale}


def sync(config: Config) -> None:
    """Write the runs, gradients and report that MLflow lacks; a second time writes nothing."""
    from actlab.tracking import sync

    done = sync.sync(config, find_stale_stages())
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
