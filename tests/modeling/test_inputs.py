import pytest
import torch

from modeling.inputs import model_input, published_size


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        ((64, 96), (64, 96)),
        ((256, 310), (288, 320)),
        ((128, 180), (160, 192)),
        ((1, 1), (32, 32)),
        ((544, 100), (576, 128)),
    ],
)
def test_both_sides_grow_where_either_must(size: tuple[int, int], padded: tuple[int, int]) -> None:
    assert published_size(*size) == padded


def test_windows_are_parts_of_the_whole_input() -> None:
    image = torch.randint(0, 256, (1, 3, 40, 50), dtype=torch.uint8)
    trimap = torch.full((1, 1, 40, 50), 128, dtype=torch.uint8)
    whole = model_input(image, trimap, (0, 64, 0, 64))
    assert torch.equal(model_input(image, trimap, (16, 48, 32, 64)), whole[..., 16:48, 32:64])
    assert torch.equal(model_input(image, trimap, (48, 64, 0, 64)), torch.zeros(1, 4, 16, 64))


def test_inputs_are_normalised_and_unknown_is_128_of_255() -> None:
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    trimap = torch.tensor(128, dtype=torch.uint8).view(1, 1, 1, 1)
    expected = [-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225, 128 / 255]
    torch.testing.assert_close(model_input(image, trimap, (0, 1, 0, 1)).flatten(), torch.tensor(expected))


def test_float_and_uint8_inputs_agree() -> None:
    image = torch.randint(0, 256, (1, 3, 5, 5), dtype=torch.uint8)
    trimap = torch.randint(0, 256, (1, 1, 5, 5), dtype=torch.uint8)
    window = (0, 5, 0, 5)
    assert torch.equal(model_input(image, trimap, window), model_input(image / 255, trimap / 255, window))
