"""Muon: matrices move along orthogonalised momentum, everything else as under AdamW.

After Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with the scale of Liu et al.,
"Muon is scalable for LLM training" (2025), so that one learning rate serves both kinds. A network that starts from
random weights needs far fewer samples than under AdamW (see docs/experiments/tiny-models-1.md); a step costs some
matrix products more. torch's own Muon takes no convolutions, and needs a newer torch than the rest of this project.
timm's learns alike in as many steps, but always iterates in bfloat16, with which a step of a small network takes 14
times as long on a CPU (145 against 11 ms, measured).
"""

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from engine.training.optim import NORMS, Group

SMALLEST_SIDE = 16  # of a weight, seen as a matrix, that is worth orthogonalising
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, by its authors
_ADAM_RMS = 0.2  # typical size of AdamW's step in units of its rate


def muon_groups(
    model: nn.Module, lr: float, weight_decay: float, factors: Mapping[str, float] | None = None
) -> list[Group]:
    """Parameter groups: matrices, other decaying weights, norms and positions.

    Args:
        model: not wrapped.
        lr, weight_decay: of all parameters but norms and positions, which do not decay.
        factors: of the rate, by the beginning of a parameter's name; the first that fits counts.

    Raises:
        ValueError: no parameter's name begins like one of `factors`.
    """
    factors = factors or {}
    names = [name for name, _ in model.named_parameters()]
    for start in factors:
        if not any(name.startswith(start) for name in names):
            raise ValueError(f"optimizer.params.factors: no parameter's name begins with {start!r}")
    groups: dict[tuple[bool, bool, float], Group] = {}
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            dense = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
            matrix = dense and parameter.ndim > 1 and min(parameter.flatten(1).shape) >= SMALLEST_SIDE
            spared = isinstance(module, NORMS) or name == "pos_embed"
            full_name = f"{module_name}.{name}" if module_name else name
            factor = next((factor for start, factor in factors.items() if full_name.startswith(start)), 1.0)
            new = {
                "params": [],
                "lr": lr * factor,
                "weight_decay": 0.0 if spared else weight_decay,
                "orthogonal": matrix,
            }
            groups.setdefault((not matrix, spared, factor), new)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """Matrix (m, n) with the same singular vectors and singular values of about 1 (0.7 to 1.2).

    In bfloat16 on a GPU; a CPU without instructions for bfloat16 is eighty times as fast in float32.
    """
    x = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    tall = x.shape[0] > x.shape[1]
    x = x.t() if tall else x
    x = x / (x.norm() + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(steps):
        square = x @ x.t()
        x = a * x + (b * square + c * square @ square) @ x
    return x.t() if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for groups with `orthogonal`, AdamW for the others.

    Args:
        params: groups as of `muon_groups`.
        momentum: of matrices, with Nesterov's look ahead.
        betas, eps: of the others.
    """

    def __init__(
        self,
        params: Iterable[Group],
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"momentum": momentum, "betas": tuple(betas), "eps": eps, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step; parameters without gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            move = self._move_matrix if group["orthogonal"] else self._move_other
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    move(parameter, parameter.grad, self.state[parameter], group)
        return loss

    @staticmethod
    def _move_matrix(parameter: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> None:
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(grad, 1 - group["momentum"])
        direction = orthogonalised(grad.lerp(momentum, group["momentum"]).flatten(1))
        scale = _ADAM_RMS * math.sqrt(max(direction.shape))
        parameter.sub_(direction.to(parameter.dtype).view(parameter.shape), alpha=group["lr"] * scale)

    @staticmethod
    def _move_other(parameter: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> None:
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        first, second = group["betas"]
        mean, square = state["mean"].lerp_(grad, 1 - first), state["square"].lerp_(grad.square(), 1 - second)
        count = state["step"].item()
        root = (square / (1 - second**count)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(mean, root, value=-group["lr"] / (1 - first**count))
