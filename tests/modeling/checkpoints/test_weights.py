import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modeling import ViTMatte
from modeling.checkpoints.weights import CheckpointError, load_weights, read_state_dict
from tests.modeling.small import small_mematte, small_vit, small_vitmatte
from tools.reference.golden.vit_family import build


def fresh(model: ViTMatte) -> ViTMatte:
    """The model with other weights, so that loading shows."""
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    return model


def with_teacher() -> dict[str, torch.Tensor]:
    model = small_mematte()
    model.attach_teacher(small_vit(routed=False))
    return model.state_dict()


def prefixed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"module.{name}": value for name, value in state.items()}


LAYOUTS = {
    "bare": lambda: small_mematte().state_dict(),
    "under model": lambda: {"model": small_mematte().state_dict(), "iteration": 3, "optimizer": {"state": {}}},
    "with teacher": lambda: {"model": with_teacher()},
    "with module prefix": lambda: {"model": prefixed(with_teacher())},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts_load(layout: str, tmp_path: Path) -> None:
    torch.save(LAYOUTS[layout](), tmp_path / "model.pth")
    model = fresh(small_mematte())
    load_weights(model, tmp_path / "model.pth")
    for name, value in small_mematte().state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_safetensors_load_in_half_precision(tmp_path: Path) -> None:
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in small_mematte().state_dict().items()
    }
    save_file(state, tmp_path / "model.safetensors")
    model = fresh(small_mematte())
    load_weights(model, tmp_path / "model.safetensors")
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value.half() if value.is_floating_point() else value, state[name]), name


def test_a_teacher_is_loaded_where_the_model_has_one(tmp_path: Path) -> None:
    torch.save(with_teacher(), tmp_path / "model.pth")
    model = small_mematte()
    model.attach_teacher(small_vit(routed=False))
    fresh(model)
    load_weights(model, tmp_path / "model.pth")
    assert torch.equal(model.teacher_backbone.pos_embed, small_vit(False).pos_embed)


def test_missing_unexpected_and_misshapen_names_are_listed(tmp_path: Path) -> None:
    state = small_mematte().state_dict()
    del state["backbone.pos_embed"]
    state["extra.weight"] = torch.zeros(1)
    state["decoder.matting_head.matting_convs.3.bias"] = torch.zeros(2)
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(CheckpointError) as error:
        load_weights(small_mematte(), tmp_path / "model.pth")
    for text in (
        "does not fit MEMatte (wrong config?)",
        "1 missing: backbone.pos_embed",
        "1 unexpected: extra.weight",
        "1 misshapen: decoder.matting_head.matting_convs.3.bias (2,) instead of (1,)",
    ):
        assert text in str(error.value)


def test_a_wrong_network_is_told_briefly(tmp_path: Path) -> None:
    torch.save(small_vitmatte().state_dict(), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"\d+ missing: .*, \.\.\. and \d+ more; 4 unexpected"):
        load_weights(small_mematte(), tmp_path / "model.pth")


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused(zipped: bool, tmp_path: Path) -> None:
    target, path = tmp_path / "ran", tmp_path / "model.pth"
    content = {"model": small_mematte().state_dict(), "extra": Malicious(target)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="refused, since it is damaged or asks to run code"):
        load_weights(small_mematte(), path)
    assert not target.exists()


def damaged(kind: str, path: Path) -> None:
    torch.save(small_mematte().state_dict(), path)
    content = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("404: Not Found")
    elif kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "no tensors":
        torch.save({"model": {"a": 1}}, path)
    elif kind == "plain pickle":
        path.write_bytes(pickle.dumps([1, 2]))
    elif kind == "other archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "hello")


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "no tensors", "plain pickle", "other archive"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_told_by_name(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    damaged(kind, path)
    with pytest.raises(CheckpointError, match=rf"model\{suffix}: "):
        read_state_dict(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        read_state_dict(tmp_path / "nothing.pth")


def test_transformers_weights_load_and_give_the_same_alpha(tmp_path: Path) -> None:
    from tools.reference.transformers_vitmatte import build_transformers  # imports slowly

    theirs = build_transformers(384)
    with torch.no_grad():
        for parameter in theirs.parameters():  # some start at zero
            parameter.add_(0.02 * torch.randn_like(parameter))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours = build("vitmatte_s")
    load_weights(ours, tmp_path / "model.safetensors")
    build.cache_clear()  # its weights are no longer the deterministic ones
    image, trimap = torch.rand(1, 3, 96, 160), torch.full((1, 1, 96, 160), 128 / 255)
    with torch.no_grad():
        expected = theirs(pixel_values=ours.padded_input(image, trimap)).alphas
        torch.testing.assert_close(ours(image, trimap).alpha, expected, rtol=0, atol=1e-5)
