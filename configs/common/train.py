"""Settings of a run, which `engine/training/session.py` reads."""


def train_settings(name: str, total_batch_size: int, max_iter: int, checkpoint_period: int) -> dict:
    return dict(
        output_dir=f"output/{name}",
        init_checkpoint="",  # the start: a plain encoder, for MEMatte a ViTMatte, for MEDiffMatte a DiffMatte
        teacher_checkpoint="",  # ViTMatte or DiffMatte; where it is empty, init_checkpoint holds the teacher too
        seed=0,
        device="auto",
        precision="auto",  # bf16 on GPUs that have it, fp16 on older ones, fp32 on a CPU; or fp32, tf32, bf16, fp16
        compile=False,  # torch.compile: the first step takes minutes
        cudnn_benchmark=False,  # try cuDNN's algorithms first; runs then differ in their last bits
        max_grad_norm=None,  # L2 norm over all parameters that gradients are scaled down to; None: never
        freeze_norms_from=None,  # from this iteration on, batch norms keep their statistics; None: never
        ema_decay=None,  # of a moving average of the weights, scored and exported in their place; None: none
        max_logit_std=None,  # of attention over independent tokens, see engine/training/logits.py; None: no bound
        total_batch_size=total_batch_size,  # of all processes together
        accumulate=1,  # parts of a process's batch, computed one after the other in less memory; same gradients
        checkpoint_activations=False,  # recompute them in the backward pass: less memory, about a third more time
        max_memory="",  # of a process, such as "20GB": sets the two above as needed, and says so
        max_iter=max_iter,
        checkpoint_period=checkpoint_period,
        max_checkpoints=100,
        validation_root="",  # a folder of images, trimaps and alphas that inference.py accepts
        eval_period=checkpoint_period,
        log_period=10,
        image_period=2000,
        wandb_project="",  # of Weights & Biases, which then gets all figures too (pip install wandb)
    )
