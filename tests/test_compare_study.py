import compare_study
import numpy as np
import pytest


@pytest.fixture
def clones(tmp_path):
    """Two clones with the same tables and logits."""
    for clone in ("old", "new"):
        (tmp_path / clone / "runs/relu-mlp/results").mkdir(parents=True)
        (tmp_path / clone / "results/theory").mkdir(parents=True)
        (tmp_path / clone / "runs/relu-mlp/results/test.csv").write_text("loss\n0.1\n")
        (tmp_path / clone / "results/theory/ratios.csv").write_text("ratio\n0.1\n")
        np.savez(
            tmp_path / clone / "runs/relu-mlp/results/test.npz", logits=np.array([0.1], np.float32)
        )
    return tmp_path / "old", tmp_path / "new"


def wrong(clones):
    return {kind for kind, _, names in compare_study.compare(*clones) if names}


def test_clones_that_are_the_same_agree(clones):
    assert wrong(clones) == set()
    assert {count for _, count, _ in compare_study.compare(*clones)} == {0, 1}


def test_the_last_bit_counts_but_for_theory(clones):
    _, new = clones
    (new / "runs/relu-mlp/results/test.csv").write_text(f"loss\n{np.nextafter(0.1, 1)}\n")
    (new / "results/theory/ratios.csv").write_text(f"ratio\n{np.nextafter(0.1, 1)}\n")
    logits = np.nextafter(np.array([0.1], np.float32), np.float32(1))
    np.savez(new / "runs/relu-mlp/results/test.npz", logits=logits)
    assert wrong(clones) == {"test", "logits"}
    (new / "results/theory/ratios.csv").write_text("ratio\n0.100000001\n")
    assert wrong(clones) == {"test", "logits", "theory"}


def test_a_file_that_one_of_them_lacks_is_found(clones):
    old, new = clones
    (old / "runs/relu-mlp/results/test.csv").unlink()
    (new / "runs/relu-mlp/results/test.npz").unlink()
    assert wrong(clones) == {"test", "logits"}
