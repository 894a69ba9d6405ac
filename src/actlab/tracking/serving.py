"""Serve a registered model on this machine alone: `make serve`.

What listens is MLflow's own server, `mlflow models serve`, in this environment: neither conda nor a
network is needed. It takes `{"inputs": [[784 numbers from 0 to 1], ...]}` at `/invocations` and
returns `{"predictions": [[10 probabilities], ...]}`.
"""

import argparse
import os
import socket
import sys
from pathlib import Path

from actlab.errors import UserError
from actlab.tracking import registry
from actlab.tracking.address import format_store_error, tracking_uri
from actlab.tracking.store import connect

HOST = "127.0.0.1"


def find(asked: str | None, data: str) -> str:
    """Return the address of the model to serve; see `registry.find_model`.

    Raises
    ------
    UserError
        When the store or the model is missing, or the store does not answer.
    """
    uri = tracking_uri()
    store = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not store.is_file():
        raise UserError(
            f"{store} is not there: run `dvc repro`, or `python -m actlab.stages.sync` where the"
            " pipeline's outputs are"
        )
    try:
        return registry.find_model(connect(), asked, data)
    except UserError:
        raise
    except Exception as error:  # MLflow lets through what its server or its database raises
        raise UserError(format_store_error(error, "no model is served", advice=False)) from error


def require_free(port: int) -> None:
    """Raise UserError where something listens on a port already."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            other = port + 1 if port < 65535 else 5001
            raise UserError(
                f"port {port} cannot be listened on ({reason}): PORT={other} make serve"
            ) from error


def main() -> None:
    """Find the model, then become MLflow's server."""
    parser = argparse.ArgumentParser(prog="python -m actlab.tracking.serving", description=__doc__)
    parser.add_argument(
        "model",
        nargs="?",
        help="models:/<name>@<alias>, models:/<name>/<version> or models:/<id>; by default the"
        f" alias {registry.BEST} of the data set's model",
    )
    parser.add_argument("--data", default="mnist", help="the data set whose best model is served")
    parser.add_argument("--port", type=int, default=5001)
    given = parser.parse_args()
    try:
        require_free(given.port)
        uri = find(given.model or None, given.data)
    except UserError as error:
        sys.exit(f"actlab: {error}")
    print(f"Serving {uri} on http://{HOST}:{given.port}; Ctrl-C ends it", flush=True)
    os.environ.update(
        {
            "MLFLOW_TRACKING_URI": tracking_uri(),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # MLflow calls `uvicorn` by its name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
    )
    serve = "-m mlflow models serve --env-manager local --workers 1"
    place = ["-m", uri, "--host", HOST, "--port", str(given.port)]
    os.execv(sys.executable, [sys.executable, *serve.split(), *place])


if __name__ == "__main__":
    main()
