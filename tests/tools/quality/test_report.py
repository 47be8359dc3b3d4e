"""Tables: means over common images, kept-token shares by content."""

import numpy as np
import pytest

from tools.quality.report import common_images, kept_share, routing_table, score_table
from tools.quality.run import kept_shares

RESULTS = {
    "one": {
        "peak_bytes": 3 * 2**20,
        "images": {
            "a": {"sad": 1.0, "mse": 2.0, "grad": 3.0, "conn": 4.0, "seconds": 0.5, "kept": []},
            "b": {"error": "no foreground"},
        },
    },
    "two": {
        "peak_bytes": 2**20,
        "images": {
            name: {
                "sad": 2.0,
                "mse": 2.0,
                "grad": 3.0,
                "conn": 4.0,
                "seconds": 0.25,
                "kept": [{"unknown": [3, 4], "known": [1, 12]}, {"unknown": [1, 4], "known": [3, 12]}],
            }
            for name in "ab"
        },
    },
}


def test_means_are_over_what_all_could_do() -> None:
    assert common_images(RESULTS) == ["a"]
    lines = score_table(RESULTS).splitlines()
    assert lines[2] == "| one | 1.00 | 2.00 | 3.00 | 4.00 | 0.50 | 3 |  |"
    assert lines[3] == "| two | 2.00 | 2.00 | 3.00 | 4.00 | 0.25 | 1 | 25.0 % |"


def test_shares_by_block_and_kind() -> None:
    assert kept_share(RESULTS["two"], ("unknown",), 0) == pytest.approx(0.75)
    assert kept_share(RESULTS["one"]) is None
    assert routing_table(RESULTS["two"]).splitlines()[2:] == [
        "| 1 | 75.0 % | 8.3 % | 25.0 % |",
        "| 2 | 25.0 % | 25.0 % | 25.0 % |",
    ]


def test_a_token_with_one_unknown_pixel_counts_as_unknown() -> None:
    trimap = np.zeros((20, 33), np.uint8)  # 2 x 3 tokens, the last ones cut
    trimap[17, 32] = 128
    keep = np.array([[True, False, False], [False, False, True]])
    assert kept_shares(keep, trimap) == {"unknown": [1, 1], "known": [1, 5]}
