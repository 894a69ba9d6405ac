#!/usr/bin/env python
"""Draw the pictures of docs/mlflow.md from this repository's runs: `python scripts/screenshots.py`.

It serves `mlflow.db` as `make ui` does, on a free port, and has Chromium draw its pages; on Debian
and Ubuntu `apt-get install chromium` brings it.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from actlab import notes, registry, tracking

STUDY = Path("docs/study")
SIZE = "1600,1000"


def find_pages() -> dict[str, str]:
    """Give the addresses below the server's, by the names of the pictures."""
    store = tracking.connect()
    number = store.experiment
    parents = store.search("FINISHED", {"actlab.kind": "configuration", "actlab.network": "mlp"})
    newest = {run.info.run_name: run for run in reversed(parents)}  # the newest comes last
    relu = newest["relu/mlp"]
    compared = [newest[f"{name}/mlp"].info.run_id for name in ("sigmoid", "tanh", "relu")]
    return {
        "mlflow": notes.view_link(number, "curves-mlp"),
        "mlflow_table": notes.view_link(number, "configurations", charts=False),
        "mlflow_charts": notes.view_link(number, "configurations"),
        "mlflow_run": notes.run_link(number, relu.info.run_id),
        "mlflow_compare": notes.comparison_link(number, compared),
        "mlflow_model": notes.logged_model_link(number, registry.model_of(relu) or ""),
        "mlflow_registry": notes.model_link("actlab-mnist"),
    }


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers."""
    for _ in range(600):
        if process.poll() is not None:
            sys.exit("screenshots: the MLflow server ended: try `make ui`")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("screenshots: the MLflow server does not answer: try `make ui`")


def draw(browser: str, address: str, path: Path) -> None:
    """Have the browser draw a page, in a profile of its own: it remembers columns and charts."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser,
                *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                f"--user-data-dir={profile}",
                f"--window-size={SIZE}",
                "--virtual-time-budget=60000",  # the page's own milliseconds, not ours
                f"--screenshot={path.resolve()}",
                address,
            ],
            check=True,
            capture_output=True,
            timeout=180,
        )


def main() -> None:
    """Serve, draw every page or those that are named, end the server."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("screenshots: chromium is not there: apt-get install chromium")
    pages = find_pages()
    if unknown := [name for name in sys.argv[1:] if name not in pages]:
        sys.exit(f"screenshots: there is no {unknown[0]}: there are {', '.join(pages)}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking.tracking_uri()]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, server)
        for name in sys.argv[1:] or pages:
            draw(browser, f"{address}/{pages[name]}", STUDY / f"{name}.png")
            print(STUDY / f"{name}.png", flush=True)
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
