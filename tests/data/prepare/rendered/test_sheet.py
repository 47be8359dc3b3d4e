"""The contact sheet of foregrounds."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.files import FileError
from data.prepare.rendered.sheet import GROUNDS, contact_sheet
from tests.data.folders import disc, waves, write


def test_cells_lie_in_rows_over_their_grounds(tmp_path: Path) -> None:
    rgba = np.dstack([waves(40, 80), disc(40, 80)])
    paths = [write(tmp_path / f"{index}.png", rgba) for index in range(5)]
    sheet = cv2.imdecode(
        np.frombuffer(contact_sheet(paths, columns=3, cell=32, quality=95), np.uint8), cv2.IMREAD_COLOR
    )
    assert sheet.shape == (64, 96, 3)
    for index in range(5):
        corner = sheet[index // 3 * 32 + 2, index % 3 * 32 + 2, ::-1].astype(int)
        assert np.abs(corner - GROUNDS[index]).max() < 12
    assert (sheet[40:, 70:] > 245).all()


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(FileError, match="at least one foreground"):
        contact_sheet([])
