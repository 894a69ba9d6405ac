#!/usr/bin/env python
"""Draw the pictures of MLflow in the docs from this repository's runs.

    python scripts/screenshots.py               # docs/study/mlflow_*.png, after `make repro`
    python scripts/screenshots.py depth/mlflow  # after the depth sweep and its comparison

It serves `mlflow.db` on a free port and draws its pages with Chromium. It needs `uv pip install
playwright` and, on Debian and Ubuntu, `apt-get install chromium`.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from actlab.tracking import notes, registry
from actlab.tracking.store import connect, tracking_uri

STUDY = Path("docs/study")
SIZE = {"width": 1600, "height": 1000}

#: What a browser remembers of MLflow's assistant: a first visit opens it over a third of the page.
QUIET = """
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
"""


class Page(NamedTuple):
    """An address below the server's, and a text that its page shows once it is loaded."""

    address: str
    shown: str


def find_pages(names: Sequence[str]) -> dict[str, Page]:
    """Find the pages by the names of their pictures: the sweeps' that are named, or the study's."""
    store = connect()
    number = store.experiment
    if names:
        sweeps = {name: f"sweep-{Path(name).parent}-launch1" for name in names}
        return {
            name: Page(notes.view_link(number, key), "val_accuracy_mean")
            for name, key in sweeps.items()
        }
    study = {"actlab.kind": "configuration", "actlab.source": "dvc"}
    parents = [
        run
        for run in store.search("FINISHED", study)
        if run.data.params["data.name"] == "mnist"  # `make fashion` writes to the same store
    ]
    newest = {run.info.run_name: run for run in reversed(parents)}  # the newest comes last
    relu = newest["relu/mlp"]
    compared = [newest[f"{name}/mlp"].info.run_id for name in ("sigmoid", "tanh", "relu")]
    place = f"#/experiments/{number}"
    runs, experiments = quote(json.dumps(compared)), quote(json.dumps([number]))
    compare = f"#/compare-runs?runs={runs}&experiments={experiments}&{notes.TRAINING}"
    return {
        "mlflow_table": Page(
            notes.view_link(number, "configurations", charts=False), "test_accuracy_ci_low"
        ),
        "mlflow_run": Page(notes.run_link(number, relu.info.run_id), "test_accuracy_mean"),
        "mlflow_compare": Page(compare, "Run details"),
        "mlflow_model": Page(
            f"{place}/models/{registry.model_of(relu)}?{notes.TRAINING}", "test_accuracy"
        ),
    }


def wait_for(address: str) -> None:
    """Wait until a server answers."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("screenshots: the MLflow server does not answer: try `make ui`")


def draw(browser: Any, server: str, shown: Page, path: Path) -> None:
    """Draw a page as a new visitor sees it."""
    context = browser.new_context(viewport=SIZE, reduced_motion="reduce")
    context.add_init_script(QUIET)
    page = context.new_page()
    page.goto(f"{server}/{shown.address}")
    page.get_by_text(shown.shown).first.wait_for(timeout=60_000)
    page.wait_for_timeout(5000)  # until the charts are drawn
    page.screenshot(path=path)
    context.close()


def main() -> None:
    """Serve the runs and draw the pages."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None or find_spec("playwright") is None:
        sys.exit("screenshots: install chromium (apt-get) and playwright (uv pip)")
    from playwright.sync_api import sync_playwright

    pages = find_pages(sys.argv[1:])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri()]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            for name, page in pages.items():
                draw(browser, address, page, STUDY / f"{name}.png")
                print(STUDY / f"{name}.png", flush=True)
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
