"""Published parameter and operation counts."""

import math
from pathlib import Path

import pytest

from modeling.inputs import published_size
from tools import count_flops

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"


@pytest.mark.parametrize(
    ("config", "parameters", "gmac"), [("AEMatter", "51,186,044", "312.636"), ("CheapMatting", "6,023,025", "38.594")]
)
def test_published_counts(config: str, parameters: str, gmac: str, capsys: pytest.CaptureFixture):
    assert count_flops.main([str(CONFIGS / f"{config}.py")]) == 0
    total = capsys.readouterr().out.splitlines()[-1].split()
    assert total == ["total", parameters, "parameters", gmac, "GMAC"]


ROUTED = """
from detectron2.config import LazyCall as L
from modeling import MEMatte
from modeling.backbone.vit import ViT
from modeling.decoder.detail_capture import DetailCapture
model = L(MEMatte)(
    backbone=L(ViT)(embed_dim=48, depth=3, num_heads=2, window_size=4, global_blocks=[2], routed=True),
    decoder=L(DetailCapture)(feature_chans=48),
)
"""


def count_routed(tmp_path: Path, capsys: pytest.CaptureFixture, share: str) -> tuple[str, int]:
    """First line and total MMAC."""
    (tmp_path / "routed.py").write_text(ROUTED)
    assert count_flops.main([str(tmp_path / "routed.py"), "--size", "320x512", "--keep-share", share]) == 0
    lines = capsys.readouterr().out.splitlines()
    return lines[0], round(1000 * float(lines[-1].split()[-2]))


@pytest.mark.parametrize("share", ["0.25", "0.5", "1"])
def test_routed_network_costs_what_its_kept_tokens_cost(share: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    """Per kept token: four projections, and products with all kept tokens.

    There are two such products.
    """
    _, nothing_kept = count_routed(tmp_path, capsys, "0")
    first, total = count_routed(tmp_path, capsys, share)
    assert first == f"routed at 320x512, routers keep {float(share):.1%} of the tokens"
    dim, height, width = 48, *(side // 16 for side in published_size(512, 320))
    kept = math.ceil(float(share) * height * width)
    assert total - nothing_kept == pytest.approx((4 * dim**2 * kept + 2 * dim * kept**2) / 1e6, abs=1.01)


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing.py"],
        [str(CONFIGS / "AEMatter.py"), "--size", "0x5"],
        [str(CONFIGS / "AEMatter.py"), "--size", "2048", "1024"],
        [str(CONFIGS / "AEMatter.py"), "--keep-share", "25"],
    ],
)
def test_wrong_arguments(arguments: list[str]):
    try:
        assert count_flops.main(arguments) == 2
    except SystemExit as error:
        assert error.code == 2
