"""A small data set, and a local web server that gives it, or anything else."""

import gzip
import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from actlab.data.datasets import DATASETS, DataSet, RawFile

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
    for name, shape in zip(NAMES, [(20, 5, 5), (20,), (10, 5, 5), (10,)], strict=True):
        header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
        contents[name] = header + generator.integers(0, 256, shape, np.uint8).tobytes()
    return contents


TINY, OTHER = make_contents(0), make_contents(1)


SHAPES = [(20, 5, 5), (20,), (10, 5, 5), (10,)]


def plant(monkeypatch):
    """Register both as data sets."""
    for name, contents in (("tiny", TINY), ("other", OTHER)):
        files = [
            RawFile(each, shape, hashlib.sha256(contents[each]).hexdigest())
            for each, shape in zip(NAMES, SHAPES, strict=True)
        ]
        monkeypatch.setitem(DATASETS, name, DataSet(name.title(), ("a", "b"), *files))


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
