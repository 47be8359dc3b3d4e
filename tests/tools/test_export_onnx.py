"""Exported graphs agree with torch, and refuse what they cannot do."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from modeling import Predictor, ViTMatte, zoo
from modeling.checkpoints.weights import load_weights
from modeling.inference.budget import Limits
from tests.modeling.small import small_mematte, small_vitmatte
from tests.modeling.test_closed_form import scene
from tools import export_onnx, matte_onnx
from tools.arguments import SHIPPED
from tools.onnx_graphs.export import GraphMismatch, Plan, build_models, check_models, make_plan, prepared, torch_prior
from tools.onnx_graphs.runner import OnnxMatte, padded_size
from tools.reference.golden.files import load_golden
from tools.reference.golden.vit_family import build

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"


def serialised(model: ViTMatte, size: tuple[int, int] | None = None, half: bool = False, graphs=("joint", "split")):
    plan = make_plan(model, "net", size, half, {})
    predictor = prepared(model, half)
    models = build_models(predictor, plan, graphs)
    return predictor, plan, {name: value.SerializeToString() for name, value in models.items()}


@pytest.mark.parametrize("half", [False, True])
def test_a_routed_network_agrees_at_any_size_and_cap(half: bool) -> None:
    predictor, plan, models = serialised(small_mematte(), half=half)
    assert set(models) == {"net.onnx", "net_backbone.onnx", "net_decoder.onnx"}
    assert check_models(predictor, plan, models) < 1e-5


def test_vitmatte_agrees_at_its_size() -> None:
    predictor, plan, models = serialised(small_vitmatte(), size=(96, 160))
    assert check_models(predictor, plan, models) < 1e-5


@pytest.fixture(scope="module")
def with_prior() -> tuple[Predictor, Plan, dict[str, bytes]]:
    return serialised(small_mematte(prior=True))


def test_a_network_with_a_prior_agrees_and_so_does_its_prior(
    with_prior: tuple[Predictor, Plan, dict[str, bytes]],
) -> None:
    predictor, plan, models = with_prior
    assert set(models) == {"net.onnx", "net_backbone.onnx", "net_decoder.onnx", "net_prior.onnx"}
    assert check_models(predictor, plan, models) < 1e-5
    known = {item.key: item.value for item in onnx.load_from_string(models["net.onnx"]).metadata_props}
    assert "NAME_prior.onnx" in known["prior"] and known["prior_px"] == "640000"


def test_the_runner_computes_the_prior(with_prior: tuple[Predictor, Plan, dict[str, bytes]]) -> None:
    predictor, _, models = with_prior
    image, trimap, _ = scene(71, 93)
    image = (255 * image[0].permute(1, 2, 0)).round().to(torch.uint8).numpy()
    trimap = (255 * trimap[0, 0]).round().to(torch.uint8).numpy()
    predictor.limits = Limits(max_tokens=10)
    files = models["net_backbone.onnx"], models["net_decoder.onnx"]
    alpha = OnnxMatte(*files, threads=1, prior=models["net_prior.onnx"]).predict(image, trimap, 10)
    assert np.abs(alpha - predictor.run(image, trimap).alpha).max() < 5e-3  # a level of the prior is 4e-3
    with pytest.raises(ValueError, match=r"give NAME_prior\.onnx as well"):
        OnnxMatte(*files).predict(image, trimap)
    with pytest.raises(ValueError, match=r"prior must be \(71, 93\) uint8"):
        OnnxMatte(*files).predict(image, trimap, prior=trimap[1:])
    with pytest.raises(ValueError, match=r"is no NAME_prior\.onnx"):
        OnnxMatte(*files, prior=files[1])


def test_vitmatte_with_a_prior_agrees_at_its_size() -> None:
    predictor, plan, models = serialised(small_vitmatte(prior=True), size=(64, 96), graphs=["split"])
    assert check_models(predictor, plan, models) < 1e-5


def test_vitmatte_refuses_other_sizes() -> None:
    _, _, models = serialised(small_vitmatte(), size=(64, 96), graphs=["joint"])
    network = OnnxMatte(models["net.onnx"])
    with pytest.raises(ValueError, match="serves images of 64x96 pixels, the image is padded to 96x96"):
        network.predict(np.zeros((96, 96, 3), np.uint8), np.full((96, 96), 128, np.uint8))


def test_a_wrong_graph_is_not_accepted() -> None:
    predictor, plan, models = serialised(small_mematte(), graphs=["joint"])
    wrong = onnx.load_from_string(models["net.onnx"])
    for node in wrong.graph.node:
        for attribute in node.attribute:
            if attribute.name == "coordinate_transformation_mode":
                attribute.s = b"asymmetric"
    with pytest.raises(GraphMismatch, match="differ"):
        check_models(predictor, plan, {"net.onnx": wrong.SerializeToString()})


def test_tracing_a_routed_network_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"tools/export_onnx\.py"):
        torch.jit.trace(small_mematte().backbone, torch.zeros(1, 4, 64, 64), check_trace=False)


def test_no_tensor_has_tokens_times_tokens_entries() -> None:
    """Values between nodes at twice the side grow fourfold at most."""
    _, _, models = serialised(small_mematte(), graphs=["joint"])
    kinds = [node.op_type for node in onnx.load_from_string(models["net.onnx"]).graph.node]
    assert kinds.count("Softmax") == 0  # all attention is inside Scan, per chunk or per row of windows
    assert kinds.count("Scan") == 4


@pytest.mark.parametrize(
    ("kind", "goldens"),
    [
        ("mematte_s", ["mematte_s_128x180_padquirk", "mematte_s_237x310_odd", "mematte_s_256x288_cap60"]),
        ("mematte_b", ["mematte_b_160x192"]),
    ],
)
def test_the_published_networks_reproduce_their_goldens(kind: str, goldens: list[str]) -> None:
    build.cache_clear()  # the model is folded in place below
    _, _, models = serialised(build(kind), graphs=["split"])
    build.cache_clear()
    network = OnnxMatte(models["net_backbone.onnx"], models["net_decoder.onnx"], threads=1)
    for name in goldens:
        arrays = load_golden(name)
        cap = int(arrays["max_number_token"]) if "max_number_token" in arrays else None
        alpha, keep = network.run(arrays["image"], arrays["trimap"], cap, tile_px=128)
        unknown = arrays["trimap"] == 128
        assert np.abs(alpha - arrays["alpha_whole"].reshape(alpha.shape))[unknown].max() < 1e-4
        assert np.array_equal(keep, np.concatenate(list(arrays["router_keep"])).reshape(keep.shape))


def test_the_shipped_network_agrees_on_the_golden_pictures() -> None:
    """Expected alphas by torch."""
    model = zoo.build("MEMatte_T", distill=False)
    load_weights(model, SHIPPED)
    predictor, _, models = serialised(model, graphs=["split"])
    network = OnnxMatte(models["net_backbone.onnx"], models["net_decoder.onnx"], threads=1)
    for golden, cap in (("mematte_s_128x180_padquirk", 20), ("mematte_s_237x310_odd", None)):
        image, trimap = (load_golden(golden)[key] for key in ("image", "trimap"))
        predictor.limits = Limits(max_tokens=cap)
        expected = predictor.run(image, trimap)
        alpha, keep = network.run(image, trimap, cap, tile_px=128, prior=torch_prior(image, trimap))
        assert np.abs(alpha - expected.alpha).max() < 1e-4
        assert np.array_equal(keep, expected.keep)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    arguments = ["--output-dir", str(folder), "--name", "T", "--weights", "fp16", "--external-weights"]
    assert export_onnx.main(arguments) == 0
    return folder


def test_files_say_what_they_are(exported: Path) -> None:
    model = onnx.load(exported / "T_backbone.onnx")
    known = {item.key: item.value for item in model.metadata_props}
    assert known["model"] == "MEMatte_T" and known["size"] == "any" and "128/255" in known["trimap"]
    assert len(known["source_sha256"]) == 64
    assert [item.name for item in model.graph.input] == ["image", "prior", "max_tokens"]
    assert [item.name for item in model.graph.output] == ["features", "keep"]
    assert (
        (exported / "T_backbone.onnx").stat().st_size < 1_000_000 < (exported / "T_backbone.onnx.data").stat().st_size
    )


def test_the_runner_mattes_a_sample_without_torch(exported: Path, tmp_path: Path) -> None:
    files = SAMPLES / "original" / "plum_tree.jpg", SAMPLES / "trimap" / "plum_tree.png"
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from tools.matte_onnx import main\n"
        f"sys.exit(main({[str(exported / 'T_backbone.onnx'), *map(str, files), str(tmp_path / 'alpha.png')]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    alpha = cv2.imread(str(tmp_path / "alpha.png"), cv2.IMREAD_UNCHANGED)
    truth = cv2.imread(str(SAMPLES / "mask" / "plum_tree.png"), cv2.IMREAD_UNCHANGED)
    assert alpha.shape == truth.shape and np.abs(alpha.astype(int) - truth).mean() < 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "ViTMatte_T", "--size", "64"], "does not fit"),
        (["--model", "MEMatte_T", "--size", "64"], "leave --size out"),
        (["--model", "CheapMatting"], "cannot be exported"),
        (["--graphs", "triple"], "triple is unknown"),
        (["--checkpoint", "missing.safetensors"], "missing.safetensors: no such file"),
        (["--checkpoint", str(ROOT / "weights")], "weights: no such file"),
        (["--name", "../net"], "give a short file name"),
        (["--name", "n" * 300], "give a short file name"),
        (["--name", ""], "give a short file name"),
        (["--checkpoint", str(ROOT / "weights" / "ViTMatte_T.safetensors")], "give --size"),
    ],
)
def test_bad_arguments_end_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert export_onnx.main(["--output-dir", str(tmp_path / "out"), *arguments]) == 2
    assert message in caplog.text and len(caplog.records) == 1
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_output_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "out").write_text("")
    assert export_onnx.main(["--output-dir", str(tmp_path / "out")]) == 2
    assert "is no folder" in caplog.text


def test_the_runner_names_bad_files(exported: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image, trimap = (str(SAMPLES / kind) for kind in ("original/fur.jpg", "trimap/plum_tree.png"))
    output = str(tmp_path / "alpha.png")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    cut = tmp_path / "cut.onnx"  # its weights lie beside it no longer
    cut.write_bytes((exported / "T.onnx").read_bytes())
    cases = {
        str(cut): "cannot load it",
        str(exported / "T_backbone.onnx"): "trimap must be",
        str(tmp_path / "none.onnx"): "no such file",
        str(broken): "cannot load it",
        str(exported / "T_decoder.onnx"): "give NAME_backbone.onnx",
    }
    for model, message in cases.items():
        caplog.clear()
        assert matte_onnx.main([model, image, trimap, output]) == 2
        assert message in caplog.text and "\n" not in caplog.records[-1].getMessage()
    assert not Path(output).exists()


@pytest.mark.parametrize(("size", "padded"), [((64, 96), (64, 96)), ((64, 97), (96, 128)), ((1, 1), (32, 32))])
def test_padding_is_the_published_rule(size: tuple[int, int], padded: tuple[int, int]) -> None:
    assert padded_size(*size, 32) == padded
