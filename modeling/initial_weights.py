"""Weights that a training starts from: the student's own, of its dense sibling or of a plain ViT, and the teacher's."""

import logging
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeling.checkpoint import TEACHER, CheckpointError, mismatches, read_state_dict

logger = logging.getLogger(__name__)

_PLAIN_VIT = "patch_embed.proj.weight"
# What a plain ViT has and we do not: class token, final norm, heads, MAE's decoder.
_VIT_LEFTOVERS = re.compile(r"^backbone\.(cls_token|mask_token|norm\.|fc_norm\.|head|decoder_)")
# What a dense ViTMatte has and a routed block cannot use.
_DENSE_LEFTOVERS = re.compile(r"^backbone\.blocks\.\d+\.attn\.rel_pos_[hw]$")
_NEW_IN_ROUTED = re.compile(r"^backbone\.(routers\.|blocks\.\d+\.efficient_block\.)")
_NEW_IN_MATTING = re.compile(r"^(decoder\.|backbone\.blocks\.\d+\.(residual\.|attn\.rel_pos_[hw]$))")


def initialise(model: nn.Module, path: str | Path) -> None:
    """Load what a training starts from, and log what stays as it was initialised.

    Accepts a checkpoint of the model itself, of its dense sibling (ViTMatte for MEMatte: routers and light branches
    stay initial, relative positions of routed blocks are dropped), or a plain ViT under timm's names such as DINO's and
    MAE's (patch kernels get zeros for the trimap channel; decoder, bottlenecks and relative positions stay initial). A
    teacher in the file is left to `load_teacher`.

    Raises:
        CheckpointError: listing whatever else is missing, unexpected or misshapen.
    """
    expected = {name: value for name, value in model.state_dict().items() if not name.startswith(TEACHER)}
    state = {name: value for name, value in read_state_dict(path).items() if not name.startswith(TEACHER)}
    plain = _PLAIN_VIT in state
    if plain:
        state = _from_plain_vit(state, expected["backbone." + _PLAIN_VIT])
    leftovers = [
        name for name in state
        if name not in expected and (_DENSE_LEFTOVERS.match(name) or (plain and _VIT_LEFTOVERS.match(name)))
    ]  # fmt: skip
    loaded = {name: value for name, value in state.items() if name not in leftovers}
    initial = [
        name for name in expected
        if name not in loaded and (_NEW_IN_ROUTED.match(name) or (plain and _NEW_IN_MATTING.match(name)))
    ]  # fmt: skip
    problems = mismatches({name: value for name, value in expected.items() if name not in initial}, loaded)
    if problems:
        raise CheckpointError(f"{path} cannot start {type(model).__name__} (wrong config?): {'; '.join(problems)}")
    model.load_state_dict(loaded, strict=False)
    logger.info("%s: loaded %d tensors", path, len(loaded))
    for what, names in (("stay as initialised", initial), ("in the file have no use here", leftovers)):
        if names:
            logger.info("%d tensors %s: %s", len(names), what, ", ".join(_families(names)))


def load_teacher(teacher: nn.Module, path: str | Path) -> None:
    """Load the teacher's backbone, strictly, from a ViTMatte checkpoint or from a training checkpoint that holds one.

    Raises:
        CheckpointError: the file holds no such backbone.
    """
    state = read_state_dict(path)
    prefix = TEACHER if any(name.startswith(TEACHER) for name in state) else "backbone."
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if any(name.startswith("routers.") for name in found):
        raise CheckpointError(
            f"{path} is a MEMatte checkpoint without teacher: name a ViTMatte checkpoint as train.teacher_checkpoint, "
            "or train with model.distill=False"
        )
    problems = mismatches(teacher.state_dict(), found)
    if problems:
        raise CheckpointError(f"{path} does not fit the teacher (wrong size?): {'; '.join(problems)}")
    teacher.load_state_dict(found)
    logger.info("%s: loaded the teacher, %d tensors", path, len(found))


def _from_plain_vit(state: dict[str, Tensor], kernel: Tensor) -> dict[str, Tensor]:
    """timm's names to ours; zeros for the channels that its patch kernels lack of `kernel` (C, in_chans, p, p)."""
    patches = state[_PLAIN_VIT]
    extended = F.pad(patches, (0, 0, 0, 0, 0, max(kernel.shape[1] - patches.shape[1], 0)))
    state = {**state, _PLAIN_VIT: extended.contiguous(memory_format=torch.contiguous_format)}
    return {f"backbone.{name}": value for name, value in state.items()}


def _families(names: list[str]) -> list[str]:
    """Names without block numbers and without `weight` and `bias`, each once, for a log line."""
    return list(dict.fromkeys(re.sub(r"\.(weight|bias)$", "", re.sub(r"\.\d+\b", ".*", name)) for name in names))
