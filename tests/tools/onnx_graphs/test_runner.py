"""Hostile inputs and damaged files end in one clear sentence."""

import numpy as np
import onnx
import pytest

from tests.modeling.small import WIDTH, small_mematte
from tools.onnx_graphs.export import build_models, make_plan, prepared
from tools.onnx_graphs.runner import OnnxMatte

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def files() -> Files:
    """Serialised backbone and decoder."""
    model = small_mematte()
    models = build_models(prepared(model, half=False), make_plan(model, "net", None, False, {}), ["split"])
    return {name.removeprefix("net_").removesuffix(".onnx"): file.SerializeToString() for name, file in models.items()}


def picture(height: int, width: int, level: int = 128) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (height, width, 3), np.uint8), np.full((height, width), level, np.uint8)


def with_metadata(file: bytes, **changed: str | None) -> bytes:
    """The same model with other metadata; None removes an entry."""
    model = onnx.load_from_string(file)
    known = {item.key: item.value for item in model.metadata_props} | changed
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: value for key, value in known.items() if value is not None})
    return model.SerializeToString()


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (33, 1)])
def test_any_size(files: Files, size: tuple[int, int]) -> None:
    network = OnnxMatte(**files, threads=1)
    alpha = network.predict(*picture(*size))
    assert alpha.shape == size and ((alpha >= 0) & (alpha <= 1)).all()
    huge = network.predict(*picture(*size), max_tokens=10**30)
    assert np.array_equal(huge, network.predict(*picture(*size), max_tokens=None))


@pytest.mark.parametrize("level", [0, 255])
def test_trimaps_without_unknown_pixels_come_back(files: Files, level: int) -> None:
    assert (OnnxMatte(**files, threads=1).predict(*picture(40, 50, level)) == level / 255).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image_mean": "oops"}, "metadata are damaged"),
        ({"image_std": "[1]"}, "metadata are damaged"),
        ({"multiple": None}, "metadata are damaged"),
        ({"multiple": "7"}, "metadata are damaged"),
        ({"size": "axb"}, "metadata are damaged"),
        ({"size": "32x32x32"}, "metadata are damaged"),
        ({"image_mean": None}, "give NAME_backbone"),
        ({"part": "joint"}, "give NAME_backbone"),
    ],
)
def test_damaged_metadata(files: Files, changed: dict[str, str | None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxMatte(with_metadata(files["backbone"], **changed), files["decoder"])


def test_files_that_do_not_belong_together(files: Files) -> None:
    foreign = onnx.load_from_string(files["decoder"])
    foreign.graph.input[0].type.tensor_type.shape.dim[1].dim_value = WIDTH + 1
    for decoder in (files["backbone"], foreign.SerializeToString()):
        with pytest.raises(ValueError, match=r"of different networks|cannot load it"):
            OnnxMatte(files["backbone"], decoder)


@pytest.mark.parametrize("damage", ["opset", "format", "cut", "empty"])
def test_files_that_onnxruntime_does_not_take(files: Files, damage: str) -> None:
    model = onnx.load_from_string(files["backbone"])
    if damage == "opset":
        model.opset_import[0].version = 99
    if damage == "format":
        model.ir_version = 99
    file = {"cut": files["backbone"][:1000], "empty": b""}.get(damage, model.SerializeToString())
    with pytest.raises(ValueError, match=r"the model: onnxruntime .* cannot load it \([A-Z][^\n]*\)$"):
        OnnxMatte(file, files["decoder"])


def test_a_file_with_other_inputs_and_one_with_damaged_weights(files: Files) -> None:
    model = onnx.load_from_string(files["decoder"])
    weights = model.graph.initializer[0]
    weights.raw_data = np.full(len(weights.raw_data) // 4, np.nan, np.float32).tobytes()
    with pytest.raises(ValueError, match="not finite"):
        OnnxMatte(files["backbone"], model.SerializeToString(), threads=1).predict(*picture(40, 50))
    network = OnnxMatte(**files, threads=1)
    network.routed = False  # as if the file had no such input
    with pytest.raises(ValueError, match=r"cannot run the backbone of the network \([^\n]*max_tokens"):
        network.predict(*picture(40, 50))


def test_arguments_out_of_range(files: Files) -> None:
    for threads in (0, -1, 10**6):
        with pytest.raises(ValueError, match="threads must be 1 to 1024"):
            OnnxMatte(**files, threads=threads)
    network = OnnxMatte(**files, threads=1)
    image, trimap = picture(40, 50)
    with pytest.raises(ValueError, match="max_tokens must be at least 0"):
        network.predict(image, trimap, -1)
    with pytest.raises(ValueError, match="is empty"):
        network.predict(image[:0], trimap[:0])
    with pytest.raises(ValueError, match="trimap must be"):
        network.predict(image, trimap[1:])
    with pytest.raises(ValueError, match=r"0 \(background\), 128"):
        network.predict(image, trimap + 1)
