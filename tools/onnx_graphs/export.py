"""ONNX files of MEMatte and ViTMatte, checked against torch before writing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data

from data.files import write_atomic
from modeling import Predictor, ViTMatte
from modeling import prior as torch_side
from modeling.checkpoints.weights import load_state, read_state_dict
from modeling.inference.budget import Limits
from modeling.inputs import IMAGE_MEAN, IMAGE_STD
from modeling.zoo import build, find, identify

from .decoder import write_decoder
from .graph import OPSET, Graph
from .prior import closed_form_prior
from .runner import OnnxMatte
from .sessions import open_session
from .solver import write_solver
from .vit import VitWriter

TOLERANCE = 1e-4  # largest difference of an alpha
PRIOR_TOLERANCE = 0.3  # mean difference of a prior in levels of 255
TRIALS = (((96, 128), 18_500), ((160, 225), 18_500), ((224, 95), 12), ((129, 193), 40), ((64, 64), 0))
MULTIPLE = 32
PRIOR_METADATA = {
    "prior": "input of its own: closed-form alpha in [0, 1], in steps of 1/255, 0 beyond the image, by NAME_prior.onnx",
    "prior_px": str(torch_side.PRIOR_PX),  # larger pictures are reduced before their prior is solved
}
_NAME_BYTES = 200  # names get suffixes, and file systems take 255
_EXTERNAL_BYTES, _EXTERNAL_ALIGNMENT = 1024, 4096  # smallest tensor to move out, and where each may begin


class ExportError(ValueError):
    """A network that cannot be exported."""


class GraphMismatch(ExportError):
    """A graph that does not agree with torch."""


@dataclass(frozen=True)
class Plan:
    """Which files to write.

    Attributes:
        name: stem of the files.
        size: (H, W) in pixels of networks with relative positions in global attention; None: any size.
        half: store matrices and kernels in fp16; computation stays in fp32.
        metadata: what to say about the weights, added to each file.
    """

    name: str
    size: tuple[int, int] | None
    half: bool
    metadata: Mapping[str, str]


def make_plan(
    model: ViTMatte, name: str, size: tuple[int, int] | None, half: bool, metadata: Mapping[str, str]
) -> Plan:
    """Check `model` against `size`, and that `name` is a file name.

    Raises:
        ExportError: they do not.
    """
    if not isinstance(model, ViTMatte):
        raise ExportError(f"{type(model).__name__} cannot be exported; MEMatte and ViTMatte can")
    if model.backbone.routed and size:
        raise ExportError("a routed network is exported for all sizes; leave --size out")
    if not model.backbone.routed and not size:
        raise ExportError(
            "ViTMatte's relative positions depend on the size of the image, so a file serves one size only: "
            "give --size WIDTHxHEIGHT"
        )
    if not name or Path(name).name != name or not name.isprintable() or len(name.encode()) > _NAME_BYTES:
        raise ExportError(f"--name {name[:40]!r}: give a short file name without folders")
    if size and any(side < MULTIPLE or side % MULTIPLE for side in size):
        raise ExportError(f"--size {size[1]}x{size[0]}: both sides must be multiples of {MULTIPLE}")
    return Plan(name, size, half, dict(metadata))


def prepared(model: ViTMatte, half: bool) -> Predictor:
    """Torch network for the comparison: folded batch norms, weights rounded as stored.

    Matrices are rounded where the files store fp16.
    """
    predictor = Predictor(model, device="cpu", max_tokens=None)
    if half:
        for parameter in predictor.model.parameters():
            if parameter.ndim > 1:
                parameter.data = parameter.data.half().float()
    return predictor


def build_models(predictor: Predictor, plan: Plan, graphs: Sequence[str]) -> dict[str, onnx.ModelProto]:
    """Models by file name: joint, split, and the prior's solver.

    The solver serves networks that take the closed-form alpha.
    """
    model = predictor.model
    found = {}
    if "split" in graphs:
        found[f"{plan.name}_backbone.onnx"] = _backbone(model, plan)
        found[f"{plan.name}_decoder.onnx"] = _decoder(model, plan)
    if "joint" in graphs:
        found[f"{plan.name}.onnx"] = _joint(model, plan)
    if model.prior:
        found[f"{plan.name}_prior.onnx"] = build_solver(plan)
    return found


def check_models(predictor: Predictor, plan: Plan, models: Mapping[str, bytes]) -> float:
    """Largest alpha difference of serialised models from torch, on new images.

    Raises:
        GraphMismatch: an alpha differs by more than `TOLERANCE`, a routing decision differs, or a prior by more than
            `PRIOR_TOLERANCE`.
    """
    trials = TRIALS if plan.size is None else tuple((plan.size, None) for _ in range(2))
    for model in models.values():
        onnx.checker.check_model(model)
    networks, solver = _opened(models, plan)
    worst = 0.0
    generator = np.random.default_rng(0)
    for (height, width), cap in trials:
        image, trimap = _picture(generator, height, width)
        predictor.limits = Limits(max_tokens=cap)
        expected = predictor.run(image, trimap)
        prior = torch_prior(image, trimap) if solver else None
        if solver:
            _check_prior(closed_form_prior(solver, image, trimap, torch_side.PRIOR_PX), prior)
        for network in networks:
            alpha, keep = network.run(image, trimap, cap, tile_px=64, prior=prior)
            difference = float(np.abs(alpha - expected.alpha).max())
            if not difference <= TOLERANCE:
                raise GraphMismatch(f"at {height}x{width}, cap {cap}, an alpha differs from torch by {difference:.2g}")
            if expected.keep and not np.array_equal(np.stack(expected.keep), keep):
                raise GraphMismatch(f"at {height}x{width}, cap {cap}, routing decisions differ from torch")
            worst = max(worst, difference)
    return worst


def _opened(models: Mapping[str, bytes], plan: Plan) -> tuple[list[OnnxMatte], onnxruntime.InferenceSession | None]:
    """Sessions of the split files, the joint one and the solver."""
    split = [models.get(f"{plan.name}_{part}.onnx") for part in ("backbone", "decoder")]
    joint, solver = models.get(f"{plan.name}.onnx"), models.get(f"{plan.name}_prior.onnx")
    files = ([split] if all(split) else []) + ([[joint]] if joint else [])
    networks = [OnnxMatte(*parts, threads=1) for parts in files]  # the pictures are small
    return networks, open_session(solver, threads=1) if solver else None


def torch_prior(image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Closed-form alpha (H, W) uint8, from arrays as `OnnxMatte.predict` takes them."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    return torch_side.closed_form_prior(pixels, torch.from_numpy(trimap)[None, None])[0, 0].numpy()


def _check_prior(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare priors (H, W) uint8 by their mean difference.

    Single pixels depend on the order of sums, in torch likewise.
    """
    difference = float(np.abs(found.astype(int) - expected).mean())
    if not difference <= PRIOR_TOLERANCE:
        size = "x".join(map(str, found.shape))
        raise GraphMismatch(f"at {size}, the prior differs from torch by {difference:.2g} levels on average")


def _picture(generator: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random picture and a trimap of blocks."""
    coarse = torch.from_numpy(generator.uniform(0, 255, (1, 3, 9, 9)))
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)[0]
    noisy = image.permute(1, 2, 0).numpy() + generator.normal(0, 8, (height, width, 3))
    blocks = generator.choice(np.array([0, 128, 128, 255], np.uint8), (-(-height // 24), -(-width // 24)))
    trimap = blocks.repeat(24, 0).repeat(24, 1)[:height, :width]
    return noisy.clip(0, 255).astype(np.uint8), np.ascontiguousarray(trimap)


def _value(name: str, shape: Sequence[int | str | None], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _planes(plan: Plan, prior: bool) -> list[onnx.ValueInfoProto]:
    """Inputs of the size of the image."""
    sides = plan.size or ("height", "width")
    return [_value("image", [1, 4, *sides]), *([_value("prior", [1, 1, *sides])] if prior else [])]


def _inputs(plan: Plan, model: ViTMatte) -> list[onnx.ValueInfoProto]:
    cap = [_value("max_tokens", [1], TensorProto.INT64)] if model.backbone.routed else []
    return [*_planes(plan, model.prior), *cap]


def _joined(graph: Graph, model: ViTMatte) -> str:
    """The network's input, (1, 4 or 5, H, W)."""
    return graph.op("Concat", "image", "prior", axis=1) if model.prior else "image"


def _finish(graph: Graph, plan: Plan, part: str, inputs: list, outputs: list, prior: bool) -> onnx.ModelProto:
    model = graph.model(f"{plan.name} {part}", inputs, outputs)
    known = PRIOR_METADATA if prior else {}
    known = {
        **known,
        "part": part,
        "opset": str(OPSET),
        "trimap": "4th channel of image: 0 background, 128/255 unknown, 1 foreground",
        "image_mean": json.dumps(IMAGE_MEAN),
        "image_std": json.dumps(IMAGE_STD),
        "multiple": str(MULTIPLE),
        "size": "any" if plan.size is None else f"{plan.size[0]}x{plan.size[1]}",
        "weights": "fp16" if plan.half else "fp32",
    }
    helper.set_model_props(model, {**plan.metadata, **known})
    return model


def _writer(graph: Graph, model: ViTMatte, plan: Plan) -> VitWriter:
    patch = model.backbone.patch_size
    return VitWriter(graph, model.backbone, plan.size and (plan.size[0] // patch, plan.size[1] // patch))


def _encoded(graph: Graph, model: ViTMatte, plan: Plan, inputs: str) -> tuple[str, list[onnx.ValueInfoProto]]:
    """Encoder features; keep maps of routed networks become an output."""
    routed = model.backbone.routed
    features, keep = _writer(graph, model, plan).write(inputs, "max_tokens" if routed else None)
    if keep is None:
        return features, []
    graph.named(keep, "keep")
    return features, [_value("keep", [len(model.backbone.global_blocks), "rows", "cols"], TensorProto.BOOL)]


def _backbone(model: ViTMatte, plan: Plan) -> onnx.ModelProto:
    graph = Graph(plan.half)
    features, keep = _encoded(graph, model, plan, _joined(graph, model))
    graph.named(features, "features")
    outputs = [_value("features", [1, model.backbone.embed_dim, "rows", "cols"]), *keep]
    return _finish(graph, plan, "backbone", _inputs(plan, model), outputs, model.prior)


def _decoder(model: ViTMatte, plan: Plan) -> onnx.ModelProto:
    graph = Graph(plan.half)
    graph.named(write_decoder(graph, model.decoder, "features", _joined(graph, model)), "alpha")
    tiles = replace(plan, size=None)
    inputs = [_value("features", [1, model.backbone.embed_dim, "rows", "cols"]), *_planes(tiles, model.prior)]
    return _finish(graph, plan, "decoder", inputs, [_value("alpha", [1, 1, "height", "width"])], model.prior)


def _joint(model: ViTMatte, plan: Plan) -> onnx.ModelProto:
    graph = Graph(plan.half)
    inputs = _joined(graph, model)
    features, keep = _encoded(graph, model, plan, inputs)
    graph.named(write_decoder(graph, model.decoder, features, inputs), "alpha")
    outputs = [_value("alpha", [1, 1, *(plan.size or ("height", "width"))]), *keep]
    return _finish(graph, plan, "joint", _inputs(plan, model), outputs, model.prior)


def build_solver(plan: Plan) -> onnx.ModelProto:
    """The solver, for pictures of any size."""
    graph = Graph()
    graph.named(write_solver(graph, "image", "trimap"), "prior")
    sides = "height", "width"
    inputs = [_value("image", [1, 3, *sides]), _value("trimap", [1, 1, *sides])]
    model = graph.model(f"{plan.name} prior", inputs, [_value("prior", [1, 1, *sides])])
    known = {
        "part": "prior",
        "opset": str(OPSET),
        "image": "RGB in [0, 1], not padded, neither side over a million pixels",
        "trimap": "0 background, 128/255 unknown, 1 foreground",
    }
    helper.set_model_props(model, {**plan.metadata, **known})
    return model


def export(
    checkpoint: Path,
    model_name: str | None,
    folder: Path,
    name: str,
    *,
    graphs: Sequence[str],
    size: tuple[int, int] | None,
    half: bool,
    external: bool,
    metadata: Mapping[str, str],
) -> tuple[dict[Path, int], float]:
    """Build, check and write the files of one checkpoint.

    Args:
        checkpoint: weights.
        model_name: row of the table of models; None: found from the tensors.
        folder: for the files; created if necessary.
        name: stem of the files.
        graphs: "joint", "split" or both.
        size: (H, W) of networks that serve one size.
        half: store matrices in fp16.
        external: store weights beside each file.
        metadata: added to each file.

    Returns:
        Bytes per written file, and the largest difference of an alpha from torch.
    """
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"--output-dir {folder}: is no folder")
    state = read_state_dict(checkpoint)
    model_name = find(model_name) if model_name else identify(state)
    if model_name is None:
        raise ExportError(f"{checkpoint}: no model has exactly these tensors; name one with --model")
    model = build(model_name)
    plan = make_plan(model, name, size, half, {"model": model_name, **metadata})
    load_state(model, state, checkpoint)
    predictor = prepared(model, half)
    models = build_models(predictor, plan, graphs)
    serialised = {file: model.SerializeToString() for file, model in models.items()}
    worst = check_models(predictor, plan, serialised)
    folder.mkdir(parents=True, exist_ok=True)
    if external:
        return {folder / file: _write_external(folder / file, model) for file, model in models.items()}, worst
    for file, content in serialised.items():
        write_atomic(folder / file, content)
    return {folder / file: len(content) for file, content in serialised.items()}, worst


def _write_external(path: Path, model: onnx.ModelProto) -> int:
    """Write a file and its separate weights; returns their bytes."""
    data = path.with_name(f"{path.name}.data")
    content = bytearray()
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= _EXTERNAL_BYTES:
            content += bytes(-len(content) % _EXTERNAL_ALIGNMENT)
            length = len(tensor.raw_data)
            set_external_data(tensor, data.name, offset=len(content), length=length)
            content += tensor.raw_data
            tensor.ClearField("raw_data")
    write_atomic(data, bytes(content))
    serialised = model.SerializeToString()
    write_atomic(path, serialised)
    return len(content) + len(serialised)
