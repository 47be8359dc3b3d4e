"""Initial weights of a training run, for the student and its teacher.

The student's are its own, its dense sibling's, or those of a plain ViT.
"""

import logging
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from .weights import TEACHER, CheckpointError, mismatches, read_state_dict

logger = logging.getLogger(__name__)

# Names in DiffMatte's checkpoints begin with this; the patterns below leave it out.
_WRAPPER = "model."
# What a plain encoder begins with: a ViT or Swin, or GCA-Matting's ResNet-34-D.
_STEMS = ("patch_embed.proj.weight", "conv1.module.weight_bar")
# What a plain encoder has and we do not: class token, final norm, heads, MAE's decoder, Swin's masks.
_PLAIN_LEFTOVERS = re.compile(
    r"^(backbone|trans)\.(cls_token|mask_token|norm\.|fc_norm\.|head|fc\.|decoder_|.*\.attn_mask$)"
)
# Where our encoder reads more channels or positions than a plain one, and along which axis.
_GROWING = {
    re.compile(r"^patch_embed\.proj\.weight$"): 1,
    re.compile(r"^conv1\.module\.weight_bar$"): 1,
    re.compile(r"^conv1\.module\.weight_v$"): 0,
    re.compile(r"\.relative_position_bias_table$"): 0,
}
# What a dense network has and a routed block cannot use.
_DENSE_LEFTOVERS = re.compile(r"^backbone\.blocks\.\d+\.attn\.rel_pos_[hw]$")
_NEW_IN_ROUTED = re.compile(r"^backbone\.(routers\.|blocks\.\d+\.efficient_block\.)")
# What a plain encoder lacks: the rest of the network, and what matting adds to the encoder.
_NEW_IN_MATTING = re.compile(
    r"^((?!backbone\.|trans\.)"
    r"|backbone\.blocks\.\d+\.(residual\.|attn\.rel_pos_[hw]$)"
    r"|trans\.(patch_embed\.proj\.|norm\d\.)"
    r"|.*\.relative_position_index$)"
)


def initialise(model: nn.Module, path: str | Path) -> None:
    """Load initial weights and log the parameters that keep their initialisation.

    Accepts a checkpoint of the model itself; of its dense sibling (ViTMatte for MEMatte, DiffMatte for MEDiffMatte:
    routers and light branches stay initial, relative positions of routed blocks are dropped); or a plain encoder: a ViT
    under timm's names such as DINO's and MAE's, ImageNet's Swin-T, GCA-Matting's ResNet-34-D. Where our encoder reads
    more channels than a plain one, they get zeros, in a Swin small random numbers; the rest stays initial. A teacher in
    the file is left to `load_teacher`.

    Raises:
        CheckpointError: listing whatever else is missing, unexpected or misshapen.
    """
    expected = {name: value for name, value in model.state_dict().items() if not name.startswith(TEACHER)}
    state = {name: value for name, value in read_state_dict(path).items() if not name.startswith(TEACHER)}
    plain = any(stem in state for stem in _STEMS)
    if plain:
        state = _from_plain_encoder(state, expected)

    def is_left_over(name: str) -> bool:
        own = name.removeprefix(_WRAPPER)
        return bool(_DENSE_LEFTOVERS.match(own) or (plain and _PLAIN_LEFTOVERS.match(own)))

    def stays_initial(name: str) -> bool:
        own = name.removeprefix(_WRAPPER)
        return bool(_NEW_IN_ROUTED.match(own) or (plain and _NEW_IN_MATTING.match(own)))

    leftovers = [name for name in state if name not in expected and is_left_over(name)]
    loaded = {name: value for name, value in state.items() if name not in leftovers}
    initial = [name for name in expected if name not in loaded and stays_initial(name)]
    problems = mismatches({name: value for name, value in expected.items() if name not in initial}, loaded)
    if problems:
        raise CheckpointError(f"{path} cannot start {type(model).__name__} (wrong config?): {'; '.join(problems)}")
    model.load_state_dict(loaded, strict=False)
    logger.info("%s: loaded %d tensors", path, len(loaded))
    for what, names in (("stay as initialised", initial), ("in the file have no use here", leftovers)):
        if names:
            logger.info("%d tensors %s: %s", len(names), what, ", ".join(_families(names)))


def load_teacher(teacher: nn.Module, path: str | Path) -> None:
    """Load the teacher's backbone strictly.

    Sources are a ViTMatte, a DiffMatte, or a training checkpoint with a teacher.

    Raises:
        CheckpointError: the file holds no such backbone.
    """
    state = read_state_dict(path)
    prefixes = (TEACHER, f"{_WRAPPER}backbone.", "backbone.")
    prefix = next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in state)), "")
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if any(name.startswith("routers.") for name in found):
        raise CheckpointError(
            f"{path} holds a routed network without teacher: name the checkpoint of a ViTMatte (for MEDiffMatte: of a "
            "DiffMatte) as train.teacher_checkpoint, or train with model.distill=False"
        )
    problems = mismatches(teacher.state_dict(), found)
    if problems:
        raise CheckpointError(f"{path} does not fit the teacher (wrong size?): {'; '.join(problems)}")
    teacher.load_state_dict(found)
    logger.info("%s: loaded the teacher, %d tensors", path, len(found))


def _from_plain_encoder(state: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names and sizes for the weights of a plain encoder.

    Ours may read more channels or positions.
    """
    prefixes = (f"{_WRAPPER}backbone.", "backbone.", "trans.")
    prefix = next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in expected)), "")
    swin = any("relative_position_bias_table" in name for name in state)
    result = {}
    for name, value in state.items():
        if name.endswith(".relative_position_index"):
            continue  # a constant; ours also counts prior tokens
        if prefix == "trans." and name.startswith("patch_embed.proj."):
            continue  # AEMatter's reads its stem
        wanted = expected.get(prefix + name)
        axis = next((axis for pattern, axis in _GROWING.items() if pattern.search(name)), None)
        if wanted is not None and axis is not None and value.dim() == wanted.dim():
            value = _grown(value, axis, wanted.shape[axis], swin)
        result[prefix + name] = value
    return result


def _grown(value: Tensor, axis: int, length: int, random: bool) -> Tensor:
    """`value` extended along `axis` to `length` by Xavier-normal numbers or zeros."""
    missing = list(value.shape)
    missing[axis] = max(length - value.shape[axis], 0)
    extra = torch.zeros(missing, dtype=value.dtype)
    if random and extra.numel():
        nn.init.xavier_normal_(extra)
    return torch.cat([value, extra], dim=axis).contiguous(memory_format=torch.contiguous_format)


def _families(names: list[str]) -> list[str]:
    """Distinct parameter names without block numbers, `weight` and `bias`, for logging."""
    return list(dict.fromkeys(re.sub(r"\.(weight|bias)$", "", re.sub(r"\.\d+\b", ".*", name)) for name in names))
