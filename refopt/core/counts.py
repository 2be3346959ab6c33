"""What was asked of a problem, and its price in full gradients."""

from __future__ import annotations

# The price of one call in full gradients, times the share of the examples that it looks at. A
# gradient in reverse mode costs about three evaluations of f; a Hessian-vector product is a
# derivative of a gradient, about two gradients; a derivative along one direction is two
# evaluations of f in forward mode, a third one four; prox, penalty and projection look at no data.
COST: dict[str, float] = {
    "value": 1 / 3,
    "grad": 1.0,
    "directional": 2 / 3,
    "hvp": 2.0,
    "third": 4 / 3,
    "example_grads": 1.0,
    "residual": 1 / 3,
    "jvp": 2 / 3,
    "vjp": 1.0,
    "loss_gradient": 1 / 3,
    "loss_hessian": 1 / 3,
    "layers": 1.0,
    "slopes": 1 / 3,
    "rollouts": 1.0,
    "sample_grad": 1.0,
    "penalty": 0.0,
    "prox": 0.0,
    "example_prox": 1.0,
    "project": 0.0,
    "bounds": 0.0,
    "gram": 1.0,
    "term_weights": 1 / 3,
    "term_grad": 1.0,
    "fraction": 1 / 3,
    # Times the share of one entry.
    "coordinate_slope": 1.0,
    "coordinate_prox": 0.0,
    # Of one objective.
    "objectives": 1 / 3,
    "jacobian": 1.0,
    # Of one level.
    "upper_value": 1 / 3,
    "upper_grad": 1.0,
    "lower_value": 1 / 3,
    "lower_grad": 1.0,
    "lower_hvp": 2.0,
    "lower_mixed": 2.0,
    "upper_hvp": 2.0,
    "upper_mixed": 2.0,
    "constraint": 0.0,
    "constraint_vjp": 0.0,
    "constraint_hvp": 0.0,
    # What simulated workers send, in bytes and not in calls.
    "bytes_sent": 0.0,
}


class Counts:
    """What was asked of a problem: calls by name, and their price in full gradients."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.equivalents = 0.0

    def add(self, name: str, share: float) -> None:
        """Count one call of `name` that looks at `share` of the examples."""
        self.calls[name] = self.calls.get(name, 0) + 1
        self.equivalents += COST[name] * share

    def sent(self, nbytes: int) -> None:
        """Count what simulated workers send to each other or to a server."""
        self.calls["bytes_sent"] = self.calls.get("bytes_sent", 0) + nbytes
