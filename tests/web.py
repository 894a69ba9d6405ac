"""A small data set, and a local web server that gives it, or anything else."""

import gzip
import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from actlab.data import download
from actlab.engine import presets

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def make_contents(seed):
    """The four idx files of a data set of 20 and 10 images of 5 x 5 pixels."""
    generator = np.random.default_rng(seed)
    contents = {}
    for name, shape in zip(NAMES, SHAPES, strict=True):
        greatest = 1 if len(shape) == 1 else 255  # of two classes
        contents[name] = format_idx(generator.integers(0, greatest + 1, shape, np.uint8))
    return contents


def format_idx(array):
    """Write an idx file by its definition."""
    header = bytes([0, 0, 8, array.ndim])
    return header + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


SHAPES = [(20, 5, 5), (20,), (10, 5, 5), (10,)]
TINY, OTHER = make_contents(0), make_contents(1)


def plant(monkeypatch):
    """Plant both as data sets."""
    plant_data(
        monkeypatch,
        tiny=define("Tiny", ("a", "b"), TINY),
        other=define("Other", ("a", "b"), OTHER),
    )


def define(title, classes, contents):
    """The definition of a data set, given its idx files by their names in MNIST's order."""
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    files = {
        key: {
            "name": name,
            "shape": [
                int.from_bytes(content[start : start + 4], "big")
                for start in range(4, 4 + 4 * content[3], 4)
            ],
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for key, (name, content) in zip(keys, contents.items(), strict=True)
    }
    return {"title": title, "classes": list(classes), **files}


def plant_data(monkeypatch, **definitions):
    """Plant data sets, as if conf/data/ had files with these values."""
    list_presets, load_preset = presets.list_presets, presets.load_preset

    def list_planted(group):
        return sorted({*list_presets(group), *(definitions if group == "data" else ())})

    def load_planted(group, name):
        is_planted = group == "data" and name in definitions
        return definitions[name] if is_planted else load_preset(group, name)

    monkeypatch.setattr(presets, "list_presets", list_planted)
    monkeypatch.setattr(presets, "load_preset", load_planted)


def serve_from(monkeypatch, *sources):
    """Let every data set come from these sources."""
    monkeypatch.setattr(download, "list_sources", lambda name: list(sources))


def send(handler, content, status=200, **headers):
    handler.send_response(status)
    for name, value in ({"Content_Length": len(content)} | headers).items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(content)


class Web:
    """A local web server; `answer(handler, name)` answers a request for a file."""

    def __init__(self):
        self.released = threading.Event()
        self.asked = []

    @contextmanager
    def serve(self, answer):
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                web.asked.append(self.path)
                try:
                    answer(self, self.path.removeprefix("/data/").removesuffix(".gz"))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client had enough

            def log_message(self, format, *args):  # noqa: A002
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/data/"
            finally:
                self.released.set()
                server.shutdown()
                thread.join()


def serve_tiny(handler, name):
    send(handler, gzip.compress(TINY[name]))
