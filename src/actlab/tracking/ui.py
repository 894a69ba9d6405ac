"""Show the runs in MLflow's UI, on this machine alone: `make ui`."""

import argparse
import sys
from pathlib import Path

from actlab.engine.surroundings import prepare
from actlab.errors import UserError
from actlab.tracking import notes, overview
from actlab.tracking.address import format_store_error, hide_credentials, tracking_uri
from actlab.tracking.serving import HOST, require_free, run_server
from actlab.tracking.store import Store, connect_to_read
from actlab.tracking.views import tag_of


def compose_path(store: Store) -> str:
    """Return the place of the pipeline's saved view on MLflow's pages, or of all runs."""
    experiment = store.client.get_experiment(store.experiment)
    if tag_of(overview.VIEW) in experiment.tags:
        return notes.view_link(store.experiment, overview.VIEW)
    return f"#/experiments/{store.experiment}/runs?{notes.TRAINING}"


def show(port: int) -> None:
    """Print the address of the runs, once MLflow's server answers; serve them until interrupted.

    Raises
    ------
    UserError
        When there are no runs yet, the store fails, or the port is taken.
    """
    try:
        uri = tracking_uri()
        path = compose_path(connect_to_read())
    except UserError:
        raise
    except Exception as error:  # MLflow lets through what its server or its database raises
        raise UserError(format_store_error(error, "no runs are shown", advice=False)) from error
    if uri.startswith(("http:", "https:")):
        print(f"The runs: {hide_credentials(uri).rstrip('/')}/{path}")
        return
    require_free(port, "ui")
    line = f"The runs: http://{HOST}:{port}/{path}\nCtrl-C ends it"
    run_server(["ui", "--workers", "1"], port, "/health", line)


def main() -> None:
    """Show the runs of the store at hand."""
    parser = argparse.ArgumentParser(prog="python -m actlab.tracking.ui", description=__doc__)
    parser.add_argument("--port", type=int, default=5000)
    given = parser.parse_args()
    try:
        prepare(Path.cwd())
        show(given.port)
    except UserError as error:
        sys.exit(f"actlab: {error}")


if __name__ == "__main__":
    main()
