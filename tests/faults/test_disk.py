"""The disk is full at each stage: one line, and what was there is there still."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from mounts import fill, mount, where_mounts_are_allowed
from studies import Study, small_study

PAGE = 4096
MARK = b"\n# before\n"


def commands(root: Path) -> dict[str, tuple[str, list[str]]]:
    """The command and the outputs of every stage at the small scale, by DVC's names."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, stage in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].items():
        outs = [*stage["outs"], *(next(iter(each)) for each in stage.get("metrics", []))]
        text, items = yaml.safe_dump([stage["cmd"], outs]), [{}]
        if name == "train":
            items = [{"activation": each, "network": "mlp"} for each in ("sigmoid", "leaky_relu")]
        for item in items:
            filled = re.sub(r"\$\{item\.(\w+)\}", lambda key, item=item: item[key[1]], text)
            title = f"{name}@{'-'.join(item.values())}" if item else name
            command, own = yaml.safe_load(filled)
            found[title] = (command, own)
    return found


def files_of(path: Path) -> list[Path]:
    return sorted(each for each in (path.rglob("*") if path.is_dir() else [path]) if each.is_file())


def pages_of(path: Path) -> int:
    return sum(-(-each.stat().st_size // PAGE) for each in files_of(path))


def contents(study: Study, names: list[str]) -> dict[str, dict[str, str]]:
    """The digests of the files of each output."""
    return {
        name: {
            str(file): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files_of(study.folder / name)
        }
        for name in names
    }


def run(study: Study, command: str) -> tuple[int, str]:
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=study.folder,
        env=study.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def suffer_stage(study: Study, name: str, parts: list[float]) -> list[list[str]]:
    """Run a stage on a disk with room for a part of its largest output; lines on what is wrong."""
    command, outs = commands(study.folder)[name]
    paths = [study.folder / each for each in outs]
    status, output = run(study, command)
    assert status == 0, output
    new = contents(study, outs)
    for each in (file for path in paths for file in files_of(path)):
        with each.open("ab") as file:
            file.write(MARK)
    old, largest = contents(study, outs), max(map(pages_of, paths))
    kept = ("conf", "src", "data", "runs", "results", "timings", "reports")
    own = {str(file.relative_to(study.folder)) for path in paths for file in files_of(path)}
    others = {file: digest for file, digest in study.digests(*kept).items() if file not in own}
    found = []
    for part in parts:
        before = contents(study, outs)
        filler = fill(study.folder.parent, int(part * largest) * PAGE)
        status, output = run(study, command)
        filler.unlink()
        wrong = []
        lines = [line for line in output.splitlines() if line.startswith("actlab: ")]
        is_last = lines and output.endswith(f"{lines[0]}\n")
        if status != 1 or len(lines) != 1 or not is_last or "Traceback" in output:
            wrong.append(f"status {status}, printed {output[-2000:]!r}")
        elif not (
            "free disk space" in lines[0] and any(out in lines[0] for out in [*outs, "checkpoints"])
        ):
            wrong.append(f"the line does not tell the file: {lines[0]!r}")
        after = contents(study, outs)
        for out in outs:
            if after[out] not in (before[out], new[out]) and "timings" not in out:
                wrong.append(f"{out} is neither what it was nor what it is to be")
        if left := [*study.folder.rglob(".*.partial")]:
            wrong.append(f"left behind: {left}")
        if {key: value for key, value in study.digests(*kept).items() if key in others} != others:
            wrong.append("what is no output of the stage has changed")
        found.append([f"{name}, room for {part:.0%}: {each}" for each in wrong])
    status, output = run(study, command)
    again = contents(study, outs)
    if status != 0:
        found[-1].append(f"{name}, with room again: status {status}, printed {output[-2000:]!r}")
    elif any(again[out] == old[out] for out in outs):
        found[-1].append(f"{name}, with room again: not all outputs are new")
    elif name.startswith(("fetch", "pre", "activ", "gradients", "theory")) and again != new:
        found[-1].append(f"{name}, with room again: the outputs are others")
    return found


def suffer_stages(
    root: str, folder: str, raw: str, stages: list[str], parts: list[float]
) -> dict[str, list[list[str]]]:
    """Run stages, those in between on a disk that has room."""
    disk = Path(folder) / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=1400m", "none", disk)
    study = small_study(Path(root), disk / "actlab", Path(raw))
    study.environment |= {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    found = {}
    for name, (command, _) in commands(study.folder).items():
        if name in stages:
            found[name] = suffer_stage(study, name, parts)
        elif len(found) < len(stages):
            status, output = run(study, command)
            assert status == 0, output
    return found


@pytest.mark.whole("minutes; test_command.py fills one in preprocess")
def test_a_disk_that_is_full_costs_a_line_and_nothing_that_was_there(
    root, mnist_raw, tmp_path, tally
):
    stages = [each for each in commands(root) if each != "train@leaky_relu-mlp"]
    parts = [0.0, 0.5]
    found = where_mounts_are_allowed(
        *("test_disk", "suffer_stages", tmp_path),
        *(str(root), str(tmp_path), str(mnist_raw), stages, parts),
    )
    assert list(found) == stages
    for name, tried in found.items():
        tally(f"Disk full at {name}", len(tried), [line for lines in tried for line in lines])
