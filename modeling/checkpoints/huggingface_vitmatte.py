"""ViTMatte as Hugging Face's `VitMatteForImageMatting`: tensor names and config files."""

import re
from typing import Any

from ..inputs import IMAGE_MEAN, IMAGE_STD
from ..zoo import MODELS

_TO_OURS = (
    (re.compile(r"^backbone\.embeddings\.position_embeddings$"), "backbone.pos_embed"),
    (re.compile(r"^backbone\.embeddings\.projection\."), "backbone.patch_embed.proj."),
    (re.compile(r"^backbone\.encoder\.layer\.(\d+)\.attention\."), r"backbone.blocks.\1.attn."),
    (re.compile(r"^backbone\.encoder\.layer\.(\d+)\."), r"backbone.blocks.\1."),
    (re.compile(r"^decoder\.convstream\.convs\.(\d+)\.batch_norm\."), r"decoder.convstream.convs.\1.bn."),
    (re.compile(r"^decoder\.fusion_blocks\.(\d+)\.conv\.batch_norm\."), r"decoder.fusion_blks.\1.conv.bn."),
    (re.compile(r"^decoder\.fusion_blocks\."), "decoder.fusion_blks."),
)
_TO_THEIRS = (
    (re.compile(r"^backbone\.pos_embed$"), "backbone.embeddings.position_embeddings"),
    (re.compile(r"^backbone\.patch_embed\.proj\."), "backbone.embeddings.projection."),
    (re.compile(r"^backbone\.blocks\.(\d+)\.attn\."), r"backbone.encoder.layer.\1.attention."),
    (re.compile(r"^backbone\.blocks\.(\d+)\."), r"backbone.encoder.layer.\1."),
    (re.compile(r"^decoder\.convstream\.convs\.(\d+)\.bn\."), r"decoder.convstream.convs.\1.batch_norm."),
    (re.compile(r"^decoder\.fusion_blks\.(\d+)\.conv\.bn\."), r"decoder.fusion_blocks.\1.conv.batch_norm."),
    (re.compile(r"^decoder\.fusion_blks\."), "decoder.fusion_blocks."),
)
SUPPORTED = ("ViTMatte_S", "ViTMatte_B")
THEIR_BLOCKS = "backbone.encoder.layer."  # names begin so in their checkpoints alone


def our_name(name: str) -> str:
    """Our name of one of their tensors; others stay as they are."""
    return _renamed(name, _TO_OURS)


def their_name(name: str) -> str:
    """Their name of one of our tensors; others stay as they are."""
    return _renamed(name, _TO_THEIRS)


def _renamed(name: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in rules:
        name = pattern.sub(replacement, name)
    return name


def model_config(name: str) -> dict[str, Any]:
    """Content of `config.json` for a model of `SUPPORTED`."""
    sizes = MODELS[name].network.settings["backbone"].settings
    width, depth, global_blocks = sizes["embed_dim"], sizes["depth"], list(sizes["global_blocks"])
    backbone = {
        "model_type": "vitdet",
        "num_channels": 4,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": sizes["num_heads"],
        "image_size": 16 * sizes["table_side"],
        "pretrain_image_size": 224,
        "patch_size": 16,
        "window_size": sizes["window_size"],
        "window_block_indices": [index for index in range(depth) if index not in global_blocks],
        "residual_block_indices": global_blocks,
        "use_absolute_position_embeddings": True,
        "use_relative_position_embeddings": True,
        "out_features": [f"stage{depth}"],
        "out_indices": [depth],
    }
    return {
        "model_type": "vitmatte",
        "architectures": ["VitMatteForImageMatting"],
        "backbone_config": backbone,
        "hidden_size": width,
        "batch_norm_eps": 1e-5,
        "convstream_hidden_sizes": [48, 96, 192],
        "fusion_hidden_sizes": [256, 128, 64, 32],
    }


def processor_config() -> dict[str, Any]:
    """Content of `preprocessor_config.json`: the normalisation of the published networks."""
    return {
        "image_processor_type": "VitMatteImageProcessor",
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
        "do_pad": True,
        "size_divisor": 32,
    }
