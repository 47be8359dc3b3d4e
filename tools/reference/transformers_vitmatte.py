"""Hugging Face's ViTMatte in the published sizes."""

from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting


def build_transformers(width: int) -> VitMatteForImageMatting:
    """The network with `width` channels (384: S, 768: B), freshly initialised, in evaluation mode."""
    backbone = VitDetConfig(
        num_channels=4,
        hidden_size=width,
        num_attention_heads=width // 64,
        image_size=512,
        pretrain_image_size=224,
        patch_size=16,
        window_size=14,
        use_absolute_position_embeddings=True,
        use_relative_position_embeddings=True,
        window_block_indices=[0, 1, 3, 4, 6, 7, 9, 10],
        residual_block_indices=[2, 5, 8, 11],
        out_features=["stage12"],
    )
    config = VitMatteConfig(
        backbone_config=backbone,
        hidden_size=width,
        batch_norm_eps=1e-5,
        convstream_hidden_sizes=[48, 96, 192],
        fusion_hidden_sizes=[256, 128, 64, 32],
    )
    return VitMatteForImageMatting(config).eval()
