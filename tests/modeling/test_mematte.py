import pytest
import torch

from modeling import MEMatte
from tests.modeling.small import small_decoder, small_mematte, small_vit


def batch(size: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    image = torch.rand(size, 3, height, width, generator=generator)
    levels = torch.tensor([0, 128 / 255, 1])
    return image, levels[torch.randint(0, 3, (size, 1, height, width), generator=generator)]


@torch.no_grad()
def test_a_batch_of_two_equals_two_singles() -> None:
    model = small_mematte()
    image, trimap = batch(2, 70, 90)
    together = model(image, trimap)
    assert together.alpha.shape == (2, 1, 70, 90)
    for index in range(2):
        alone = model(image[index : index + 1], trimap[index : index + 1])
        torch.testing.assert_close(together.alpha[index], alone.alpha[0], rtol=0, atol=1e-6)


def test_needs_a_routed_backbone() -> None:
    with pytest.raises(ValueError, match="routed"):
        MEMatte(small_vit(routed=False), small_decoder())


def test_distillation_without_teacher_says_what_to_do() -> None:
    model = small_mematte().train()
    with pytest.raises(ValueError, match=r"attach_teacher, or set model\.distill=False"):
        model(*batch(1, 64, 64))


def test_the_teacher_is_frozen_and_in_evaluation_while_the_student_trains() -> None:
    model = small_mematte()
    model.attach_teacher(small_vit(routed=False))
    model.train()
    assert not model.teacher_backbone.training
    assert model.backbone.training
    image, trimap = batch(2, 64, 64)
    output = model(image, trimap)
    with torch.no_grad():
        expected = small_vit(routed=False)(model.padded_input(image, trimap)).features
    torch.testing.assert_close(output.teacher_features, expected)
    output.alpha.mean().backward()
    assert all(parameter.grad is None for parameter in model.teacher_backbone.parameters())


def test_trains_without_teacher_on_request() -> None:
    model = MEMatte(small_vit(routed=True), small_decoder(), distill=False).train()
    assert model(*batch(1, 64, 64)).teacher_features is None
