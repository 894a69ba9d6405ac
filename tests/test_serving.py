"""A real server of a small trained model, asked by the client with pictures."""

import doctest
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import classify
import numpy as np
import pytest
import small_training
from PIL import Image, ImageDraw

from actlab.data.splits import load_processed
from actlab.errors import UserError
from actlab.tracking import serving
from actlab.tracking.sync import sync

SOURCE = Path(__file__).parents[1] / "src"


@dataclass
class Served:
    """A server of a trained model, the folder it was trained in, and what it said."""

    port: int
    folder: Path
    said: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with small_training.working_in(folder):
        small_training.plant(folder)
        small_training.train()
        sync(small_training.small(), ["gradients", "report"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "actlab.tracking.serving", "--port", str(port)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline() + process.stdout.readline()  # once it answers
    try:
        yield Served(port, folder, said)
    finally:
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
        process.stdout.close()


def expected(folder: Path, images: np.ndarray) -> np.ndarray:
    """What the network of the first seed gives, without MLflow."""
    from actlab.models.network import ModelSpec, load_model
    from actlab.models.served import with_probabilities

    models = folder / small_training.MODELS
    model = with_probabilities(load_model(models, 0), ModelSpec.load(models / "model.json"))
    return np.asarray(model(images.reshape(len(images), -1)))


def run_client(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SOURCE.parent / "scripts/classify.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_server_gives_the_models_own_probabilities(served):
    assert re.fullmatch(
        r"models:/actlab-mnist@best is relu on mlp, seed 0, trained on mnist for 6 epochs by the"
        r" pipeline \(\d{4}-\d\d-\d\d\); test accuracy \d+\.\d\d% \(\d+\.\d\d% on average over 2"
        r" seeds\); chosen for the least mean training loss, .*\n"
        rf"It is served on {served.address}; Ctrl-C ends it\n",
        served.said,
    )
    images = load_processed(served.folder / "data/processed").test.images[:8]
    given = classify.ask(served.address, list(images))
    np.testing.assert_allclose(given, expected(served.folder, images), atol=1e-5)
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)


def test_the_client_reads_pictures_and_prints_labels(served):
    processed = served.folder / "data/processed"
    written = run_client(
        *("--sample", "3", "--folder", served.folder / "digits", "--processed", processed)
    )
    paths = written.stdout.split()
    labels = np.load(processed / "test_labels.npy")
    assert paths == [
        str(served.folder / f"digits/test-{place}-is-{labels[place]}.png") for place in range(3)
    ]
    done = run_client(*paths, "--server", served.address)
    assert done.stderr == ""
    images = np.stack([classify.to_mnist(classify.read_picture(Path(path))) for path in paths])
    probabilities = expected(served.folder, images)
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["picture", "label", "probability", "next"]
    for path, row, told in zip(paths, probabilities, rows, strict=True):
        name, label, probability = told.split()[:3]
        assert (name, label) == (path, str(row.argmax()))
        assert float(probability) == pytest.approx(row.max(), abs=2e-4)


def test_the_server_listens_on_loopback_alone(served):
    table = Path("/proc/net/tcp")
    if not table.is_file():
        pytest.skip("only Linux tells who listens in /proc/net/tcp")
    listening = [
        row.split()[1]
        for name in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        if row.split()[3] == "0A" and row.split()[1].endswith(f":{served.port:04X}")
    ]
    assert listening == [f"0100007F:{served.port:04X}"]


def test_what_the_server_or_its_port_refuses_is_one_line(served):
    with pytest.raises(classify.ClientError, match=r"^http://127.0.0.1:\d+ refuses the images"):
        classify.ask(served.address, [np.zeros((3, 3))])
    with pytest.raises(UserError, match=rf"^port {served.port} cannot be listened on"):
        serving.require_free(served.port, "serve")


def test_a_store_that_is_missing_is_named_and_not_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with pytest.raises(UserError, match=r"mlflow.db is not there: run `dvc repro`"):
        serving.find(None, "mnist")
    assert not list(tmp_path.iterdir())


# --- The client without a server ----------------------------------------------------------


def test_a_server_that_is_not_there_is_one_line(tmp_path):
    Image.fromarray(digit()).save(tmp_path / "a.png")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    done = run_client(tmp_path / "a.png", "--server", address)
    assert done.returncode == 1
    assert re.fullmatch(
        rf"classify: {address} does not answer \(.*Connection refused\): `make serve` starts it\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "a.png is not there"),
        (b"no picture", "a.png is no picture that Pillow can read"),
        (np.zeros((20, 20), np.uint8), "a.png: there is nothing in it"),
        (np.full((20, 20), 255, np.uint8), "a.png: there is nothing in it"),
    ],
    ids=["missing", "no picture", "black", "white"],
)
def test_a_picture_without_a_digit_is_one_line(tmp_path, content, said):
    path = tmp_path / "a.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        Image.fromarray(content).save(path)
    done = run_client(path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"classify: {tmp_path / said}\n"


def digit(size: int = 200, stroke: int = 24) -> np.ndarray:
    """A seven as one might draw it: white on black, off the middle."""
    image = Image.new("L", (size, size))
    corners = [(size * x, size * y) for x, y in ((0.15, 0.1), (0.55, 0.1), (0.3, 0.7))]
    ImageDraw.Draw(image).line(corners, fill=255, width=stroke, joint="curve")
    return np.asarray(image)


def as_mnist(tmp_path: Path, image: Image.Image) -> np.ndarray:
    image.save(tmp_path / "digit.png")
    return classify.to_mnist(classify.read_picture(tmp_path / "digit.png"))


def test_a_digit_fills_the_box_and_is_centred(tmp_path):
    image = as_mnist(tmp_path, Image.fromarray(digit()))
    assert image.shape == (28, 28)
    assert image.min() == 0.0
    assert image.max() == pytest.approx(1.0)
    rows, columns = (np.flatnonzero((image > 0).any(axis=axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    mass = [(image.sum(axis=1 - axis) * np.arange(28)).sum() / image.sum() for axis in (0, 1)]
    np.testing.assert_allclose(mass, 14, atol=0.6)


WHITE = digit()
DRAWN = {
    "black on white": Image.fromarray(255 - WHITE),
    "colour": Image.fromarray(np.stack([WHITE] * 3, axis=-1)),
    "transparent": Image.fromarray(np.stack([np.zeros_like(WHITE), WHITE], axis=-1), "LA"),
    "grey ground": Image.fromarray((40 + WHITE * 0.8).astype(np.uint8)),
    "big": Image.fromarray(digit(800, 96)),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_how_a_digit_is_drawn_does_not_matter(tmp_path, kind):
    plain = as_mnist(tmp_path, Image.fromarray(WHITE))
    assert np.abs(as_mnist(tmp_path, DRAWN[kind]) - plain).mean() < 0.02


def test_images_of_mnist_stay_what_they_are(mnist):
    images = mnist.test.images[:200].reshape(-1, 28, 28)
    again = np.stack([classify.to_mnist(image) for image in images])
    assert np.median(np.abs(again - images).mean(axis=(1, 2))) < 1e-6


def test_the_clients_examples_hold():
    ran = doctest.testmod(classify)
    assert ran.attempted > 0
    assert ran.failed == 0


def test_the_client_needs_nothing_of_actlab():
    code = "import sys, classify; print({*sys.modules} & {'actlab', 'mlflow', 'tensorflow'})"
    scripts = SOURCE.parent / "scripts"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
