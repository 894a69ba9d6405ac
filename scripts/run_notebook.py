"""Run the notebook of the lessons and write its outputs into it: `make notebook`."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

import actlab

NOTEBOOK = Path(__file__).parents[1] / "docs/lessons/activation_study.ipynb"


def execute(path: Path, *more: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run a notebook's cells, and `more` behind them, in a fresh kernel; give it with its outputs.

    Nothing that differs from run to run, such as times, is left in it.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += more
    # Without a port, which the kernel would warn of.
    config = Config({"KernelManager": {"transport": "ipc"}})
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", record_timing=False, config=config
    )
    client.execute()
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    return notebook


if __name__ == "__main__":
    actlab.load_data("mnist")  # here, or the notebook would tell of a download
    nbformat.write(execute(NOTEBOOK), NOTEBOOK)
    sys.stdout.write(f"{NOTEBOOK} has its outputs\n")
