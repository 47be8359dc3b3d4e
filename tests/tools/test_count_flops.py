"""Published parameter and operation counts."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"

spec = spec_from_file_location("count_flops", ROOT / "tools" / "count_flops.py")
count_flops = module_from_spec(spec)
spec.loader.exec_module(count_flops)


@pytest.mark.parametrize(
    ("config", "parameters", "gmac"), [("AEMatter", "51,186,044", "312.636"), ("CheapMatting", "6,023,025", "38.594")]
)
def test_published_counts(config: str, parameters: str, gmac: str, capsys: pytest.CaptureFixture):
    assert count_flops.main([str(CONFIGS / f"{config}.py")]) == 0
    total = capsys.readouterr().out.splitlines()[-1].split()
    assert total == ["total", parameters, "parameters", gmac, "GMAC"]


@pytest.mark.parametrize("arguments", [["missing.py"], [str(CONFIGS / "AEMatter.py"), "--size", "0", "5"]])
def test_wrong_arguments(arguments: list[str]):
    with pytest.raises(SystemExit) as error:
        count_flops.main(arguments)
    assert error.value.code == 2
