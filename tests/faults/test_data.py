"""Raw files that are damaged, mirrors that misbehave, processed files changed behind DVC's back."""

import gzip
import json
import os
import random
import shutil
import socket
import struct
import time
import tracemalloc
import zlib
from functools import cache

import numpy as np
import pytest
from web import (
    NAMES,
    OTHER,
    TINY,
    Web,
    define,
    plant,
    plant_data,
    send,
    serve_from,
    serve_tiny,
)

from actlab.data.config import DataConfig
from actlab.data.datasets import RawSplit, list_files, load_raw
from actlab.data.download import Mirror, fetch_dataset
from actlab.data.prepare import hold_out
from actlab.data.splits import build_splits, load_processed, save_processed
from actlab.errors import UserError

# --- Raw files ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others(mnist_raw, tmp_path_factory):
    """Another data set's files: MNIST inverted."""
    folder = tmp_path_factory.mktemp("inverted")
    contents = {}
    for file in list_files("mnist"):
        header = 4 + 4 * len(file.shape)
        content = (mnist_raw / file.name).read_bytes()
        contents[file.name] = content[:header] + content[:header:-1] + b"\x07"
        (folder / file.name).write_bytes(contents[file.name])
    with pytest.MonkeyPatch.context() as patch:
        plant_data(patch, inverted=define("Inverted", "0123456789", contents))
        yield folder


def flip_bits(random, content):
    changed = bytearray(content)
    for place in random.sample(range(8 * len(content)), random.choice([1, 1, 2, 100])):
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def overwrite(random, content):
    start = random.randrange(len(content))
    piece = random.randbytes(random.choice([1, 512, 4096]))[: len(content) - start]
    changed = content[:start] + piece + content[start + len(piece) :]
    return changed if changed != content else flip_bits(random, content)


def cut(random, content):
    return content[: random.randrange(1, len(content))]


def lengthen(random, content):
    return content + random.randbytes(random.choice([1, 16, 5000]))


PAGES = [b"<!DOCTYPE html><p>log in", b"<html></html>\n", b"\n\n <!doctype html>" + 9999 * b"x"]
PAGES += [
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    b'{"message": "Not Found"}',
]
PAGES += [b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", b"PK\3\4", b"\0"]


@cache
def make_bomb(size):
    """The gzip file of a size of zeros, a thousandth as long."""
    return gzip.compress(bytes(size), mtime=0)


def cut_gzip(random, content):
    return gzip.compress(content[:100_000], 1)[: random.randrange(2, 2000)]


def break_gzip(random, content):
    whole = gzip.compress(content, 1)
    while True:  # some bits (the time, the system, flags without a meaning) change nothing
        zipped = bytearray(whole)
        zipped[random.randrange(len(zipped))] ^= 1 << random.randrange(8)
        try:
            if gzip.decompress(zipped) != content:
                return bytes(zipped)
        except (OSError, EOFError, zlib.error):
            return bytes(zipped)


#: What each gives takes the file's place: bytes, or what is done to its path.
DAMAGES = {
    "bits flipped": flip_bits,
    "pieces overwritten": overwrite,
    "truncated": cut,
    "lengthened": lengthen,
    "gzip of flipped bits": lambda random, content: gzip.compress(flip_bits(random, content), 1),
    "gzip truncated": cut_gzip,
    "gzip of a part": lambda random, content: gzip.compress(cut(random, content), 1),
    "gzip of more": lambda random, content: gzip.compress(lengthen(random, content), 1),
    "gzip of a gzip": lambda random, content: gzip.compress(gzip.compress(content, 1), 0),
    "a web page": lambda random, content: random.choice(PAGES),
    "gzip of a web page": lambda random, content: gzip.compress(random.choice(PAGES)),
    "empty": lambda random, content: b"",
    "gzip of nothing": lambda random, content: gzip.compress(b""),
    "random": lambda random, content: random.randbytes(random.choice([1, 100, len(content)])),
    "zeros": lambda random, content: bytes(len(content)),
}
PLACES = {
    "a folder": lambda path: path.mkdir(),
    "nothing": lambda path: None,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "unreadable": lambda path: path.symlink_to("/proc/self/mem"),
    "a hole of a terabyte": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
}
KINDS = [*DAMAGES, *PLACES, "gzip broken", "swapped", "of another data set", "gzip bomb"]


def damage(kind, random, file, folder, raw, others, largest_bomb):
    """Put a damaged file into a folder; return what was done."""
    path = folder / random.choice([file.name, file.name, f"{file.name}.gz"])
    if kind in PLACES:
        PLACES[kind](path)
        return f"{path.name} is {kind}"
    content = (raw / file.name).read_bytes()
    if kind in DAMAGES:
        path.write_bytes(DAMAGES[kind](random, content))
    elif kind == "gzip broken":
        path.write_bytes(break_gzip(random, content))
    elif kind == "gzip bomb":
        path.write_bytes(make_bomb(min(900 * file.size, largest_bomb)))
    elif kind == "swapped":
        other = random.choice([name for name in NAMES if name != file.name])
        path.write_bytes((raw / other).read_bytes())
    else:
        path.write_bytes((others / random.choice([file.name, file.name, *NAMES])).read_bytes())
    return f"{path.name} {kind}"


def refuse(do):
    """Return the line that something is refused with; what else happens stays apart."""
    try:
        do()
    except UserError as error:
        return str(error)
    except BaseException as error:
        return f"\n{type(error).__name__}: {error}"
    return "\nIt was not refused"


def test_a_damaged_raw_file_is_refused_by_name(mnist_raw, others, tmp_path, is_whole, tally):
    generator = random.Random(5)
    files = list_files("mnist")
    failures = []
    tried = 1000 if is_whole else 40
    for number in range(tried):
        kind = KINDS[number % len(KINDS)]
        # The first file has 47 MB; it is damaged as often as the time allows.
        file = generator.choices(files, [1, 4, 2, 4])[0]
        folder, target = tmp_path / "mine", tmp_path / "data/raw"
        folder.mkdir()
        for each in files:
            if each is not file:
                (folder / each.name).symlink_to(mnist_raw / each.name)
        largest = 1 << (30 if is_whole else 27)
        what = damage(kind, generator, file, folder, mnist_raw, others, largest)
        fetching = number // len(KINDS) % 2 == 0
        bomb = kind in ("gzip bomb", "a hole of a terabyte")
        if bomb:
            tracemalloc.start()
        if fetching:
            line = refuse(lambda: fetch_dataset("mnist", target, folder))  # noqa: B023
        else:
            line = refuse(lambda: load_raw("mnist", folder))  # noqa: B023
        if bomb:
            # The file, and its bytes unpacked; of the first two are held at once while joined.
            if tracemalloc.get_traced_memory()[1] > 3.5 * files[0].size:
                failures.append(f"{what}: {tracemalloc.get_traced_memory()[1]} bytes of memory")
            tracemalloc.stop()
        described = f"{what}, {'fetched' if fetching else 'loaded'}: {line}"
        if "\n" in line or file.name not in line:
            failures.append(described)
        if (tmp_path / "data").is_dir() and any((tmp_path / "data").iterdir()):
            failures.append(f"{described}; it left {list((tmp_path / 'data').rglob('*'))}")
        shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
    tally(f"Damaged raw files, {len(KINDS)} kinds of damage", tried, failures)


# --- Mirrors ------------------------------------------------------------------------------


def pour(handler, name):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100_000):
        handler.wfile.write(b"\x1f\x8b" * 512)


def reset(handler, name):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n\x1f\x8b")
    handler.wfile.flush()
    # Closed without its last words: the client's read ends with ECONNRESET.
    with socket.socket(fileno=handler.connection.detach()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def redirect(handler, place):
    handler.send_response(302)
    handler.send_header("Location", place)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def waiting(before):
    """An answer that begins in some way, and goes on only when the mirror is released."""

    def answer(handler, name):
        before(handler, name)
        handler.server.released.wait(30)

    return answer


def trickling(begin, more):
    """An answer that sends something again and again, sooner than the time-out."""

    def answer(handler, name):
        handler.wfile.write(begin)
        while not handler.server.released.wait(0.02):
            handler.wfile.write(more)

    return answer


def begin_body(handler, name):
    handler.send_response(200)
    handler.send_header("Content-Length", "500")
    handler.end_headers()


def answering(content, status=200, **headers):
    return lambda handler, name: send(handler, content, status, **headers)


#: What a mirror answers, and the reported reason; NAME is the file's.
MIRROR_FAULTS = {
    "absent": (answering(b"", 404), "NAME.gz: HTTP 404 Not Found"),
    "forbidden": (answering(b"", 403), "NAME.gz: HTTP 403 Forbidden"),
    "broken": (answering(b"", 500), "NAME.gz: HTTP 500 Internal Server"),
    "failing": (answering(b"", 503), "NAME.gz: HTTP 503 Service Unavail"),
    "a web page": (
        answering(b"<!DOCTYPE html><p>log in"),
        "NAME is not a valid idx file: it begins with b'<!DOCTYP'",
    ),
    "another data set": (
        lambda handler, name: send(handler, gzip.compress(OTHER[name])),
        "NAME is other's NAME",
    ),
    "corrupted": (
        lambda handler, name: send(handler, gzip.compress(TINY[name][:-1] + b"!")),
        "NAME is corrupted",
    ),
    "nothing": (answering(b""), "NAME is empty"),
    "no answer": (lambda handler, name: None, "NAME.gz: Remote end closed connection"),
    "no HTTP": (
        lambda handler, name: handler.wfile.write(b"SSH-2.0-x\r\n\r\n"),
        "NAME.gz: SSH-2.0",
    ),
    "says more than it sends": (
        lambda handler, name: send(handler, gzip.compress(TINY[name]), Content_Length=5000),
        "NAME.gz: IncompleteRead",
    ),
    "says less than it sends": (
        lambda handler, name: send(handler, gzip.compress(TINY[name]), Content_Length=15),
        "NAME.gz is a broken gzip file",
    ),
    "never ends": (pour, "NAME.gz: more than "),
    "senseless length": (answering(b"", Content_Length="many"), "NAME is empty"),
    "a bomb": (answering(make_bomb(10**6)[:1030]), "NAME.gz "),
    "a declared bomb": (
        answering(make_bomb(10**6), Content_Encoding="gzip"),
        "NAME.gz: more than ",
    ),
    "not the compression that it declares": (
        lambda handler, name: send(handler, TINY[name], Content_Encoding="gzip"),
        "NAME.gz: ",
    ),
    "resets": (reset, "NAME.gz: Connection reset by peer"),
    "redirects for ever": (
        lambda handler, name: redirect(handler, handler.path),
        "NAME.gz: Exceeded 30 redirects",
    ),
    "redirects to longer and longer places": (
        lambda handler, name: redirect(handler, f"{handler.path}x"),
        "NAME.gz: Exceeded 30 redirects",
    ),
    "redirects to a file": (
        lambda handler, name: redirect(handler, "file:///etc/passwd"),
        "NAME.gz: No connection adapters were found",
    ),
    "redirects to nowhere": (lambda handler, name: redirect(handler, "http://["), "NAME.gz: "),
    "hangs": (waiting(lambda handler, name: None), "NAME.gz: no answer within 0.3 s"),
    "hangs after its headers": (waiting(begin_body), "NAME.gz: no answer within 0.3 s"),
    "hangs midway": (
        waiting(lambda *given: (begin_body(*given), given[0].wfile.write(b"\x1f" * 100))),
        "NAME.gz: no answer within 0.3 s",
    ),
    "sends slowly": (
        trickling(b"HTTP/1.1 200 OK\r\n\r\n", b"\x1f"),
        "NAME.gz: not there after 1 s, given up",
    ),
}


def test_a_mirror_that_fails_is_named_and_the_next_serves(tmp_path, monkeypatch, is_whole, tally):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    plant(monkeypatch)
    failures = []
    tried = 0
    for number, (fault, (answer, reason)) in enumerate(MIRROR_FAULTS.items()):
        for place in range(len(NAMES)) if is_whole else [number % len(NAMES)]:
            tried += 1
            fails = set(NAMES[place:])

            web, good, lines = Web(), Web(), []

            def answer_or_serve(handler, name, fails=fails, answer=answer, web=web):
                known = next((each for each in NAMES if name.startswith(each)), name)
                handler.server.released = web.released
                (answer if known in fails else serve_tiny)(handler, known)

            started = time.perf_counter()
            with web.serve(answer_or_serve) as first, good.serve(serve_tiny) as second:
                # At 860 bytes a second the first file takes 0.6 s, after twice the time-out.
                hurried = {"timeout": 0.3 if "hang" in fault else 0.2, "slowest": 860.0}
                patient = {"timeout": 5.0}
                waits = reason.endswith(("no answer within 0.3 s", "given up"))
                mirror = Mirror(first, **(hurried if waits else patient))
                serve_from(monkeypatch, mirror, Mirror(second))
                raw = tmp_path / f"{number}-{place}/raw"
                line = refuse(lambda: fetch_dataset("tiny", raw, say=lines.append))  # noqa: B023
                seconds = time.perf_counter() - started
                described = f"{fault}, from file {place}: {lines} {line.strip()} in {seconds:.1f} s"
                wanted = f"{first}: {reason.replace('NAME', NAMES[place])}"
                if "after 1 s" in reason:
                    wanted = wanted.partition("after 1 s")[0]  # smaller files have less time
                held = len(lines) == 2 and lines[0].startswith(wanted) and "\n" not in lines[0]
                served = {path.name: path.read_bytes() for path in raw.iterdir()} == TINY
                if not (held and served and second in lines[1] and seconds < 10):
                    failures.append(described)
    tally(f"Mirrors that misbehave, {len(MIRROR_FAULTS)} kinds", tried, failures)


def test_a_mirror_that_accepts_and_never_reads_is_left_after_its_time(tmp_path, monkeypatch, tally):
    """A server's socket that nobody accepts from: the connection stands, no answer comes."""
    plant(monkeypatch)
    with socket.socket() as listening, socket.socket() as unused, Web().serve(serve_tiny) as good:
        failures = []
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        unused.bind(("127.0.0.1", 0))
        reasons = {listening: "no answer within 0.3 s", unused: "Connection refused"}
        for place, (server, reason) in enumerate(reasons.items()):
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
            serve_from(monkeypatch, Mirror(url, timeout=0.3), Mirror(good))
            lines = []
            started = time.perf_counter()
            fetch_dataset("tiny", tmp_path / f"{place}/raw", say=lines.append)
            if lines[0] != f"{url}: {NAMES[0]}.gz: {reason}" or time.perf_counter() - started > 5:
                failures.append(str(lines))
    tally("Mirrors that do not answer at all", len(reasons), failures)


# --- Processed files ----------------------------------------------------------------------

MADE_WITH = {"name": "mnist", "validation_size": 100, "split_seed": 0}


def swap(random, path):
    other = random.choice([each for each in sorted(path.parent.glob("*.npy")) if each != path])
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)
    return other.name


def edit_header(random, path):
    content = path.read_bytes()
    header, rest = content[:128], content[128:]
    old, new = random.choice(
        [
            (b"False", b"True "),  # rows become columns
            (b"<f4", b"<i4"),
            (b"<i4", b"<f4"),
            (b"(", b"["),
            (b"}", b"{"),
            (b"shape", b"shade"),
            (b"\x93NUMPY", b"\x93NUMPI"),
            (b"NUMPY\x01", b"NUMPY\x02"),
        ]
    )
    changed = header.replace(old, new)
    path.write_bytes((changed if changed != header else b"\0" + header[1:]) + rest)


def write(random, path, content):
    path.write_bytes(content)


CHANGES = {
    "bits flipped": lambda random, path: write(random, path, flip_bits(random, path.read_bytes())),
    "truncated": lambda random, path: write(random, path, cut(random, path.read_bytes())),
    "lengthened": lambda random, path: write(random, path, lengthen(random, path.read_bytes())),
    "overwritten": lambda random, path: write(
        random, path, path.read_bytes()[:-8] + random.randbytes(7) + b"\xfe"
    ),
    "swapped": swap,
    "header edited": edit_header,
    "empty": lambda random, path: write(random, path, b""),
    "gone": lambda random, path: path.unlink(),
    "a folder": lambda random, path: (path.unlink(), path.mkdir()),
    "unreadable": lambda random, path: (path.unlink(), path.symlink_to("/proc/self/mem")),
    "a pickle": lambda random, path: np.save(path, np.array([{"a": 1}])),
    "saved anew in double": lambda random, path: np.save(path, np.load(path).astype(np.float64)),
    "an image moved": lambda random, path: np.save(path, np.roll(np.load(path), 1, axis=0)),
}


def test_processed_files_changed_behind_dvcs_back_are_noticed(mnist_raw, tmp_path, is_whole, tally):
    """Their times and, where it can be, their sizes stay, so that DVC itself does not notice."""
    train, test, classes = load_raw("mnist", mnist_raw)
    few = (RawSplit(split.images[:300], split.labels[:300]) for split in (train, test))
    splits = hold_out(build_splits(*few, classes=classes), DataConfig("mnist", 100, 0))
    made = tmp_path / "made"
    save_processed(splits, made, MADE_WITH)
    files = sorted(path.name for path in made.iterdir())
    arrays = [name for name in files if name.endswith(".npy")]
    assert (len(files), len(arrays)) == (7, 6)
    generator = random.Random(6)
    failures = []
    tried = 650 if is_whole else 130
    for number in range(tried):
        folder = tmp_path / "processed"
        shutil.copytree(made, folder)
        kind = list(CHANGES)[number % len(CHANGES)]
        text = kind in ("bits flipped", "truncated", "empty", "gone")
        name = generator.choice(files if text else arrays)
        path, also = folder / name, name
        times = path.stat().st_mtime_ns
        if kind == "truncated" and name == "data.json":
            path.write_text(path.read_text()[: -generator.randrange(2, 300)])
        else:
            also = CHANGES[kind](generator, path) or name
        if path.is_file() and not path.is_symlink():
            os.utime(path, ns=(times, times))
        line = refuse(lambda: load_processed(folder, MADE_WITH))  # noqa: B023
        says = any(f"{each} " in line or each in line for each in (str(path), str(also)))
        # A bit in what data.json says shows in the value, or by the file that it is of.
        says = says or (name == "data.json" and line.startswith(str(folder)))
        if "\n" in line or not says or "run `dvc repro" not in line:
            failures.append(f"{name} {kind}: {line}")
        shutil.rmtree(folder)
    whole = load_processed(made, MADE_WITH)
    np.testing.assert_array_equal(whole.train.images, splits.train.images)
    assert json.loads((made / "data.json").read_text())["sha256"].keys() == set(arrays)
    tally(f"Processed files changed, {len(CHANGES)} kinds of change", tried, failures)
