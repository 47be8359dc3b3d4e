import numpy as np
import pytest
import torch

from modeling.closed_form.cells import Cells
from modeling.closed_form.laplacian import EPSILON, matting_laplacian
from modeling.closed_form.solver import System, closed_form


def scene(height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy image of two flat colours, its trimap and alpha.

    Image (1, 3, H, W), trimap (1, 1, H, W).
    """
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    alpha = (0.5 + 0.2 * torch.sin(y / 3.0) + (x - width / 2) / (0.5 * width)).clamp(0, 1)[None, None]
    colours = torch.rand(2, 3, 1, 1, generator=generator)
    image = alpha * colours[0] + (1 - alpha) * colours[1]
    image = (image + 0.01 * torch.randn(image.shape, generator=generator)).clamp(0, 1)
    known = (x < width / 8) | (x >= width - width / 8)
    return image, torch.where(known, alpha.round(), 0.5), alpha


def dense_laplacian(image: np.ndarray) -> np.ndarray:
    """Matting Laplacian of (H, W, 3), window by window as the paper states it."""
    height, width, _ = image.shape
    matrix = np.zeros((height * width, height * width))
    for top in range(height - 2):
        for left in range(width - 2):
            pixels = [(top + dy) * width + left + dx for dy in range(3) for dx in range(3)]
            colours = image.reshape(-1, 3)[pixels]
            centred = colours - colours.mean(axis=0)
            covariance = centred.T @ centred / 9 + EPSILON / 9 * np.eye(3)
            affinity = (1 + centred @ np.linalg.inv(covariance) @ centred.T) / 9
            matrix[np.ix_(pixels, pixels)] += np.eye(9) - affinity
    return matrix


def exact(
    image: torch.Tensor, trimap: torch.Tensor, held: tuple[torch.Tensor, torch.Tensor] | None = None
) -> np.ndarray:
    """Solution of the linear system by elimination, (H, W)."""
    matrix, levels = dense_laplacian(image[0].permute(1, 2, 0).double().numpy()), trimap.flatten().double().numpy()
    unknown = (levels != 0) & (levels != 1)
    right = -matrix[np.ix_(unknown, ~unknown)] @ levels[~unknown]
    if held is not None:
        rough, weight = (part.flatten().double().numpy()[unknown] for part in held)
        right += weight * rough
        matrix[unknown, unknown] += weight
    solved = np.linalg.solve(matrix[np.ix_(unknown, unknown)], right)
    levels[unknown] = solved.clip(0, 1)
    return levels.reshape(trimap.shape[-2:])


@pytest.mark.parametrize("height, width", [(12, 17), (3, 9), (5, 3), (40, 33)])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_rows_of_unknown_pixels_are_those_of_the_published_matrix(height: int, width: int, share: float) -> None:
    generator = torch.Generator().manual_seed(height)
    image = torch.rand(2, 3, height, width, generator=generator).double()
    values = torch.randn(2, height, width, generator=generator).double()
    unknown = torch.rand(2, height, width, generator=generator) < share
    unknown[1, 1, 1] = True
    cells = Cells(unknown)
    product = cells.put(System(cells, image, unknown).multiply(cells.take(values, around=True)))
    for picture in range(2):
        matrix = dense_laplacian(image[picture].permute(1, 2, 0).numpy())
        expected = (matrix @ values[picture].flatten().numpy()).reshape(height, width)
        rows = unknown[picture].numpy()
        np.testing.assert_allclose(product[picture].numpy()[rows], expected[rows], atol=1e-7)


def test_a_vector_of_the_squares_is_surrounded_by_its_own_values() -> None:
    unknown = torch.zeros(2, 30, 45, dtype=torch.bool)
    unknown[0, 3:14, 5] = unknown[0, 29, 44] = unknown[1, 17:20, 17:26] = True
    cells = Cells(unknown)
    plane = torch.rand(2, 30, 45)
    values = cells.take(plane)
    kept = cells.put(values)
    assert torch.equal(kept[unknown], plane[unknown])
    assert torch.equal(cells.with_surroundings(values), cells.take(kept, around=True))
    first_squares = torch.tensor([0, cells.count - 1])  # squares are in the order of pictures
    torch.testing.assert_close(cells.dot(values, values)[first_squares], (kept * kept).flatten(1).sum(dim=1))


def test_strips_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _, _ = scene(40, 33)
    unknown = torch.rand(1, 40, 33, generator=torch.Generator().manual_seed(0)) < 0.3
    whole = matting_laplacian(image, unknown)
    monkeypatch.setattr("modeling.closed_form.laplacian.STRIP_PX", 100)
    torch.testing.assert_close(matting_laplacian(image, unknown), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_steps_suffice(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeling.closed_form.solver.SAMPLE_WEIGHT", 0)
    image, trimap, _ = scene(40, 52, seed)
    solved, unknown = closed_form(image, trimap)[0, 0].numpy(), (trimap[0, 0] == 0.5).numpy()
    assert np.abs(solved - exact(image, trimap))[unknown].mean() < 0.01


def test_a_rough_alpha_holds_the_result_as_its_weight_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeling.closed_form.solver.SAMPLE_WEIGHT", 0)
    image, trimap, alpha = scene(40, 52)
    unknown = trimap[0, 0] == 0.5
    rough, weight = (alpha > 0.7).float(), torch.full_like(alpha, 0.05)
    weight[..., 26:] = 0
    solved = closed_form(image, trimap, held=(rough, weight))
    assert np.abs(solved[0, 0].numpy() - exact(image, trimap, (rough, weight)))[unknown.numpy()].mean() < 0.01
    assert torch.equal(solved[trimap != 0.5], trimap[trimap != 0.5])
    firm = closed_form(image, trimap, held=(rough, torch.full_like(alpha, 1e4)))
    assert (firm - rough).abs()[trimap == 0.5].max() < 0.01


def test_a_rough_alpha_holds_its_own_picture_of_a_batch_alone() -> None:
    image, trimap, alpha = scene(40, 52)
    rough, weight = (alpha > 0.7).float(), torch.full_like(alpha, 0.05)
    without_object = trimap.clamp(max=0.5)  # not solvable
    pictures, levels = image.repeat(3, 1, 1, 1), torch.cat([without_object, trimap, trimap])
    rough, weights = rough.repeat(3, 1, 1, 1), torch.cat([weight, weight, torch.zeros_like(weight)])
    together = closed_form(pictures, levels, held=(rough, weights))
    assert (together[0][without_object[0] == 0.5] == 0.5).all()
    torch.testing.assert_close(together[1:2], closed_form(image, trimap, held=(rough[1:2], weight)), atol=0.01, rtol=0)
    torch.testing.assert_close(together[2:], closed_form(image, trimap), atol=0.01, rtol=0)


def test_recovers_alpha_between_two_colours() -> None:
    image, trimap, alpha = scene(96, 128)
    assert (closed_form(image, trimap) - alpha).abs()[trimap == 0.5].mean() < 0.03


def test_a_hole_without_known_background_is_found_by_its_colour() -> None:
    y, x = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    alpha = (x > 16).float()
    alpha[18:30, 30:44] = 0
    noise = 0.02 * torch.randn(3, 48, 64, generator=torch.Generator().manual_seed(0))
    image = alpha * torch.tensor([0.8, 0.5, 0.3])[:, None, None] + (1 - alpha) * 0.2 + noise
    trimap = torch.where((x < 8) | (y > 44) & (x < 16), 0, torch.where((y > 44) & (x > 18), 1, 0.5))
    found = closed_form(image[None].clamp(0, 1), trimap[None, None].float())[0, 0]
    assert (found - alpha).abs()[18:30, 30:44].mean() < 0.1


def test_known_pixels_keep_their_alpha() -> None:
    image, trimap, _ = scene(50, 40)
    known = trimap != 0.5
    assert torch.equal(closed_form(image, trimap)[known], trimap[known])


def test_a_batch_equals_its_singles() -> None:
    pairs = [scene(45, 38, seed)[:2] for seed in range(3)]
    together = closed_form(torch.cat([image for image, _ in pairs]), torch.cat([trimap for _, trimap in pairs]))
    for alone, pair in zip(together, pairs, strict=True):
        # Sums are added in another order, and the system is ill-conditioned.
        torch.testing.assert_close(alone[None], closed_form(*pair), rtol=0, atol=1e-2)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 30), (2, 2), (3, 3), (17, 2), (200, 9)])
def test_any_size_gives_finite_alphas(height: int, width: int) -> None:
    image, trimap, _ = scene(height, width)
    alpha = closed_form(image, trimap)
    assert alpha.shape == trimap.shape
    assert ((alpha >= 0) & (alpha <= 1)).all()


@pytest.mark.parametrize("level", [0, 0.5, 1])
def test_without_one_kind_of_known_pixels_the_rest_is_undecided(level: float) -> None:
    image, trimap, _ = scene(24, 32)
    trimap = torch.where(trimap == 0.5, trimap, level)
    alpha = closed_form(image, trimap)
    assert torch.equal(alpha, trimap)


def test_a_picture_of_one_colour_is_solved() -> None:
    _, trimap, _ = scene(32, 48)
    assert closed_form(torch.full((1, 3, 32, 48), 0.3), trimap).isfinite().all()


@pytest.mark.parametrize("seed", [0, 2, 5, 9])
def test_strands_between_two_flat_colours_are_solved(seed: int) -> None:
    """Strong contrasts of two colours, whose covariance exceeds float32."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    alpha = torch.zeros(64, 64)
    for start, slope, phase in torch.rand(12, 4, generator=generator)[:, :3].tolist():
        distance = (y - 64 * start - (x - 32) * (2 * slope - 1) - 5 * torch.sin(x / 9 + 6 * phase)).abs()
        alpha = torch.maximum(alpha, (1.5 - distance).clamp(0, 1))
    foreground, background = torch.rand(2, 3, 1, 1, generator=generator)
    alpha[:, :6], alpha[:, -6:] = 0, 1
    image = ((alpha * foreground + (1 - alpha) * background) * 255).round() / 255
    trimap = torch.full_like(alpha, 0.5)
    trimap[:, :6], trimap[:, -6:] = 0, 1
    assert (closed_form(image[None], trimap[None, None])[0, 0] - alpha).abs().mean() < 1e-3


def test_computes_in_full_precision_under_autocast() -> None:
    image, trimap, _ = scene(30, 30)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(closed_form(image, trimap), closed_form(image, trimap))
        inside = closed_form(image, trimap)
    assert torch.equal(inside, closed_form(image, trimap))
