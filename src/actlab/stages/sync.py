"""Write to MLflow what it lacks from the pipeline's outputs: `python -m actlab.stages.sync`."""

from actlab.errors import UserError
from actlab.schema import Config
from actlab.stages.entry import run


def find_stale_stages() -> set[str]:
    """Return the DVC stages that changed since their last run, and those downstream of them."""
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
    lines = [f"written: {line}" for line in done.written]
    lines += [f"brought up to date: {line}" for line in done.brought_up_to_date]
    lines += [f"left out: {line}" for line in done.left_out]
    print(*(lines or ["MLflow already has every run"]), sep="\n")


if __name__ == "__main__":
    run(sync)
