import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch

from modeling import AEMatter, CheapMatting, MattingOutput, Predictor
from modeling.base import MattingNetwork
from modeling.inference.budget import Limits
from modeling.inference.executors import matte
from modeling.precision import choose_device, choose_dtype
from tests.modeling.small import small_mematte, small_vitmatte
from tests.modeling.test_diffmatte import small as small_diffmatte
from tools.reference.golden import onehot_family as goldens
from tools.reference.golden.files import load_golden


def pair(height: int, width: int, levels: tuple[int, ...] = (0, 128, 255)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(height * 1000 + width)
    cells = rng.choice(levels, (height // 8 + 1, width // 8 + 1)).astype(np.uint8)
    trimap = np.kron(cells, np.ones((8, 8), np.uint8))[:height, :width]
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), trimap


@pytest.mark.parametrize("size", [(1, 1), (15, 33), (64, 64), (90, 513), (200, 131)])
@pytest.mark.parametrize("build", [small_mematte, small_vitmatte])
def test_equals_the_whole_image_pass_and_keeps_known_regions(build, size: tuple[int, int]) -> None:
    model = build()
    image, trimap = pair(*size)
    alpha = Predictor(copy.deepcopy(model), device="cpu").predict(image, trimap)
    assert alpha.shape == size
    assert alpha.dtype == np.float32
    assert (alpha[trimap == 0] == 0).all()
    assert (alpha[trimap == 255] == 1).all()
    with torch.no_grad():
        inputs = torch.from_numpy(image).permute(2, 0, 1)[None] / 255, torch.from_numpy(trimap)[None, None] / 255
        whole = model(*inputs).alpha[0, 0].numpy()
    unknown = trimap == 128
    np.testing.assert_allclose(alpha[unknown], whole[unknown], atol=1e-6)


def test_nothing_unknown_gives_the_trimap() -> None:
    image, trimap = pair(70, 50, levels=(0, 255))
    assert np.array_equal(Predictor(small_mematte(), device="cpu").predict(image, trimap), trimap / np.float32(255))


def test_routing_maps_cover_the_padded_grid_and_obey_the_cap() -> None:
    image, trimap = pair(90, 100)
    keep = Predictor(small_mematte(), device="cpu", max_tokens=9).run(image, trimap).keep
    assert [maps.shape for maps in keep] == [(6, 8)] * 2
    assert max(maps.sum() for maps in keep) <= 9


def test_bf16_is_close_to_fp32() -> None:
    image, trimap = pair(96, 128)
    full = Predictor(small_vitmatte(), device="cpu").predict(image, trimap)
    half = Predictor(small_vitmatte(), device="cpu", dtype="bf16").predict(image, trimap)
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 0.02


def test_inputs_are_not_changed_and_may_be_strided() -> None:
    image, trimap = pair(64, 64)
    before = image.copy(), trimap.copy()
    predictor = Predictor(small_mematte(), device="cpu")
    alpha = predictor.predict(image, trimap)
    assert np.array_equal(image, before[0])
    assert np.array_equal(trimap, before[1])
    flipped = np.ascontiguousarray(image[::-1])[::-1], np.ascontiguousarray(trimap[::-1])[::-1]
    assert np.array_equal(predictor.predict(*flipped), alpha)


@pytest.mark.parametrize(
    ("image", "trimap", "message"),
    [
        (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), r"trimap is \(5, 4\) but image is \(4, 5\)"),
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8), r"image must be \(H, W, 3\) uint8 RGB"),
        (np.zeros((4, 5, 3)), np.zeros((4, 5), np.uint8), "float64; convert it first"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5, 1), np.uint8), r"trimap must be \(H, W\) uint8"),
        (np.zeros((0, 5, 3), np.uint8), np.zeros((0, 5), np.uint8), "image is empty"),
        (np.zeros((4, 5, 3), np.uint8), np.full((4, 5), 127, np.uint8), r"values \[127\].*snap it first"),
    ],
)
def test_refuses_wrong_inputs(image: np.ndarray, trimap: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Predictor(small_mematte(), device="cpu").predict(image, trimap)


def test_refuses_devices_and_precisions_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        choose_device("gpu")
    with pytest.raises(ValueError, match="is not there: found"):
        choose_device(f"cuda:{torch.cuda.device_count()}")
    with pytest.raises(ValueError, match="not supported"):
        choose_device("meta")
    with pytest.raises(ValueError, match="fp16 is not computed on a CPU"):
        choose_dtype("fp16", torch.device("cpu"))
    with pytest.raises(ValueError, match="unknown dtype 'int8'"):
        choose_dtype("int8", torch.device("cpu"))
    with pytest.raises(ValueError, match="max_tokens must be at least 0, got -1"):
        Predictor(small_mematte(), device="cpu", max_tokens=-1)


@pytest.mark.cuda
def test_cuda_equals_cpu() -> None:
    image, trimap = pair(200, 131)
    on_cpu = Predictor(small_mematte(), device="cpu").predict(image, trimap)
    np.testing.assert_allclose(Predictor(small_mematte(), device="cuda").predict(image, trimap), on_cpu, atol=1e-4)


def test_out_of_memory_is_retried_with_half_the_working_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = Predictor(small_mematte(), device="cpu")
    image, trimap = pair(64, 64)
    expected = predictor.predict(image, trimap)
    tried = []

    def scarce(
        network: MattingNetwork, image: torch.Tensor, trimap: torch.Tensor, limits: Limits, name: str
    ) -> MattingOutput:
        tried.append(limits)
        if len(tried) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return matte(network, image, trimap, limits, name)

    monkeypatch.setattr("modeling.inference.predictor.matte", scarce)
    np.testing.assert_allclose(predictor.predict(image, trimap), expected, atol=1e-6)
    assert [limits.chunk_tokens for limits in tried] == [4096, 2048, 1024]
    assert caplog.text.count("out of memory; trying again with") == 2


def test_out_of_memory_is_retried_three_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, tried = Predictor(small_mematte(), device="cpu"), []

    def exhausted(
        network: MattingNetwork, image: torch.Tensor, trimap: torch.Tensor, limits: Limits, name: str
    ) -> MattingOutput:
        tried.append(limits)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("modeling.inference.predictor.matte", exhausted)
    with pytest.raises(MemoryError, match=r"out of memory even with .* use a smaller image or --max-tokens"):
        predictor.predict(*pair(64, 64))
    assert len(tried) == 4


def test_a_budget_chooses_the_limits_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="modeling")
    predictor = Predictor(small_mematte(), device="cpu", max_memory="64GB")
    assert predictor.choose_limits(3000, 4000) == Limits()
    assert "4000 x 3000 pixels: at most 18500 tokens" in caplog.text
    assert "expecting a peak of" in caplog.text
    assert Predictor(small_mematte(), device="cpu", max_memory="auto").choose_limits(100, 100) == Limits()


def test_a_budget_below_what_is_held_is_refused() -> None:
    predictor = Predictor(small_mematte(), device="cpu", max_memory="1MB")
    with pytest.raises(ValueError, match="allow more memory"):
        predictor.predict(*pair(64, 64))
    with pytest.raises(ValueError, match="'much' is not an amount of memory"):
        Predictor(small_mematte(), device="cpu", max_memory="much")


ONE_HOT = {"aematter": goldens.golden_aematter, "cheapmatting": goldens.golden_cheapmatting}


@pytest.fixture(scope="module", params=ONE_HOT)
def one_hot_network(request: pytest.FixtureRequest) -> tuple[AEMatter | CheapMatting, Predictor]:
    """Network of the one-hot family, and a predictor with its weights."""
    build = ONE_HOT[request.param]
    return build(), Predictor(build(), device="cpu")


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 2), (15, 17), (31, 97)])
def test_one_hot_networks_take_all_sizes(
    one_hot_network: tuple[AEMatter | CheapMatting, Predictor], size: tuple[int, int]
) -> None:
    model, predictor = one_hot_network
    image, trimap = pair(*size)
    trimap[0, 0] = 128
    alpha = predictor.predict(image, trimap)
    assert alpha.shape == size
    with torch.no_grad():
        inputs = torch.from_numpy(image).permute(2, 0, 1)[None] / 255, torch.from_numpy(trimap)[None, None] / 255
        whole = model(*inputs).alpha[0, 0].numpy()
    expected = np.where(trimap == 128, whole, trimap / 255)
    np.testing.assert_allclose(alpha, expected, atol=5e-5)


def mean_of_views(predict: Callable[[np.ndarray, np.ndarray], np.ndarray], *inputs: np.ndarray) -> np.ndarray:
    """Written out: turn, mirror, predict, mirror back, turn back, average."""
    alphas = []
    for turns in range(4):
        for mirror in (lambda array: array, np.fliplr):
            alpha = predict(*(mirror(np.rot90(array, turns)) for array in inputs))
            alphas.append(np.rot90(mirror(alpha), -turns))
    return np.mean(alphas, axis=0)


@pytest.mark.parametrize("build", [small_mematte, small_vitmatte, small_diffmatte, goldens.golden_cheapmatting])
def test_tta_is_the_mean_of_eight_predictions(build) -> None:
    inputs = pair(50, 71)
    plain, augmented = Predictor(build(), device="cpu"), Predictor(build(), device="cpu", tta=True)
    alpha = augmented.predict(*inputs)
    assert alpha.dtype == np.float32 and alpha.shape == (50, 71)
    np.testing.assert_allclose(alpha, mean_of_views(plain.predict, *inputs), atol=1e-5)
    assert np.abs(alpha - plain.predict(*inputs)).max() > 1e-3
    assert (alpha[inputs[1] == 0] == 0).all() and (alpha[inputs[1] == 255] == 1).all()


def test_tta_keeps_the_routing_of_the_first_view() -> None:
    inputs = pair(90, 100)
    expected = Predictor(small_mematte(), device="cpu", max_tokens=9).run(*inputs).keep
    found = Predictor(small_mematte(), device="cpu", max_tokens=9, tta=True).run(*inputs).keep
    assert [keep.shape for keep in found] == [(6, 8)] * 2
    assert all(np.array_equal(*maps) for maps in zip(found, expected, strict=True))


def test_tta_reproduces_the_published_levels_but_for_their_two_cuts() -> None:
    """Ours is exact; the published mean truncates twice.

    It cuts each of eight views and then the sum down to whole levels.
    """
    case = load_golden("aematter_a_128x160")
    alpha = Predictor(goldens.golden_aematter(), device="cpu", tta=True).predict(case["image"], case["trimap"])
    lost = 255 * alpha - case["alpha_tta_u8"]
    assert lost.min() > -0.01
    assert lost.max() < 2
    known = case["trimap"] != 128
    assert not lost[known].any()


def test_tta_shrinks_the_pieces_once_for_all_views(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(small_mematte(), device="cpu", tta=True)
    inputs = pair(64, 48)
    expected = predictor.predict(*inputs)
    tried = []

    def scarce(
        network: MattingNetwork, image: torch.Tensor, trimap: torch.Tensor, limits: Limits, name: str
    ) -> MattingOutput:
        tried.append(limits.chunk_tokens)
        if limits.chunk_tokens > 1024:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return matte(network, image, trimap, limits, name)

    monkeypatch.setattr("modeling.inference.predictor.matte", scarce)
    np.testing.assert_allclose(predictor.predict(*inputs), expected, atol=1e-6)
    assert tried == [4096, 2048] + [1024] * 8


def test_tta_budget_holds_for_the_turned_image_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeling.inference.predictor.in_use", lambda _: 0)
    model = small_vitmatte()
    monkeypatch.setattr("modeling.inference.predictor.memory_cost", lambda _, height, width, limits: 10**6 * width)
    assert Predictor(model, device="cpu", max_memory="1GB").choose_limits(3000, 100) == Limits()
    with pytest.raises(ValueError, match=r"needs about 3\.00 GB where 1\.00 GB are left"):
        Predictor(model, device="cpu", max_memory="1GB", tta=True).choose_limits(3000, 100)
