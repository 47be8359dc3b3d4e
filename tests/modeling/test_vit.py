import pytest
import torch

from modeling.backbone.vit import ViT
from modeling.inference.budget import Limits
from modeling.inference.vit import encode_patches_
from tests.modeling.small import VIT, small_vit
from tools.reference.transformer import encode_image


def patches(vit: ViT, batch: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(batch, 4, 16 * height, 16 * width, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (5, 7), (6, 11)])
@torch.no_grad()
def test_equals_the_written_out_transformer(routed: bool, height: int, width: int) -> None:
    vit = small_vit(routed)
    image = patches(vit, 1, height, width)
    expected, decisions = encode_image(vit, image[0])
    encoding = vit(image)
    torch.testing.assert_close(encoding.tokens[0], expected, rtol=1e-4, atol=2e-5)
    assert [keep.flatten().nonzero()[:, 0].tolist() for keep in encoding.keep] == decisions


@torch.no_grad()
def test_routing_mixes_both_branches_in_these_tests() -> None:
    keep = small_vit(True)(patches(small_vit(True), 1, 6, 11)).keep
    assert any(0 < int(block.sum()) < block.numel() for block in keep)


@torch.no_grad()
def test_capped_tokens_equal_the_written_out_choice() -> None:
    vit = small_vit(True)
    image = patches(vit, 1, 6, 11)
    expected, decisions = encode_image(vit, image[0], cap=5)
    encoding = encode_patches_(vit, vit.patch_embed(image), Limits(max_tokens=5))
    assert [keep.flatten().nonzero()[:, 0].tolist() for keep in encoding.keep] == decisions
    assert max(len(kept) for kept in decisions) == 5
    torch.testing.assert_close(encoding.tokens[0], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("chunk_tokens", [1, 12, 40])
@torch.no_grad()
def test_chunks_change_nothing(routed: bool, chunk_tokens: int) -> None:
    vit = small_vit(routed)
    image = patches(vit, 2, 13, 7)
    whole = encode_patches_(vit, vit.patch_embed(image), Limits(chunk_tokens=10**6))
    chunked = encode_patches_(vit, vit.patch_embed(image), Limits(chunk_tokens=chunk_tokens))
    torch.testing.assert_close(chunked.tokens, whole.tokens, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(chunked.keep, whole.keep, strict=True))


@pytest.mark.parametrize("routed", [False, True])
@torch.no_grad()
def test_images_of_a_batch_never_see_each_other(routed: bool) -> None:
    vit = small_vit(routed)
    images = patches(vit, 3, 6, 8)
    images[2] *= 3  # another share of kept tokens
    limits = Limits(max_tokens=7)
    together = encode_patches_(vit, vit.patch_embed(images), limits)
    for index in range(3):
        alone = encode_patches_(vit, vit.patch_embed(images[index : index + 1]), limits)
        torch.testing.assert_close(together.tokens[index], alone.tokens[0], rtol=1e-5, atol=1e-5)
        for all_kept, kept in zip(together.keep, alone.keep, strict=True):
            assert torch.equal(all_kept[index], kept[0])
            assert int(kept.sum()) <= 7


@torch.no_grad()
def test_a_cap_of_all_tokens_is_no_cap() -> None:
    vit = small_vit(True)
    image = patches(vit, 1, 6, 8)
    capped = encode_patches_(vit, vit.patch_embed(image), Limits(max_tokens=48))
    free = encode_patches_(vit, vit.patch_embed(image), Limits(max_tokens=None))
    assert torch.equal(capped.tokens, free.tokens)


@torch.no_grad()
def test_a_cap_of_zero_keeps_none() -> None:
    vit = small_vit(True)
    encoding = encode_patches_(vit, vit.patch_embed(patches(vit, 1, 6, 8)), Limits(max_tokens=0))
    assert not any(keep.any() for keep in encoding.keep)


def test_evaluation_equals_the_differentiable_path() -> None:
    vit = small_vit(False)
    image = patches(vit, 1, 5, 7)
    differentiable = vit(image).tokens
    assert differentiable.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(vit(image).tokens, differentiable.detach(), rtol=1e-5, atol=1e-5)


def test_training_with_all_tokens_kept_equals_global_attention() -> None:
    vit = small_vit(True)
    block, tokens = vit.blocks[1], torch.randn(2, 4, 5, 32)
    everything = torch.ones(2, 20, 1)
    plain = tokens + block.attn.over_sequence(block.norm1(tokens).flatten(1, 2)).view_as(tokens)
    plain = block.residual(plain + block.mlp(block.norm2(plain)))
    torch.testing.assert_close(block(tokens, everything), plain, rtol=1e-4, atol=2e-5)


def test_training_with_fixed_noise_equals_evaluation() -> None:
    vit = small_vit(True)
    image = patches(vit, 1, 5, 7)
    with torch.no_grad():
        evaluated = vit(image)
    silent = [torch.zeros(1, 35, 2) for _ in vit.global_blocks]
    trained = vit.train()(image, silent)
    assert all(torch.equal(a.bool(), b) for a, b in zip(trained.keep, evaluated.keep, strict=True))
    torch.testing.assert_close(trained.tokens.detach(), evaluated.tokens, rtol=1e-3, atol=1e-3)
    trained.tokens.square().mean().backward()
    gradient = vit.routers[0].out_conv[4].weight.grad
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_refuses_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(ValueError, match="embed_dim 30 is not a multiple of num_heads 4"):
        ViT(30, num_heads=4)


@pytest.mark.parametrize("routed", [False, True])
def test_final_norm_is_the_last_step_of_every_path(routed: bool) -> None:
    vit = small_vit(routed)
    normed = ViT(**VIT, routed=routed, final_norm=True).eval()
    missing = normed.load_state_dict(vit.state_dict(), strict=False).missing_keys
    assert missing == ["norm.weight", "norm.bias"]
    with torch.no_grad():
        normed.norm.weight.mul_(2)
        normed.norm.bias.add_(0.5)
    image = patches(vit, 1, 5, 7)
    with torch.no_grad():
        expected = torch.nn.functional.layer_norm(vit(image).tokens, (32,)) * 2 + 0.5
        torch.testing.assert_close(normed(image).tokens, expected, rtol=1e-4, atol=1e-4)
        chunked = encode_patches_(normed, normed.patch_embed(image), Limits(chunk_tokens=10)).tokens
        torch.testing.assert_close(chunked, expected, rtol=1e-4, atol=1e-4)
    silent = [torch.zeros(1, 35, 2) for _ in vit.global_blocks]
    trained = normed.train()(image, silent).tokens
    torch.testing.assert_close(trained.detach(), expected, rtol=2e-3, atol=2e-3)


def test_without_key_gradients_peaked_attention_does_not_drown_what_routers_learn() -> None:
    norms, outputs = {}, {}
    for key_gradients in (True, False):
        vit = small_vit(True).train()
        vit.key_gradients = key_gradients
        with torch.no_grad():
            for index in vit.global_blocks:
                vit.blocks[index].attn.qkv.weight[:64] *= 30  # queries and keys: attention sees one token
        torch.manual_seed(0)
        outputs[key_gradients] = vit(patches(vit, 1, 5, 7)).tokens
        outputs[key_gradients].square().mean().backward()
        norms[key_gradients] = torch.cat([part.grad.flatten() for part in vit.routers.parameters()]).norm()
    assert torch.equal(outputs[True], outputs[False])
    assert 0 < 10 * norms[False] < norms[True]
