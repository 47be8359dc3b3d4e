"""Run settings and learning-rate multiplier from images, batch size and epochs."""

from detectron2.config import LazyCall as L

from engine.training.schedule import iterations, stepped_multiplier

from .train import train_settings


def schedule(
    name: str,
    images: int,
    batch: int,
    epochs: int,
    decay_epochs: tuple[int, ...],
    checkpoint_epochs: int,
    values: tuple[float, ...] = (1, 0.1, 0.05),
):
    """Settings of a run, and a multiplier stepped at `decay_epochs`.

    The run takes `epochs` over `images`; the multiplier takes `values` in turn.
    """
    train = train_settings(
        name,
        total_batch_size=batch,
        max_iter=iterations(images, batch, epochs),
        checkpoint_period=iterations(images, batch, checkpoint_epochs),
    )
    lr_multiplier = L(stepped_multiplier)(
        max_iter="${train.max_iter}",
        milestones=[iterations(images, batch, epoch) for epoch in decay_epochs],
        values=list(values),
        warmup_iters=250,
        warmup_factor=0.001,
    )
    return train, lr_multiplier
