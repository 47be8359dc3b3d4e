"""Training goldens of MEMatte: the criterion, the routed block, one whole step."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modeling.backbone.attention import policy_softmax
from modeling.backbone.vit import ViT
from modeling.base import MattingOutput
from modeling.decoder.detail_capture import DetailCapture
from modeling.inference.budget import Limits
from modeling.inference.vit import run_block_
from modeling.inputs import training_trimap
from modeling.losses.criteria import MEMatteCriterion
from modeling.losses.terms import matting_losses
from modeling.mematte import MEMatte
from tools.reference.golden.check import (
    Arrays,
    Quantity,
    compare_losses,
    largest_difference,
    relative_difference,
    share_of_tolerance,
)
from tools.reference.weights import fill_

ZERO_IN_THEORY = "decoder.matting_head.matting_convs.0.bias"  # a batch norm follows


def check_criterion(path: Path, arrays: Arrays) -> list[Quantity]:
    """The four terms and the gradient of their sum, two cases."""
    quantities = []
    for case in ("a_", "b_"):
        pred, target, unknown = (torch.from_numpy(arrays[case + name]) for name in ("pred", "target", "sample_map"))
        losses = matting_losses(pred.requires_grad_(), target, unknown.float())
        sum(losses.values()).backward()
        quantities += compare_losses({name: loss.item() for name, loss in losses.items()}, arrays, case)
        stored = arrays[case + "grad_of_sum"]
        absolute = 1e-5 * float(np.abs(stored).max())
        name = f"{case}grad_of_sum"
        quantities.append(share_of_tolerance(name, pred.grad.numpy(), stored, absolute=absolute, relative=1e-5))
    return quantities


def routed_backbone() -> ViT:
    """MEMatte-S up to its first routed block, in training mode.

    With the golden weights.
    """
    vit = ViT(depth=3, global_blocks=[2], routed=True)
    fill_({f"backbone.{name}": value for name, value in vit.state_dict().items()})
    return vit.train()


@torch.no_grad()
def check_policy_attention(path: Path, arrays: Arrays) -> list[Quantity]:
    """The routed block and its parts on random tokens.

    Outputs may be stored with every n-th channel only.
    """
    vit = routed_backbone()
    block = vit.blocks[2]
    x, logits = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["attn_logits"])
    policy, soft = torch.from_numpy(arrays["policy"]).float(), torch.from_numpy(arrays["soft_policy"])
    kept = [policy[0, :, 0].nonzero()[:, 0]]
    quantities = []

    def add(name: str, ours: Tensor, tolerance: float) -> None:
        step = ours.shape[-1] // arrays[name].shape[-1]
        quantities.append(Quantity(name, largest_difference(ours[..., ::step].numpy(), arrays[name]), tolerance))

    add("softmax_policy", policy_softmax(logits, policy), 1e-6)
    for name, weights in (("attn_out", policy), ("attn_out_soft", soft)):
        add(name, block.attn.over_policy(x.flatten(1, 2), weights).unflatten(1, x.shape[1:3]), 1e-5)
    add("ltrm_out", block.efficient_block(x), 1e-5)
    add("router0_logp", vit.routers[0](x).flatten(1, 2), 1e-5)
    add("block2_train_out", block(x, policy), 2e-5)
    add("block2_infer_out_image0", run_block_(block, x[:1].clone(), Limits(), kept), 2e-5)
    return quantities


def check_train_step(path: Path, arrays: Arrays) -> list[Quantity]:
    """One forward and backward pass of MEMatte-S with its teacher."""
    model = MEMatte(ViT(routed=True), DetailCapture())
    model.attach_teacher(ViT())
    fill_(model.state_dict())
    model.train()
    image = torch.from_numpy(arrays["image"]).permute(0, 3, 1, 2).float() / 255
    trimap = training_trimap(torch.from_numpy(arrays["trimap"])[:, None])
    output = model(image, trimap, gumbel_noise=torch.from_numpy(arrays["gumbel_noise"]))
    losses = MEMatteCriterion()(output, torch.from_numpy(arrays["alpha_gt"]), trimap)
    sum(losses.values()).backward()
    quantities = _compare_outputs(output, arrays) + _compare_losses(losses, arrays) + _compare_gradients(model, arrays)
    state = model.state_dict()
    for key in (key for key in arrays if key.startswith("bn_after:")):
        ours = state[key.removeprefix("bn_after:")].numpy()
        quantities.append(share_of_tolerance(key, ours, arrays[key], absolute=1e-6, relative=1e-5))
    return quantities


def _compare_outputs(output: MattingOutput, arrays: Arrays) -> list[Quantity]:
    keep = torch.stack([kept.flatten(1) for kept in output.keep]).float()
    return [
        Quantity(name, largest_difference(ours.detach().numpy(), arrays[name]), tolerance)
        for name, ours, tolerance in (
            ("keep", keep, 0),
            ("pred_alpha", output.alpha, 2e-5),
            ("student_features_probe", output.features[:, ::16], 5e-4),
            ("teacher_features_probe", output.teacher_features[:, ::16], 5e-4),
        )
    ]


def _compare_losses(losses: dict[str, Tensor], arrays: Arrays) -> list[Quantity]:
    named = {name if name.startswith("loss_") else f"loss_{name}": loss for name, loss in losses.items()}
    named["loss_total"] = sum(losses.values())
    return compare_losses({name: loss.item() for name, loss in named.items()}, arrays)


def _compare_gradients(model: MEMatte, arrays: Arrays) -> list[Quantity]:
    """Norms of all gradients, and some gradients in full."""
    ours = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    stored = dict(zip(arrays["grad_names"].tolist(), arrays["grad_norms"].tolist(), strict=True))
    shared = ours.keys() & stored.keys()
    norms = {name: ours[name].double().norm().item() for name in shared}
    worst = max(relative_difference(norms[name], stored[name]) for name in shared - {ZERO_IN_THEORY})
    quantities = [
        Quantity("gradients missing or extra", len(ours.keys() ^ stored.keys()), 0),
        Quantity("grad_norms (relative)", worst, 1e-2),
        Quantity("a gradient of 0 in theory", norms[ZERO_IN_THEORY], 1e-4),
    ]
    for key in (key for key in arrays if key.startswith("grad:")):
        wanted = torch.from_numpy(arrays[key])
        distance = (ours[key.removeprefix("grad:")] - wanted).norm() / wanted.norm()
        quantities.append(Quantity(f"{key} (relative)", distance.item(), 1e-2))
    return quantities
