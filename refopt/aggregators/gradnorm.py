"""GradNorm (Chen et al. 2018): weights that even out the norms of the gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from refopt.aggregators.rows import rows_of
from refopt.core.arrays import Array, check_array, like, namespace, norm, to_numpy
from refopt.core.errors import ArgumentError
from refopt.core.hyper import check_number
from refopt.core.registry import Source, register

CHEN = Source("chen-2018-gradnorm", "Z. Chen, V. Badrinarayanan, C.-Y. Lee, A. Rabinovich",
    "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks",
    arxiv="1711.02257")  # fmt: skip


@register("gradnorm", kind="aggregator", source=CHEN, where="Algorithm 1", stateful=True)
def gradnorm(
    J: Array,
    state: Mapping[str, Any] | None = None,
    *,
    losses: Array,
    alpha: float = 1.5,
    lr: float = 0.025,
    columns: slice | None = None,
) -> tuple[Array, dict[str, Any]]:
    """Return GradNorm's direction, the weighted sum of the gradients, and the weights of the next step.

    ``G_i = w_i ||g_i||``, ``r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0))``, ``d = Σ w_i g_i``;
    ``w_i ← w_i - lr ||g_i|| sign(G_i - Ḡ r_i^α)``, a step on ``Σ |G_i - Ḡ r_i^α|`` with the target held; then w is
    scaled to ``Σ w_i = m``. Weights start at 1.

    Parameters
    ----------
    J : array of shape (m, n)
        The gradients of m objectives, one a row.
    state : dict, optional
        From the last call; at the first there is none.
    losses : array of shape (m,)
        L_i, the objectives, positive.
    alpha : float
        α, the strength of the pull to equal rates of training, at least 0; the paper has 1.5 and 0.12.
    lr : float
        The rate of the weights, at least 0.
    columns : slice, optional
        The columns of J by which norms are taken: the paper's W, the last shared layer; all by default.

    Returns
    -------
    d : array of shape (n,)
        To step against.
    state : dict
        ``"weights"``, those of the next step, and ``"first"``, L(0).

    Raises
    ------
    ArgumentError
        A loss is not positive, or the weights add up to 0 or less: `lr` is too large.
    ArgumentTypeError, DtypeError, ShapeError, NonFiniteError
        `J` or `losses` is not what is wanted.

    Notes
    -----
    Nothing keeps a weight from becoming negative, in the paper neither.

    Examples
    --------
    >>> import numpy as np, refopt
    >>> J = np.array([[1.0, 0.0], [0.0, 3.0]])
    >>> d, s = refopt.get("gradnorm")(J, losses=np.array([1.0, 1.0]), lr=0.1)
    >>> print(d, s["weights"].round(3))
    [1. 3.] [1.222 0.778]
    """
    check_number(alpha, "[0, inf)", "alpha")
    check_number(lr, "[0, inf)", "lr")
    rows = rows_of(J)
    m = rows.m
    L = to_numpy(check_array(losses, "losses", shape=(m,))).astype(np.float64)
    if np.any(L <= 0.0):
        raise ArgumentError(f"losses: wanted positive numbers, got {L.tolist()}")
    xp = namespace(J)
    if not state:
        state = {"weights": xp.ones_like(J[:, 0]), "first": xp.asarray(like(L, J), copy=True)}
    w = to_numpy(state["weights"]).astype(np.float64)
    part = J if columns is None else J[:, columns]
    lengths = np.array([norm(part[i, :]) for i in range(m)])
    ratios = L / to_numpy(state["first"]).astype(np.float64)
    sizes = w * lengths
    target = np.mean(sizes) * (ratios / np.mean(ratios)) ** alpha
    new = w - lr * lengths * np.sign(sizes - target)
    total = float(np.sum(new))
    if total <= 0.0:
        raise ArgumentError(f"lr: wanted one that leaves weights with a positive sum, got {lr!r}")
    return rows.combined(w * rows.lengths), {"weights": like(new * (m / total), J), "first": state["first"]}
