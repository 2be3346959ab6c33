"""A network in PyTorch, its loss and data as a problem with every capability that methods ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad, jvp, vjp, vmap
from torch.nn import functional

from refopt.core.errors import ArgumentError, ArgumentTypeError, CapabilityError, ShapeError
from refopt.core.params import Params, leaves, map_leaves, rebuild
from refopt.core.problem import Layer

# Modules whose answer is no function of one example and the parameters while they train.
DRAWS = (torch.nn.modules.dropout._DropoutNd,)
MIXES = (torch.nn.modules.batchnorm._BatchNorm,)


def _half_squares(z: Any, y: Any) -> Any:
    return ((z - y) ** 2).sum() / (2 * z.shape[0])


# The means over examples that are minus a log-likelihood, by name.
LOSSES: dict[str, Callable[..., Any]] = {"cross-entropy": functional.cross_entropy, "mse": _half_squares}


class TorchModule:
    """A network as a problem; `refopt.from_torch` makes it.

    ``f(x) = loss(z, y)``, the mean over examples, with the network's outputs z. As a composition f = phi(r(x)): r is z,
    or ``(z - y) / sqrt(B)`` with phi half the squares for "mse".

    Attributes
    ----------
    x0 : dict of tensors
        The parameters that require gradients, by their names in the module.
    n_examples : int
    least_squares : bool
    """

    def __init__(self, module: Any, loss: Any, data: Any) -> None:
        for name, part in module.named_modules():
            if part.training and isinstance(part, DRAWS) and part.p > 0:
                raise ArgumentError(f"module: {name} draws anew at every call; call module.eval() first")
            if part.training and isinstance(part, MIXES):
                raise ArgumentError(f"module: {name} mixes the examples of a batch; call module.eval() first")
        if isinstance(loss, str) and loss not in LOSSES:
            raise ArgumentError(f"loss: wanted {', '.join(map(repr, LOSSES))} or a function, got {loss!r}")
        if not isinstance(loss, str) and not callable(loss):
            raise ArgumentTypeError(
                f"loss: wanted a name or loss(z, y), the mean over examples, got {loss!r}"
            )
        if isinstance(loss, torch.nn.CrossEntropyLoss) and loss.reduction == "mean" and loss.weight is None:
            loss = "cross-entropy" if not loss.label_smoothing and loss.ignore_index < 0 else loss
        self.module, self.kind = module, loss if isinstance(loss, str) else ""
        self.loss = LOSSES[loss] if isinstance(loss, str) else loss
        self.least_squares = self.kind == "mse"
        self._data = data
        self.n_examples = _count(data)
        named = dict(module.named_parameters())
        self.x0 = {n: p.detach().clone() for n, p in named.items() if p.requires_grad}
        if not self.x0:
            raise ArgumentError("module: has no parameter that requires gradients")
        # A name more than parameters: some layers share theirs.
        self._tied = len(list(module.named_parameters(remove_duplicate=False))) > len(named)
        self._fixed = {n: p.detach().clone() for n, p in named.items() if not p.requires_grad}
        self._fixed |= {n: b.detach().clone() for n, b in module.named_buffers()}
        self._reference = next(iter(self.x0.values()))
        self._linear = {
            n: m for n, m in module.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))
        }
        owned = {_dotted(n, p) for n, m in self._linear.items() for p, _ in m.named_parameters()}
        if not self.x0.keys() <= owned:
            self.layers = None  # type: ignore[assignment,method-assign]

    def __repr__(self) -> str:
        return f"TorchModule({type(self.module).__name__}, {self.kind or 'loss'}, {self.n_examples} examples)"

    def examples(self, batch: Any = None) -> tuple[Any, Any]:
        """Return inputs and targets of a batch, or of all examples."""
        if isinstance(self._data, (tuple, list)):
            if batch is None:
                return self._data[0], self._data[1]
            rows = torch.as_tensor(np.asarray(batch), device=self._data[0].device)
            return self._data[0][rows], self._data[1][rows]
        chosen = range(self.n_examples) if batch is None else batch
        a, y = torch.utils.data.default_collate([self._data[int(i)] for i in chosen])
        return a, y

    def _outputs(self, x: Params, a: Any) -> Any:
        return functional_call(self.module, {**x, **self._fixed}, (a,), tie_weights=self._tied)

    def _objective(self, batch: Any) -> Callable[[Any], Any]:
        a, y = self.examples(batch)
        return lambda x: self.loss(self._outputs(x, a), y)

    def _inner(self, batch: Any) -> Callable[[Any], Any]:
        a, y = self.examples(batch)
        if not self.least_squares:
            return lambda x: self._outputs(x, a)
        scale = 1 / math.sqrt(len(a))
        return lambda x: (self._outputs(x, a) - y) * scale

    def _into(self, x: Params) -> Any:
        return map_leaves(lambda v: v.detach() if torch.is_tensor(v) else self._tensor(v), x)

    def _tensor(self, v: Any) -> Any:
        return torch.as_tensor(np.array(v), device=self._reference.device)

    def _back(self, value: Any, x: Params) -> Any:
        if all(torch.is_tensor(v) for v in leaves(x).values()):
            return map_leaves(lambda v: v.detach(), value)
        return map_leaves(lambda v: v.detach().cpu().numpy(), value)

    def value(self, x: Params, batch: Any = None) -> Any:
        """Return f(x), a 0-d array."""
        with torch.no_grad():
            return self._back(self._objective(batch)(self._into(x)), x)

    def grad(self, x: Params, batch: Any = None) -> Params:
        """Return its gradient."""
        return self.value_and_grad(x, batch)[1]

    def value_and_grad(self, x: Params, batch: Any = None) -> tuple[Any, Params]:
        """Return both from one pass."""
        # Its answers have no graph.
        if all(map(torch.is_tensor, leaves(x).values())):
            return value_and_gradient(self._objective(batch), x)
        f, g = value_and_gradient(self._objective(batch), self._into(x))
        return self._back(f, x), self._back(g, x)

    def hvp(self, x: Params, v: Params, batch: Any = None) -> Params:
        """Return the Hessian of f at x times v."""
        return self._back(jvp(grad(self._objective(batch)), (self._into(x),), (self._into(v),))[1], x)

    def example_grads(self, x: Params, batch: Any = None) -> Params:
        """Return each example's gradient on a new first axis."""
        a, y = self.examples(batch)

        def one(x: Any, a: Any, y: Any) -> Any:
            return self.loss(self._outputs(x, a.unsqueeze(0)), y.unsqueeze(0))

        return self._back(vmap(grad(one), (None, 0, 0))(self._into(x), a, y), x)

    def residual(self, x: Params, batch: Any = None) -> Any:
        """Return r(x)."""
        with torch.no_grad():
            return self._back(self._inner(batch)(self._into(x)), x)

    def jvp(self, x: Params, v: Params, batch: Any = None) -> Any:
        """Return the Jacobian of r at x times v."""
        return self._back(jvp(self._inner(batch), (self._into(x),), (self._into(v),))[1], x)

    def vjp(self, x: Params, u: Any, batch: Any = None) -> Params:
        """Return the transposed Jacobian of r at x times u."""
        return self._back(vjp(self._inner(batch), self._into(x))[1](self._into(u))[0], x)

    def _phi(self, batch: Any) -> Callable[[Any], Any]:
        if self.least_squares:
            return lambda r: (r * r).sum() / 2
        y = self.examples(batch)[1]
        return lambda r: self.loss(r, y)

    def loss_gradient(self, x: Params, batch: Any = None) -> Any:
        """Return the gradient of phi at r(x)."""
        return self._back(grad(self._phi(batch))(self._inner(batch)(self._into(x)).detach()), x)

    def loss_hessian(self, x: Params, u: Any, batch: Any = None) -> Any:
        """Return the Hessian of phi at r(x) times u."""
        r = self._inner(batch)(self._into(x)).detach()
        return self._back(jvp(grad(self._phi(batch)), (r,), (self._into(u),))[1], x)

    def layers(self, x: Params, batch: Any = None, rng: np.random.Generator | None = None) -> list[Layer]:
        """Return inputs and output gradients of each Linear and Conv2d, by hooks; offered where there is nothing else.

        A convolution's inputs are its patches, one a position of its outputs. With `rng` the labels are drawn from the model: categorical for cross-entropy, normal of unit variance for "mse".
        """
        a, y = self.examples(batch)
        params = {n: v.requires_grad_() for n, v in self._into(x).items()}
        seen: list[tuple[str, Any, Any]] = []

        def note(name: str) -> Callable[..., None]:
            def hook(module: Any, given: Any, out: Any) -> None:
                if any(name == other for other, _, _ in seen):
                    raise CapabilityError(f"layers: {name} is used more than once in a pass")
                seen.append((name, _inputs(name, module, given[0]), out))

            return hook

        hooks = [m.register_forward_hook(note(n)) for n, m in self._linear.items()]
        try:
            with torch.enable_grad():
                z = self._outputs(params, a)
                loss = self.loss(z, y if rng is None else self._drawn(z.detach(), rng)) * len(a)
            found = torch.autograd.grad(loss, [out for _, _, out in seen])
        finally:
            for hook in hooks:
                hook.remove()
        out = []
        for (name, inputs, _), delta in zip(seen, found):
            bias = None if self._linear[name].bias is None else _dotted(name, "bias")
            if delta.ndim == 4:
                delta = delta.flatten(2).transpose(1, 2)
            out.append(Layer(_dotted(name, "weight"), bias, self._back(inputs, x), self._back(delta, x)))
        return out

    def _drawn(self, z: Any, rng: np.random.Generator) -> Any:
        if self.kind == "cross-entropy":
            p = torch.softmax(z, 1).cumsum(1)
            u = torch.as_tensor(rng.random((len(z), 1)), dtype=z.dtype, device=z.device)
            return torch.clamp((u > p).sum(1), max=z.shape[1] - 1)
        if self.kind == "mse":
            return z + torch.as_tensor(rng.standard_normal(tuple(z.shape)), dtype=z.dtype, device=z.device)
        raise CapabilityError(
            "layers: labels can be drawn for the losses 'cross-entropy' and 'mse' alone, not for a function"
        )


def value_and_gradient(fun: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    """Return f(x) and its gradient by a plain backward pass, which costs half of `torch.func`'s."""
    with torch.enable_grad():
        inputs = map_leaves(lambda v: v.detach().requires_grad_(), x)
        f = fun(inputs)
        found = torch.autograd.grad(f, list(leaves(inputs).values()), materialize_grads=True)
    return f.detach(), rebuild(x, dict(zip(leaves(x), found)))


def _inputs(name: str, module: Any, given: Any) -> Any:
    """Return what a layer is fed, (B, in), or (B, T, in) with T positions: of a convolution, its patches."""
    if isinstance(module, torch.nn.Conv2d):
        if module.groups != 1:
            raise CapabilityError(
                f"layers: {name} is a convolution of {module.groups} groups, each with a weight of its own; wanted groups = 1"
            )
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        padded = functional.pad(given, _margins(module), mode=mode)
        patches = functional.unfold(padded, module.kernel_size, module.dilation, 0, module.stride)
        return patches.transpose(1, 2)
    if given.ndim not in (2, 3):
        raise ShapeError(
            f"layers: {name}: wanted inputs of shape (B, in) or (B, T, in), got {tuple(given.shape)}"
        )
    return given


def _margins(conv: Any) -> list[int]:
    """Return the padding left, right, above and below; of "same" the odd one is right and below."""
    out = []
    for k in (1, 0):
        if conv.padding == "same":
            total = conv.dilation[k] * (conv.kernel_size[k] - 1)
            out += [total // 2, total - total // 2]
        else:
            out += 2 * [0 if conv.padding == "valid" else conv.padding[k]]
    return out


def _dotted(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _count(data: Any) -> int:
    if isinstance(data, (tuple, list)):
        if len(data) != 2 or not all(torch.is_tensor(d) for d in data) or len(data[0]) != len(data[1]):
            raise ArgumentTypeError(
                "data: wanted a pair of tensors (inputs, targets) of one length, or a Dataset"
            )
        return len(data[0])
    if torch.is_tensor(data) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise ArgumentTypeError(
            f"data: wanted a pair of tensors (inputs, targets) or a Dataset with a length, got {type(data).__name__}"
        )
    return len(data)
