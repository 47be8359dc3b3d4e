import time

import cv2
import numpy as np
import pytest
import torch
from pymatting import estimate_foreground_ml

from modeling import foreground
from modeling.foreground import estimate_foreground, to_unit


def noise(height: int, width: int, coarse: int, seed: int, channels: int = 3) -> np.ndarray:
    values = np.random.default_rng(seed).random((coarse, coarse, channels), dtype=np.float32)
    return np.clip(cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1).reshape(height, width, -1)


def scene(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image as uint8, alpha with soft edge and strands, true colours."""
    foreground, background = noise(height, width, 6, seed), noise(height, width, 9, seed + 100)
    shape = cv2.circle(np.zeros((height, width), np.float32), (width // 2, height // 2), min(height, width) // 4, 1, -1)
    for angle in np.linspace(0, 6, 25):
        end = int(width / 2 + width * 0.4 * np.cos(angle)), int(height / 2 + height * 0.4 * np.sin(angle))
        cv2.line(shape, (width // 2, height // 2), end, 0.8, 1, cv2.LINE_AA)
    alpha = np.rint(cv2.GaussianBlur(shape, (0, 0), max(1, width / 150)) * 255).astype(np.float32) / 255
    image = alpha[..., None] * foreground + (1 - alpha[..., None]) * background
    return np.rint(image * 255).astype(np.uint8), alpha, foreground


def solve(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return estimate_foreground(torch.from_numpy(image), torch.from_numpy(alpha)).numpy()


@pytest.mark.parametrize("height, width, seed", [(240, 320, 0), (301, 173, 1), (128, 128, 2), (97, 512, 3)])
def test_as_near_to_the_truth_as_the_published_solver_and_near_to_it(height, width, seed):
    image, alpha, truth = scene(height, width, seed)
    soft = (alpha > 0) & (alpha < 1)
    ours, published = solve(image, alpha), estimate_foreground_ml(image / 255, alpha)
    error, published_error = (np.abs(colours - truth)[soft].mean() for colours in (ours, published))
    assert error <= 1.02 * published_error
    assert np.abs(ours - published)[soft].mean() < 2 / 255
    assert error < 0.8 * np.abs(image / 255 - truth)[soft].mean()


def test_exact_where_alpha_is_one_or_nothing():
    image, alpha, _ = scene(120, 90)
    sure = (alpha == 1) | (alpha == 0)
    assert np.array_equal(np.rint(solve(image, alpha) * 255)[sure], image[sure])


@pytest.mark.parametrize("side, together", [(16, 1), (32, 3), (64, 2), (512, 1)])
@pytest.mark.parametrize("height, width", [(301, 203), (64, 257), (130, 129)])
def test_boxes_leave_no_trace(monkeypatch, height, width, side, together):
    """Colours do not depend on how levels are cut up."""
    image, alpha, _ = scene(height, width)
    alpha[: height // 3] = 0  # a quiet part that boxes can leave out
    whole = solve(image, alpha)
    monkeypatch.setattr(foreground, "_TILE_PX", side)
    monkeypatch.setattr(foreground, "_TILES_IN_BOX", together)
    assert np.abs(solve(image, alpha) - whole).max() < 2e-6


def test_far_from_soft_pixels_nothing_is_computed(monkeypatch):
    image, alpha, _ = scene(1024, 1024)
    alpha[:] = 0
    alpha[500:510, 500:510] = 0.5
    sizes, relaxed = [], foreground._relaxed

    def counted(level, box, coarser):
        sizes.append((box.bottom - box.top) * (box.right - box.left))
        return relaxed(level, box, coarser)

    monkeypatch.setattr(foreground, "_relaxed", counted)
    solve(image, alpha)
    assert 0 < sum(sizes) < 1024**2 / 10


def test_sixteen_bits_are_kept():
    image, alpha, _ = scene(60, 60)
    deep = image.astype(np.uint16) * 257 - np.minimum(image, 1)
    ours = solve(deep, alpha)
    assert np.array_equal(np.rint(ours * 65535)[alpha == 1], deep[alpha == 1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (33, 1), (2, 3), (31, 64), (5, 130), (65, 66)])
def test_small_and_thin_pictures(shape):
    rng = np.random.default_rng(0)
    image, alpha = rng.integers(0, 256, (*shape, 3), dtype=np.uint8), rng.random(shape, dtype=np.float32)
    ours = solve(image, alpha)
    assert ours.shape == image.shape
    assert np.isfinite(ours).all() and ours.min() >= 0 and ours.max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_one_alpha_everywhere(value):
    image, _, _ = scene(40, 50)
    ours = solve(image, np.full((40, 50), value, np.float32))
    assert np.isfinite(ours).all()
    assert value < 1 or np.allclose(ours, image / 255)


def test_the_arguments_stay_as_they_are():
    image, alpha, _ = scene(50, 50)
    tensor, opacity = torch.from_numpy(image).float() / 255, torch.from_numpy(alpha)
    before = tensor.clone(), opacity.clone()
    estimate_foreground(tensor, opacity)
    assert torch.equal(tensor, before[0]) and torch.equal(opacity, before[1])
    assert to_unit(tensor).data_ptr() != tensor.data_ptr()


def test_threads_neither_share_the_work_nor_stay_changed():
    image, alpha, _ = scene(700, 900)
    threads, cpu, wall = torch.get_num_threads(), time.process_time(), time.perf_counter()
    torch.set_num_threads(2)
    try:
        solve(image, alpha)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert time.process_time() - cpu < 1.2 * (time.perf_counter() - wall)


def test_sizes_must_fit():
    with pytest.raises(ValueError, match="must be"):
        estimate_foreground(torch.zeros(4, 5, 3), torch.zeros(5, 4))


@pytest.mark.parametrize("stretch, least, most, limit", [(2, 0.01, 0.08, 0.7), (1, 0.2, 0.6, 1.0)])
def test_takes_less_time_than_the_published_solver(stretch, least, most, limit):
    """One core, 3 megapixels, with room for a busy machine.

    0.4 where a twentieth is soft, as in a portrait.

    With a wide soft edge and strands nearly every box is worked through, and the share measured is 0.6.
    """
    image, alpha, _ = scene(1500, 2000)
    alpha = np.rint(np.clip(stretch * alpha + 0.5 - stretch / 2, 0, 1) * 255).astype(np.float32) / 255
    assert least < ((alpha > 0) & (alpha < 1)).mean() < most
    tensors, floats = (torch.from_numpy(image), torch.from_numpy(alpha)), image.astype(np.float32) / 255
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def seconds(work) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    try:
        ours = min(seconds(lambda: estimate_foreground(*tensors)) for _ in range(3))
    finally:
        torch.set_num_threads(threads)
    assert ours < limit * min(seconds(lambda: estimate_foreground_ml(floats, alpha)) for _ in range(3))


@pytest.mark.cuda
def test_the_same_on_the_device():
    image, alpha, _ = scene(200, 300)
    device = estimate_foreground(torch.from_numpy(image).cuda(), torch.from_numpy(alpha).cuda())
    assert np.abs(device.cpu().numpy() - solve(image, alpha)).max() < 1e-3
