"""What the benchmarks compare is the same work, and what they say follows from the times."""

import json

import bench
import growth
import numpy as np
import peers
import pipeline
import pytest
from bench import ALL_CORES, MODEL_PER_CORE, ONE_CORE, Timed
from peers import Training
from pipeline import Frame


def training_of(split, images, batch_size=128, hidden=(128, 64), seed=0):
    return Training(hidden, batch_size, split.images[:images], split.labels[:images], seed=seed)


# --- The same work -----------------------------------------------------------------------------


# 7 whole batches and one of 104, in two epochs; PyTorch, JAX and scikit-learn are not installed
# here: `make bench` verifies the same of them.
@pytest.mark.parametrize("batch_size", [128, 2000])
def test_numpy_trains_what_actlab_trains(batch_size, mnist):
    training = training_of(mnist.train, 1000, batch_size)
    ours, theirs = peers.actlab(training, 1), peers.numpy_arrays(training, 1)
    for epoch in (1, 2):
        assert theirs(epoch) == pytest.approx(ours(epoch), rel=1e-4)


def test_an_epoch_of_the_notebooks_network_is_27_gflop(mnist):
    # Twice a multiplication and an addition of the first layer, three times of the others.
    expected = 2 * 60_000 * (2 * 784 * 128 + 3 * 128 * 64 + 3 * 64 * 10)
    assert peers.flop(training_of(mnist.train, 60_000)) == expected
    assert expected == pytest.approx(27.2e9, rel=0.005)


def test_products_are_as_many_as_batches(mnist):
    found = peers.products(training_of(mnist.train, 300, 128, (16,)))
    assert [each for each in found if each[3] == 2] == [
        *((128, 784, 16, 2), (784, 128, 16, 2)),
        *((128, 16, 10, 2), (16, 128, 10, 2), (128, 10, 16, 2)),
    ]
    assert next(each for each in found if each[3] == 1) == (44, 784, 16, 1)
    assert len(found) == 10


def test_a_convolution_is_a_product_at_each_place(mnist):
    training = bench.training_of("conv", 100, mnist.train.images[:100], mnist.train.labels[:100])
    assert training.shapes == [(576, 25, 20), (64, 500, 50), (1, 800, 500), (1, 500, 10)]
    assert peers.products(training)[:3] == [
        *((57_600, 25, 20, 1), (25, 57_600, 20, 1)),
        (6_400, 500, 50, 1),
    ]
    kernels = [kernel.shape for kernel, _ in training.initial_weights()]
    assert kernels == [(5, 5, 1, 20), (5, 5, 20, 50), (800, 500), (500, 10)]


def test_initial_weights_and_orders_depend_on_the_seed_alone(mnist):
    one, same, other = (training_of(mnist.train, 50, seed=seed) for seed in (0, 0, 1))
    kernels = [each.initial_weights()[0][0] for each in (one, same, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    assert sorted(np.concatenate(one.batches(1))) == list(range(50))
    assert not np.array_equal(one.order(1), one.order(2))


# --- What is said of times ---------------------------------------------------------------------

#: Seconds of each side and way; each of three rounds is slower by a tenth.
SECONDS = {
    ("actlab", ONE_CORE): 0.2,
    ("actlab", MODEL_PER_CORE): 0.1,
    ("products, NumPy", ONE_CORE): 0.16,
    ("products, NumPy", MODEL_PER_CORE): 0.08,
    ("NumPy", ONE_CORE): 0.5,
    ("NumPy", ALL_CORES): 0.3,
    ("NumPy", MODEL_PER_CORE): 0.24,
}
TIMES = [
    Timed("mlp", 128, number, side, way, value * (1 + number / 10), "2 cores")
    for number in range(3)
    for (side, way), value in SECONDS.items()
]


def test_a_table_tells_ratios_within_rounds():
    lines = bench.table(TIMES, 16_000_000_000).splitlines()
    cells = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ")}
    same = "1.25 (1.25 to 1.25)"
    row = f"| actlab | 0.220 | {same} | 0.110 | one model per core | {same} |  |"
    assert cells["actlab"] == row
    assert cells["NumPy"].endswith(
        "| 0.264 | one model per core | 3.00 (3.00 to 3.00) | 2.40 (2.40 to 2.40) |"
    )
    assert "91 GFLOP/s on one core, 182 on all" in lines[-1]


def test_the_page_has_the_table_of_the_measurements(root):
    times = bench.cells(bench.read(root / "docs/study/bench/epochs.csv"))["mlp", 128]
    lines = bench.table(times, 0).splitlines()[2:-2]
    assert len(lines) == 11
    assert set(lines) <= set((root / "docs/benchmarks.md").read_text().splitlines())


@pytest.mark.parametrize(
    ("before", "said"), [(1.25, "(+0%): as before"), (1.0, "(+25%): MORE THAN 20 % WORSE")]
)
def test_a_slower_trainer_is_told(before, said, tmp_path, capsys):
    path = tmp_path / "baseline.json"
    ratios = {"mlp": dict.fromkeys((ONE_CORE, MODEL_PER_CORE), before)}
    path.write_text(json.dumps({"another": ratios, bench.hardware(): ratios}))
    bench.compare_with_baseline(TIMES, path, is_new=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith(said) for line in lines] == [True, True]


def test_a_baseline_is_of_a_kind_of_processor(tmp_path, capsys, monkeypatch):
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps({"another": {}}))
    bench.compare_with_baseline(TIMES, path, is_new=False)
    assert capsys.readouterr().out.startswith("no baseline of ")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    bench.compare_with_baseline(TIMES, path, is_new=True)
    assert json.loads(path.read_text())[bench.hardware()]["mlp"][ONE_CORE] == 1.25


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_an_exponent_is_the_power(power):
    sizes = {size: {"s": 3 * size**power} for size in (10, 100, 1000)}
    assert growth.exponent(sizes, "s") == pytest.approx(power)
    assert growth.table("images", sizes).splitlines()[-1] == f"| exponent | {power:.2f} |"


COMPILED, QUEUE = "/src/actlab/training/compiled.py", "/lib/threading.py"


@pytest.mark.parametrize(
    ("functions", "work"),
    [
        (
            [("call", "/tensorflow/x.py"), ("compile_epoch.<locals>.run_epoch", COMPILED)],
            "training",
        ),
        ([("call", "/tensorflow/x.py"), ("compile_epoch", COMPILED)], "compiling"),
        ([("__init__", "/mlflow/a.py"), ("_find", "<frozen importlib._bootstrap>")], "imports"),
        ([("log_batch", "/mlflow/a.py"), ("write", "/src/actlab/tracking/store.py")], "MLflow"),
        ([("main", "/src/actlab/stages/train.py")], "other"),
        ([("wait", QUEUE), ("compile_epoch.<locals>.run_epoch", COMPILED)], None),
        ([("fit_seeds", COMPILED), ("train", "/src/actlab/stages/train.py")], None),
    ],
)
def test_what_a_thread_does_is_seen_in_its_stack(functions, work):
    assert pipeline.work_of([Frame(*each) for each in functions]) == work


def test_seconds_of_the_pipeline_are_told_by_stage():
    found = {
        "train": {"training": 60.0, "imports": 10.0, "MLflow": 5.0},
        "report": {"imports": 5.0, "figures": 20.0},
    }
    lines = pipeline.table(found).splitlines()
    assert lines[0] == "| s | training | figures | imports | MLflow | all |"
    assert lines[2] == "| train | 60.0 |  | 10.0 | 5.0 | 75.0 |"
    assert lines[4] == "| all | 60.0 | 20.0 | 15.0 | 5.0 | 100.0 |"
    assert lines[-1].startswith("25 of 100 s, 25%, are neither")


def test_what_stands_below_a_page_mark_is_replaced_alone(tmp_path, monkeypatch):
    page = tmp_path / "benchmarks.md"
    text = "before\n<!-- a -->\n{}<!-- /a -->\nbetween\n<!-- b -->\n<!-- /b -->\n"
    page.write_text(text.format("old\n"))
    monkeypatch.setattr("page.PAGE", page)
    bench.write_between("a", "new\n")
    assert page.read_text() == text.format("new\n")
