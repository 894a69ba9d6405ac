"""Sweeps on SLURM and ray, and a shared MLflow server: all really started, on this machine."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from studies import read_committed

SMALL = (
    "network=uniform",
    "network.hidden=1x8",
    "training.epochs=1",
    "training.probe_epochs=[1]",
    "seeds=[0]",
)
SCRIPTS = ("slurm.sh", "mlflow_server.sh")


# --- What a script refuses ----------------------------------------------------------------


def said(root, script, *arguments, path="", **environment):
    """The one line that a script ends with."""
    finished = subprocess.run(
        ["sh", str(root / "scripts" / script), *arguments],
        env={"PATH": f"{path}:{Path(sys.executable).parent}:/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    return line


def write_stub(folder, name, script):
    """Put a program into a folder of the PATH."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "say start or stop: scripts/{script} start [FOLDER]"),
        (("restart",), "say start or stop: scripts/{script} start [FOLDER]"),
        (("start", "here"), "the folder is here: it has to be an absolute path"),
    ],
)
def test_a_script_says_what_it_can_be_told(script, arguments, line, root):
    assert said(root, script, *arguments) == f"actlab: {line.format(script=script)}"


@pytest.mark.parametrize(
    ("script", "stub", "line"),
    [
        (
            "slurm.sh",
            ("id", "echo 1000"),
            "only root can start and stop SLURM: become root, or use an existing cluster",
        ),
        (
            "mlflow_server.sh",
            ("python", "exit 1"),
            "python here has no mlflow and psycopg2: . .venv/bin/activate first",
        ),
    ],
)
def test_what_a_script_lacks_is_named(script, stub, line, root, tmp_path):
    write_stub(tmp_path, *stub)
    folder = tmp_path / "folder"
    assert said(root, script, "start", str(folder), path=str(tmp_path)) == f"actlab: {line}"
    assert not folder.exists()


@pytest.mark.parametrize(
    ("script", "marker"), [("slurm.sh", ".actlab-slurm"), ("mlflow_server.sh", ".actlab-mlflow")]
)
@pytest.mark.parametrize("action", ["start", "stop"])
@pytest.mark.parametrize("planted", ["thesis.tex", "slurmdbd.conf", "postgres/data/PG_VERSION"])
def test_a_folder_of_something_else_is_left_alone(script, marker, action, planted, root, tmp_path):
    folder = tmp_path / "folder"
    (folder / planted).parent.mkdir(parents=True)
    (folder / planted).write_text("three years")
    for daemon in ("slurmd", "mlflow"):  # what stop would end and remove
        (folder / f"{daemon}.pid").write_text("4194305")  # above any process's
    write_stub(tmp_path, "id", "echo 0")
    before = {path: path.is_dir() or path.read_text() for path in folder.rglob("*")}
    assert said(root, script, action, str(folder), path=str(tmp_path)) == (
        f"actlab: {folder} contains other files (and no {marker}): name another folder"
    )
    assert {path: path.is_dir() or path.read_text() for path in folder.rglob("*")} == before


# --- Sweeps -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(root):
    """What a user's shell has after `. .venv/bin/activate`."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(root / "src"),
        "MLFLOW_TRACKING_URI": "",
    }


@pytest.fixture(scope="module")
def study(root, mnist_raw, tmp_path_factory):
    """What a sweep needs of a clone; 2,000 real images to train on."""
    folder = tmp_path_factory.mktemp("clusters")
    for name in ("conf", "custom"):
        shutil.copytree(root / name, folder / name)
    params = yaml.safe_load(read_committed(root, "params.yaml"))
    params["data"]["validation_size"] = 58_000
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/mnist").symlink_to(mnist_raw)
    return folder


def sweep(study, environment, launcher, *overrides, python=sys.executable):
    """Begin a sweep with a launcher, in a folder of its name."""
    return subprocess.Popen(
        [
            *(python, "-m", "actlab.stages.train", "-m"),
            *(f"hydra/launcher={launcher}", f"hydra.sweep.dir=multirun/{launcher}"),
            *(*SMALL, *overrides),
        ],
        cwd=study,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(process):
    """What a sweep that went well has printed."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def jobs_of(study, launcher):
    """Each job's activation, the id that its launcher gave it, and its rows."""
    jobs = {}
    for path in (study / "multirun" / launcher).glob("*/.hydra/hydra.yaml"):
        history = next(path.parents[1].glob("runs/*/results/history.csv"))
        activation = history.parents[1].name.removesuffix("-uniform")
        jobs[activation] = (
            str(yaml.safe_load(path.read_text())["hydra"]["job"]["id"]),
            pd.read_csv(history),
        )
    return jobs


def left_of(folder):
    """The command lines and environments of the processes that name a folder in them."""
    commands = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            commands.append(told.replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return [command for command in commands if str(folder) in command]


def free_ports(count):
    """The first of some neighbouring ports that nothing listens on."""
    for first in range(20_000 + os.getpid() % 10_000, 40_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as tried:
                    tried.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no port is free")


class Cluster:
    """The one-node SLURM and the MLflow server of scripts/, each in a folder of its own."""

    def __init__(self, root, environment):
        self.environment = environment.copy()
        # Beside pytest's own folders, which other users than root cannot enter.
        self.folders = {name: Path(tempfile.mkdtemp(prefix="actlab-")) for name in SCRIPTS}
        self.root, port = root, free_ports(4)
        self.uri = f"http://127.0.0.1:{port + 3}"
        self.environment |= {"SLURM_PORT": str(port), "MLFLOW_PORT": str(port + 3)}

    def tell(self, action):
        """Tell both scripts to start or stop."""
        told = []
        for name, folder in self.folders.items():
            command = ["sh", str(self.root / "scripts" / name), action, str(folder)]
            with self.log_of(folder).open("a") as log:
                told.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))
        statuses = [process.wait(timeout=600) for process in told]
        assert statuses == [0, 0], self.logs()

    def log_of(self, folder):
        """Where a script's lines go: daemons that hold a pipe would keep it open."""
        return folder.with_name(f"{folder.name}.log")

    def logs(self):
        """What both scripts have printed."""
        return "\n".join(self.log_of(folder).read_text() for folder in self.folders.values())

    def sacct(self):
        """The state and cores of each job that SLURM has accounted for."""
        printed = subprocess.run(
            ["sacct", "-X", "--noheader", "--parsable2", "--format=JobID,State,AllocCPUS"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        rows = [line.split("|") for line in printed.splitlines()]
        return {job: (state, int(cores)) for job, state, cores in rows}


@pytest.fixture(scope="module")
def cluster(root, environment):
    if os.environ.get("ACTLAB_CLUSTERS") != "1":
        pytest.skip("it installs SLURM and PostgreSQL with apt-get: ACTLAB_CLUSTERS=1 make test")
    if os.geteuid() != 0:
        pytest.skip("only root can bring up SLURM: run this test in a container, as root")
    if shutil.which("apt-get") is None:
        pytest.skip("SLURM and PostgreSQL come from Debian's packages, and there is no apt-get")
    cluster = Cluster(root, environment)
    folders = list(cluster.folders.values())
    try:
        cluster.tell("start")
        cluster.environment["SLURM_CONF"] = f"{cluster.folders['slurm.sh']}/slurm.conf"
        yield cluster
    finally:
        cluster.tell("stop")
        left = [command for folder in folders for command in left_of(folder)]
        for folder in folders:
            shutil.rmtree(folder)
            cluster.log_of(folder).unlink()
    assert left == []


@pytest.fixture(scope="module")
def swept(study, cluster):
    """A sweep that logs to the shared server, and one of Hydra's own launcher with its defaults."""
    at_server = cluster.environment | {"MLFLOW_TRACKING_URI": cluster.uri}
    processes = [
        sweep(study, at_server, "slurm", "activation=relu,tanh", "hydra.launcher.cpus_per_task=1"),
        sweep(study, cluster.environment, "submitit_slurm", "activation=relu"),
    ]
    for process in processes:
        output_of(process)
    return study


def test_slurm_ran_every_job(swept, cluster):
    own, plain = jobs_of(swept, "slurm"), jobs_of(swept, "submitit_slurm")
    assert set(own) == {"relu", "tanh"}
    assert set(plain) == {"relu"}
    ids = [job for job, _ in (*own.values(), *plain.values())]
    accounted = {}
    for _ in range(100):  # a job's result is there a little before SLURM closes it
        accounted = cluster.sacct()
        if all(accounted[job][0] != "RUNNING" for job in ids):
            break
        time.sleep(0.2)
    assert {job: accounted[job] for job in ids} == dict.fromkeys(ids, ("COMPLETED", 1))
    assert len(set(ids)) == 3
    pd.testing.assert_frame_equal(own["relu"][1], plain["relu"][1])
    with pytest.raises(AssertionError):
        pd.testing.assert_frame_equal(own["relu"][1], own["tanh"][1])


def test_jobs_on_slurm_log_to_the_shared_server(swept, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    client = mlflow.MlflowClient(cluster.uri)
    experiment = client.get_experiment_by_name("actlab")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    asked = ",".join(sorted(each for each in SMALL if not each.startswith("network=")))
    names = {name: f"{name}/uniform {asked}" for name in ("relu", "tanh")}
    assert set(runs) == {*names.values(), *(f"{name}/seed-0" for name in names.values())}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for activation, (_, history) in jobs_of(swept, "slurm").items():
        seed, parent = runs[f"{names[activation]}/seed-0"], runs[names[activation]]
        assert seed.data.tags["mlflow.parentRunId"] == parent.info.run_id
        (row,) = history.to_dict("records")
        for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert seed.data.metrics[key] == row[key]
        assert str(parent.info.artifact_uri).startswith("mlflow-artifacts:/")
        path = client.download_artifacts(parent.info.run_id, "history.csv", str(tmp_path))
        pd.testing.assert_frame_equal(pd.read_csv(path), history)


def test_the_password_of_the_database_is_shown_nowhere(cluster):
    folder = cluster.folders["mlflow_server.sh"]
    password = (folder / "pgpass").read_text().strip().rpartition(":")[2]
    assert re.fullmatch("[0-9a-f]{48}", password)
    assert (folder / "pgpass").stat().st_mode & 0o077 == 0
    commands = left_of(folder)
    assert any("mlflow server" in command for command in commands)
    assert not any(password in command for command in commands)
    logs = [*folder.glob("*.log"), *(folder / "postgres").glob("*.log")]
    assert {log.name for log in logs} == {"initdb.log", "mlflow.log", "postgres.log"}
    assert not any(password in log.read_text() for log in logs)
    assert password not in cluster.logs()


#: In the place of a command, kills the script that calls it before what a pattern describes.
KILLING = """#!/bin/sh
case "${0##*/} $*" in
$KILLED_BEFORE) kill -s KILL "$(cut -d ' ' -f 6 "/proc/$$/stat")" ;; # its session's first process
*) PATH=${PATH#*:} exec "${0##*/}" "$@" ;;
esac
"""

#: What a first start does, in this order.
STEPS = (
    "runuser*initdb*",
    "mv*data.new*",
    "mv*pgpass.new*",
    "runuser*pg_ctl start*",
    "runuser*pg_isready*",
    "runuser*psql*",
    "setsid*mlflow server*",
)


@pytest.fixture
def server(root, cluster, tmp_path):
    """Start a server of this test's own, or stop it; a pattern says before what it is killed."""
    folder = Path(tempfile.mkdtemp(prefix="actlab-"))
    for name in ("mv", "runuser", "setsid"):
        (tmp_path / name).write_text(KILLING)
        (tmp_path / name).chmod(0o755)
    environment = cluster.environment | {
        "PATH": f"{tmp_path}:{cluster.environment['PATH']}",
        "MLFLOW_PORT": str(free_ports(1)),
    }

    def tell(action, killed_before="-"):
        with (tmp_path / "log").open("w") as log:
            status = subprocess.Popen(
                ["sh", str(root / "scripts/mlflow_server.sh"), action, str(folder)],
                env=environment | {"KILLED_BEFORE": killed_before},
                stdout=log,
                stderr=log,
                start_new_session=True,
            ).wait(timeout=300)
        return status, (tmp_path / "log").read_text()

    try:
        yield folder, f"http://127.0.0.1:{environment['MLFLOW_PORT']}", tell
    finally:
        status = tell("stop")
        left = left_of(folder)
        shutil.rmtree(folder)
    assert (status, left) == ((0, ""), [])


def test_a_server_loses_nothing_by_kills(server):
    """Its first start is killed before each of its steps, and MLflow alone once it is up."""
    import mlflow

    folder, uri, tell = server
    running = folder / "postgres/data/postmaster.pid"
    started = []
    for step in STEPS:
        assert tell("start", step) == (-signal.SIGKILL, ""), step
        started += running.read_text().split()[:1] if running.is_file() else []
    assert len(started) == 3
    assert len(set(started)) == 1  # a PostgreSQL that runs keeps its folder
    up = (0, f"The MLflow server is up:  export MLFLOW_TRACKING_URI={uri}\n")
    assert tell("start") == up
    password = (folder / "pgpass").read_text()
    client = mlflow.MlflowClient(uri)
    run = client.create_run(client.create_experiment("kept")).info.run_id
    os.kill(int((folder / "mlflow.pid").read_text()), signal.SIGKILL)
    assert tell("start") == up
    assert client.get_run(run).info.run_id == run
    assert running.read_text().split()[0] == started[0]
    assert (folder / "pgpass").read_text() == password


def test_ray_runs_every_job(study, root, environment, tmp_path):
    python = root / ".venv-ray/bin/python"
    if not (root / ".venv-ray/ready").is_file():
        pytest.skip("ray has packages of its own, which are not there: make setup-ray")
    own = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "HOME": str(tmp_path),  # ray keeps a token there
        # Else what another test here has trained would be skipped.
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    init = (
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init.include_dashboard=false",
    )
    process = sweep(
        study, environment | own, "ray", *init, "activation=relu,tanh", python=str(python)
    )
    output = output_of(process)
    assert len(set(re.findall(r"_run_job pid=(\d+)", output))) == 2
    jobs = jobs_of(study, "ray")
    assert set(jobs) == {"relu", "tanh"}
    for activation, (_, history) in jobs.items():
        (found,) = (study / "multirun/ray").glob(f"*/runs/{activation}-uniform/models/model.json")
        assert json.loads(found.read_text())["activation"]["name"] == activation
        assert history["val_accuracy"].between(0.1, 1).all()
