"""Run the lessons' notebook and save its outputs: `make notebook`."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

import actlab

NOTEBOOK = Path(__file__).parents[1] / "docs/lessons/activation_study.ipynb"


def execute(path: Path, *more: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run a notebook's cells, then those of `more`, in a fresh kernel; return it with its outputs.

    Times and versions, which differ from run to run, are left out.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += more
    # Without a port, which the kernel would warn of.
    config = Config({"KernelManager": {"transport": "ipc"}})
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        config=config,
    )
    client.execute()
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    return notebook


if __name__ == "__main__":
    actlab.load_data("mnist")  # here, so that the notebook shows no download
    nbformat.write(execute(NOTEBOOK), NOTEBOOK)
    sys.stdout.write(f"{NOTEBOOK} has its outputs\n")
