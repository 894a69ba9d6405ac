"""Shape checks for the whole suite, and the data that its files share."""

import os
from pathlib import Path

import pytest
from filelock import FileLock
from jaxtyping import install_import_hook

install_import_hook("actlab", "beartype.beartype")

from actlab.data import datasets, splits  # noqa: E402
from actlab.engine.parallel import available_cores  # noqa: E402
from actlab.errors import UserError  # noqa: E402

ROOT = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    # MLflow's own agents have type hints that it finds too wide, when it is imported.
    config.addinivalue_line(
        "filterwarnings", "ignore:.*Any type hint is inferred:UserWarning:mlflow"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return available_cores()


#: The files that take longest.
FIRST = ["test_pipeline.py", "test_sweeping.py", "test_report.py", "test_training.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first: processes of xdist get files in this order."""
    items.sort(key=lambda item: FIRST.index(name) if (name := item.path.name) in FIRST else 9)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def mnist_raw(pytestconfig: pytest.Config) -> Path:
    """The four files of real MNIST: what `dvc repro` has fetched, or fetched for the tests."""
    folder = ROOT / "data/raw/mnist"
    try:
        datasets.load_raw("mnist", folder)
    except UserError:
        folder = pytestconfig.cache.mkdir("mnist") / "raw"
        with FileLock(f"{folder}.lock"):  # each process of xdist comes by
            if not folder.is_dir():
                from actlab.data import download

                named = os.environ.get("ACTLAB_DATA")
                download.fetch_dataset("mnist", folder, Path(named) if named else None)
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store of MLflow's with its schema and nothing in it, to copy: making one takes 3 s.

    It is made once for all processes of xdist.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    file = folder / "empty_store.db"
    with FileLock(f"{file}.lock"):
        if not file.exists():
            from mlflow import MlflowClient

            MlflowClient(f"sqlite:///{file}.new").search_experiments()
            Path(f"{file}.new").rename(file)
    return file


@pytest.fixture(scope="session")
def mnist(mnist_raw: Path) -> splits.Splits:
    """Real MNIST, scaled, nothing held out."""
    return splits.build_splits(*datasets.load_raw("mnist", mnist_raw))
