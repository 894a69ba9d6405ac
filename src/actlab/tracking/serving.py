"""Serve a registered model on this machine alone: `make serve`.

What listens is MLflow's own server, `mlflow models serve`, in this environment: neither conda nor a
network is needed. It takes `{"inputs": [[numbers of an image], ...]}` at `/invocations` and returns
`{"predictions": [[probability of each class], ...]}`; for MNIST, 784 numbers from 0 to 1 and 10. A
regression returns the predicted numbers.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import yaml

from actlab.engine import interrupts
from actlab.engine.surroundings import prepare
from actlab.errors import UserError
from actlab.tracking import registry
from actlab.tracking.address import format_store_error, hide_credentials, tracking_uri
from actlab.tracking.store import connect_to_read

HOST = "127.0.0.1"

#: Runs a server as the leader of a process group that is killed once standard input is closed, and
#: so when this process ends in whatever way.
_LEASH = 'exec 3<&0; (cat <&3 >/dev/null; kill -KILL 0) & exec "$@" </dev/null'

#: Without MLflow's reports to its makers and its processes for jobs; it calls `uvicorn` by name.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
}

#: The variables by which MLflow's servers find the store; a command line would show its password.
_STORE = ("MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI")


def find(asked: str | None, data: str) -> tuple[str, str]:
    """Return the address of the model to serve, and a sentence on it; see `registry.find_model`.

    Raises
    ------
    UserError
        When the store or the model is missing, or the store does not answer.
    """
    try:
        store = connect_to_read()
        uri = registry.find_model(store, asked, data)
        return uri, registry.describe_model(store, uri)
    except UserError:
        raise
    except Exception as error:  # MLflow lets through what its server or its database raises
        raise UserError(format_store_error(error, "no model is served", advice=False)) from error


def require_free(port: int, target: str) -> None:
    """Raise UserError where something listens on a port already; `target` is that of make."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            other = port + 1 if port < 65535 else 5001
            raise UserError(
                f"port {port} cannot be listened on ({reason}): PORT={other} make {target}"
            ) from error


def run_server(arguments: Sequence[str], port: int, health: str, line: str) -> None:
    """Run a server of MLflow's; print `line` once it answers at the path `health`.

    It ends, with all of its processes, by SIGINT, SIGTERM or SIGHUP, or when this process or its
    parent ends.

    Raises
    ------
    UserError
        When the server ends by itself.
    """
    command = [sys.executable, "-m", "mlflow", *arguments, "--host", HOST, "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        try:
            with interrupts.listening("", watch_parent=True):
                server = subprocess.Popen(
                    ["sh", "-c", _LEASH, "sh", *command],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=os.environ | _ENVIRONMENT | dict.fromkeys(_STORE, tracking_uri()),
                    start_new_session=True,
                )
                try:
                    if _wait_until_it_answers(server, f"http://{HOST}:{port}{health}"):
                        print(line, flush=True)
                    server.wait()
                finally:
                    with suppress(ProcessLookupError):
                        os.killpg(server.pid, signal.SIGKILL)
        except interrupts.Interrupted as interrupted:
            interrupts.leave(interrupted.number)
        log.seek(0)
        words = hide_credentials(log.read().decode(errors="replace")).split()
        raise UserError(f"MLflow's server has ended: {' '.join(words)[-200:] or 'it was killed'}")


def _wait_until_it_answers(server: subprocess.Popen[bytes], address: str) -> bool:
    """Return whether a server answers, before it ends."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None:
        with suppress(OSError, HTTPException), direct.open(address, timeout=5):
            return True
        time.sleep(0.2)
    return False


def _configured_data() -> str:
    """Return the name of the pipeline's data set."""
    with suppress(OSError, yaml.YAMLError, KeyError, TypeError):
        return str(yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["data"]["name"])
    return "mnist"


def main() -> None:
    """Find the model, and run MLflow's server with it."""
    parser = argparse.ArgumentParser(prog="python -m actlab.tracking.serving", description=__doc__)
    parser.add_argument(
        "model",
        nargs="?",
        help="models:/<name>@<alias>, models:/<name>/<version> or models:/<id>; by default the"
        f" alias {registry.BEST} of the model of the pipeline's data set",
    )
    parser.add_argument("--port", type=int, default=5001)
    given = parser.parse_args()
    try:
        prepare(Path.cwd())
        require_free(given.port, "serve")
        uri, description = find(given.model or None, _configured_data())
        print(f"{uri} is {description}.", flush=True)
        line = f"It is served on http://{HOST}:{given.port}; Ctrl-C ends it"
        serve = "models serve --env-manager local --workers 1 --model-uri"
        run_server([*serve.split(), uri], given.port, "/ping", line)
    except UserError as error:
        sys.exit(f"actlab: {error}")


if __name__ == "__main__":
    main()
