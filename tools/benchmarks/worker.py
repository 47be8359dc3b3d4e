"""One measurement in its own process: build, load, calibrate, run, report."""

import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from data.trimap import is_unknown
from engine.build import build_model
from modeling import Predictor, ViTMatte
from modeling.backbone.routing import Router
from modeling.checkpoints.huggingface_vitmatte import our_name
from modeling.inference import vit
from modeling.inference.budget import Limits
from modeling.inference.memory import in_use, use_huge_pages
from modeling.inference.vit import token_scores
from tools.benchmarks.parts import rates
from tools.benchmarks.scene import make_scene
from tools.reference import published
from tools.reference.weights import fill_

CONFIGS = {
    ("mematte", "S"): "MEMatte_S_topk0.25_win_global_long.py",
    ("mematte", "B"): "MEMatte_B_topk0.25_win_global_long.py",
    ("vitmatte", "S"): "ViTMatte_S_100ep.py",
    ("vitmatte", "B"): "ViTMatte_B_100ep.py",
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Point:
    """One measurement: the network, and its input."""

    who: str
    variant: str
    height: int
    width: int
    unknown: str
    dtype: str
    device: str
    max_tokens: int
    threads: int
    memory_limit: int
    max_memory: str | None = None
    router_shifts: tuple[float, ...] = ()
    alpha_file: str = ""
    count_flops: bool = False

    @property
    def network(self) -> str:
        """The network of this project that has the same weights."""
        return "mematte" if self.who.startswith("mematte") else "vitmatte"


def load(point: Point) -> ViTMatte:
    """The network with the deterministic weights, its routers shifted as calibrated."""
    model = build_model(ROOT / "configs" / CONFIGS[point.network, point.variant])
    fill_(model.state_dict())
    for router, shift in zip(
        model.backbone.routers if model.backbone.routed else (), point.router_shifts, strict=False
    ):
        router.out_conv[-1].bias.data[0] += shift
    return model.eval().requires_grad_(False)


class Calibrated(nn.Module):
    """Router with a shifted last bias that keeps a given token share."""

    def __init__(self, router: Router, share: float) -> None:
        super().__init__()
        self.router, self.share, self.shift = router, share, 0.0


@token_scores.register
def _(calibrated: Calibrated, tokens: Tensor, chunk_tokens: int) -> Tensor:
    logp = token_scores(calibrated.router, tokens, chunk_tokens)
    calibrated.shift = -float((logp[..., 0] - logp[..., 1]).quantile(1 - calibrated.share))
    return (logp + logp.new_tensor([calibrated.shift, 0])).log_softmax(dim=-1)  # the next blocks depend on it


@torch.inference_mode()
def calibrate(point: Point, share: float) -> list[float]:
    """Shifts of the routers' last biases for keeping `share` of the tokens."""
    torch.set_num_threads(point.threads)
    model = load(replace(point, router_shifts=())).to(point.device)
    model.backbone.routers = nn.ModuleList(Calibrated(router, share) for router in model.backbone.routers)
    vit.encode(model.backbone, *tensors(point), Limits(max_tokens=point.max_tokens))
    return [router.shift for router in model.backbone.routers]


def tensors(point: Point) -> tuple[Tensor, Tensor]:
    """(1, 3, H, W) and (1, 1, H, W) uint8 on the device."""
    image, trimap = make_scene(point.height, point.width, point.unknown)
    image = torch.from_numpy(image).to(point.device).permute(2, 0, 1)[None]
    return image, torch.from_numpy(trimap).to(point.device)[None, None]


def is_ours(point: Point) -> bool:
    """True if the network is one of this project."""
    return point.who == point.network


def runner(point: Point) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, list[int]]]:
    """Function from image and trimap to alpha and kept tokens per block."""
    if point.who == "mematte-onnx":
        return onnx_runner(point)
    model, dtype = load(point).to(point.device), DTYPES[point.dtype]
    if is_ours(point):
        predictor = Predictor(
            model, device=point.device, dtype=point.dtype, max_tokens=point.max_tokens, max_memory=point.max_memory
        )

        def ours(image: np.ndarray, trimap: np.ndarray) -> tuple[np.ndarray, list[int]]:
            matte = predictor.run(image, trimap)
            return matte.alpha, [int(keep.sum()) for keep in matte.keep]

        return ours
    theirs = transformers_model(model).to(point.device) if point.who == "transformers" else None

    @torch.inference_mode()
    def other(image: np.ndarray, trimap: np.ndarray) -> tuple[np.ndarray, list[int]]:
        image = torch.from_numpy(image).to(point.device).permute(2, 0, 1)[None]
        trimap = torch.from_numpy(trimap).to(point.device)[None, None]
        with torch.autocast(torch.device(point.device).type, dtype, enabled=dtype != torch.float32):
            if theirs is None:
                return published.matte(model, image, trimap, point.max_tokens).float().cpu().numpy(), []
            alpha = theirs(pixel_values=model.padded_input(image, trimap)).alphas[0, 0].float()
        alpha = alpha[: image.shape[-2], : image.shape[-1]]
        alpha[trimap[0, 0] == 0] = 0
        alpha[trimap[0, 0] == 255] = 1
        return alpha.cpu().numpy(), []

    return other


def onnx_runner(point: Point) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, list[int]]]:
    """The exported backbone and decoder in onnxruntime."""
    from tools.onnx_graphs.export import build_models, make_plan, prepared  # onnx is an optional requirement
    from tools.onnx_graphs.runner import OnnxMatte

    plan = make_plan(model := load(point), "net", None, False, {})
    models = build_models(prepared(model, half=False), plan, ["split"])
    network = OnnxMatte(*(model.SerializeToString() for model in models.values()), threads=point.threads)

    def run(image: np.ndarray, trimap: np.ndarray) -> tuple[np.ndarray, list[int]]:
        alpha, keep = network.run(image, trimap, point.max_tokens)
        return alpha, keep.sum((1, 2)).tolist()

    return run


def transformers_model(ours: ViTMatte) -> nn.Module:
    """Hugging Face's network with the size and weights of ours."""
    from tools.reference.transformers_vitmatte import build_transformers  # imports slowly

    model, state = build_transformers(ours.backbone.embed_dim), ours.state_dict()
    model.load_state_dict({name: state[our_name(name)] for name in model.state_dict()})
    return model.requires_grad_(False)


def matrix_rate(point: Point) -> float:
    """GFLOP/s of a large matrix product: the machine's limit.

    In the same precision.
    """
    size = 8192 if point.device.startswith("cuda") else 2048
    a = torch.randn(size, size, device=point.device, dtype=DTYPES[point.dtype])
    best = min(_timed(lambda: a @ a, point.device)[0] for _ in range(5))
    return 2 * size**3 / best / 1e9


def measure(point: Point) -> dict:
    """Seconds, peak memory, kept tokens and, on request, GFLOP of one run."""
    torch.set_num_threads(point.threads)
    if is_ours(point):
        use_huge_pages()
    if point.memory_limit:
        resource.setrlimit(resource.RLIMIT_DATA, (point.memory_limit, point.memory_limit))
    rate = matrix_rate(point)
    run = runner(point)
    small = make_scene(64, 64, "band")
    run(*small)
    image, trimap = make_scene(point.height, point.width, point.unknown)
    held = in_use(torch.device(point.device))
    _reset_peak(point.device)
    spent = time.process_time()
    seconds, (alpha, kept) = _timed(lambda: run(image, trimap), point.device)
    spent = time.process_time() - spent  # of all threads: on a machine that others use too, it varies less
    peak = _peak(point.device)
    result = {"seconds": seconds, "peak": peak - held, "process_peak": peak, "kept": kept, "matrix_gflops": rate}
    result["cpu_seconds"] = spent
    result["unknown_share"] = float(is_unknown(trimap).mean())
    if point.alpha_file:
        np.save(point.alpha_file, alpha)
    if point.count_flops:
        with FlopCounterMode(display=False) as counter:
            run(image, trimap)
        result["gflop"] = counter.get_total_flops() / 1e9
        result["parts"] = rates(lambda: run(image, trimap), point.device)
    return result


def _timed(function: Callable, device: str) -> tuple[float, object]:
    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    wait()
    start = time.perf_counter()
    value = function()
    wait()
    return time.perf_counter() - start, value


def _reset_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark starts again from here


def _peak(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def main(request: str) -> None:
    """Answer a request {"point": {...}, "calibrate": share or null} with one JSON line."""
    asked = json.loads(request)
    point = Point(**{**asked["point"], "router_shifts": tuple(asked["point"]["router_shifts"])})
    try:
        answer = {"shifts": calibrate(point, asked["calibrate"])} if asked["calibrate"] else measure(point)
    except (MemoryError, RuntimeError) as error:  # torch's allocators raise RuntimeError
        answer = {"error": str(error).splitlines()[0][:200]}
    print(json.dumps({**answer, "point": asdict(point)}))
