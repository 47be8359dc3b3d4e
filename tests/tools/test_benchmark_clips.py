import numpy as np
import pytest

from tools import arguments
from tools.benchmark_clips import Errors, composed, main


def test_clips_move_and_are_the_same_each_time() -> None:
    frames = list(composed("fur", 2, arguments.ROOT / "samples" / "original"))
    again = list(composed("fur", 2, arguments.ROOT / "samples" / "original"))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(frames, again, strict=True))
    assert np.abs(frames[0][1] - frames[1][1]).mean() > 0.005
    assert 0.05 < frames[0][1].mean() < 0.95


def test_changes_of_the_true_alpha_are_no_error() -> None:
    errors, unknown = Errors(), np.ones((4, 4), bool)
    for level, off in ((0.2, 0.1), (0.6, 0.1), (0.6, 0.3)):
        errors.add(np.full((4, 4), level + off), np.full((4, 4), level), unknown)
    assert errors.absolute == pytest.approx([0.1, 0.1, 0.3])
    assert errors.changes == pytest.approx([0.0, 0.2])


def test_bad_arguments_are_refused(tmp_path) -> None:
    with pytest.raises(SystemExit):
        main(["--frames", "1"])
