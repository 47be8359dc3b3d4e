"""The ComfyUI node, imported and called as ComfyUI does."""

import ast
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

import modeling
from tests.test_repository import imported

FOLDER = Path(__file__).resolve().parents[2] / "integrations" / "comfyui"
WIDGETS = {"model": "MEMatte_T", "weights": "", "max_tokens": 100, "max_memory": "64GB", "device": "cpu"}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Copy outside the repository, under ComfyUI's name for it: its path."""
    monkeypatch.setitem(sys.modules, "mematte", modeling)  # its name once it is installed
    folder = shutil.copytree(FOLDER, tmp_path / "custom_nodes" / "mematte")
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop(f"{name}.nodes")


def scene(count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 48, 64, 3) and masks (B, 48, 64)."""
    masks = torch.zeros(count, 48, 64)
    masks[:, 12:36, 16:48] = 1
    return (0.2 + 0.6 * masks[..., None] + 0.1 * torch.rand(count, 48, 64, 3)).clamp(0, 1), masks


def test_only_mematte_and_torch_are_needed() -> None:
    needed = set().union(*(imported(ast.parse(path.read_text())) for path in FOLDER.glob("*.py")))
    assert needed - set(sys.stdlib_module_names) == {"mematte", "torch", "comfy"}  # comfy is ComfyUI itself


def test_sockets_and_widgets_are_those_of_the_function(module: ModuleType) -> None:
    node = module.NODE_CLASS_MAPPINGS["MEMatte"]
    assert set(module.NODE_DISPLAY_NAME_MAPPINGS) == set(module.NODE_CLASS_MAPPINGS)
    inputs = node.INPUT_TYPES()["required"]
    assert inputs["image"] == ("IMAGE",) and inputs["mask"] == ("MASK",)
    function = getattr(node, node.FUNCTION)
    assert list(inputs) == list(function.__code__.co_varnames[1 : function.__code__.co_argcount])
    assert node.RETURN_TYPES == ("MASK", "IMAGE") and inputs["model"][1]["default"] in inputs["model"][0]


def test_a_batch_and_its_cutouts(module: ModuleType) -> None:
    images, masks = scene()
    node = module.NODE_CLASS_MAPPINGS["MEMatte"]()
    alpha, cutout = node.matte(images, masks, "mask", **WIDGETS)
    assert alpha.shape == (2, 48, 64) and cutout.shape == (2, 48, 64, 4)
    assert torch.equal(cutout[..., 3], alpha) and 0 <= cutout.min() and cutout.max() <= 1
    assert (alpha[:, 20:28, 28:36] == 1).all() and (alpha[:, :4] == 0).all()
    expected = modeling.load("MEMatte_T", device="cpu", max_tokens=100).predict(
        (255 * images[1]).round().to(torch.uint8).numpy(), mask=masks[1].numpy()
    )
    torch.testing.assert_close(alpha[1], torch.from_numpy(expected))
    shared, _ = node.matte(torch.cat([images, images[..., :1]], dim=-1), masks[:1], "mask", **WIDGETS)
    assert torch.equal(shared, alpha)


def test_a_trimap_is_snapped(module: ModuleType) -> None:
    images, masks = scene(1)
    trimap = masks.clone()
    trimap[:, 10:38, 14:18] = 0.6
    trimap[trimap == 0] = 0.04
    alpha, _ = module.NODE_CLASS_MAPPINGS["MEMatte"]().matte(images, trimap, "trimap", **WIDGETS)
    assert (alpha[:, :, 48:] == 0).all() and (alpha[:, 12:36, 18:48] == 1).all()
    assert 0 < alpha[0, 20, 16] < 1


def test_progress_and_cancelling_are_comfyuis(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[int] = []

    def interrupt() -> None:
        if shares and shares[-1] > 40:
            raise InterruptedError

    comfy = SimpleNamespace(throw_exception_if_processing_interrupted=interrupt)
    bar = SimpleNamespace(ProgressBar=lambda total: SimpleNamespace(update_absolute=shares.append))
    monkeypatch.setitem(sys.modules, "comfy", ModuleType("comfy"))
    monkeypatch.setitem(sys.modules, "comfy.model_management", comfy)
    monkeypatch.setitem(sys.modules, "comfy.utils", bar)
    with pytest.raises(InterruptedError):
        module.NODE_CLASS_MAPPINGS["MEMatte"]().matte(*scene(), "mask", **WIDGETS)
    assert shares == sorted(shares) and 40 < shares[-1] < 100


def test_a_mask_of_another_size_is_told(module: ModuleType) -> None:
    images, _ = scene()
    with pytest.raises(
        ValueError, match=r"the mask is \(1, 64, 64\), but the image is \(2, 48, 64, 3\): give one mask"
    ):
        module.NODE_CLASS_MAPPINGS["MEMatte"]().matte(images, torch.zeros(1, 64, 64), "mask", **WIDGETS)
