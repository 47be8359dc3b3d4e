from pathlib import Path

import cv2
import numpy as np
import pytest

from data.files import FileError
from tools.benchmark_working_size import main
from tools.benchmarks.enlarged import composed, drawn, enlarged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image = np.full((40, 60, 3), 50, np.uint8)
    alpha = np.zeros((40, 60), np.uint8)
    image[10:30, 20:40], alpha[10:30, 20:40] = 200, 255
    trimap = np.where(cv2.boxFilter(alpha, -1, (9, 9)) % 255 > 0, 128, alpha).astype(np.uint8)
    for name, pixels in {"image": image, "trimap": trimap, "alpha": alpha}.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "set" / name / "box.png"), pixels)
    return tmp_path / "set"


def test_the_table_has_a_column_per_size_and_a_row_per_image(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["--data-dir", str(folder), "--enlarge", "180", "--sizes", "full", "90"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| image | pixels | full | 90 |"
    assert lines[2].startswith("| box | 180 x 120 | 0.")
    assert [line.split(" | ")[0] for line in lines[3:]] == ["| mean", "| seconds", "| processor seconds"]


def test_enlarged_and_drawn_cases_are_whole(folder: Path) -> None:
    cases = [*enlarged(folder, 90), *enlarged(folder, None), *drawn(2, 160, folder / "image")]
    assert [case.alpha.shape for case in cases] == [(60, 90), (40, 60), (120, 160), (120, 160)]
    for case in cases:
        assert case.image.shape == (*case.trimap.shape, 3)
        assert set(np.unique(case.trimap)) <= {0, 128, 255}
        assert 0 <= case.alpha.min() <= case.alpha.max() <= 1


def test_composites_are_made_of_pictures_with_alpha(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    layer = np.zeros((90, 120, 4), np.uint8)
    layer[20:60, 30:80] = (0, 0, 255, 255)
    cv2.imwrite(str(tmp_path / "cut" / "red.png"), layer)
    (case,) = composed(tmp_path / "cut", folder / "image")
    assert (case.name, case.alpha.shape) == ("red", (90, 120))
    assert np.abs(case.image[40, 50].astype(int) - (255, 0, 0)).max() < 12
    assert case.trimap[40, 50] == 255
    with pytest.raises(FileError, match="no alpha channel"):
        list(composed(folder / "image", folder / "image"))


def test_a_folder_without_alphas_is_refused(tmp_path: Path) -> None:
    assert main(["--data-dir", str(tmp_path)]) == 2
    with pytest.raises(SystemExit):
        main(["--drawn", "2"])
