"""Lanczos tridiagonalisation of a symmetric operator H: H Q = Q T, with orthonormal Q and tridiagonal T.

Every new vector is orthogonalised against all earlier ones, twice, so that no eigenvalue appears a second time by
rounding. The eigenvalues of T (Ritz values) lie within the spectrum of H.

References:
    G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., Sec. 10.1 and 10.3 (Ritz pairs, reorthogonalisation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

EXHAUSTED = 100.0  # times the rounding unit: a relative residual that is nothing but rounding
ROUNDING = 10.0  # times the rounding unit: the relative error of a product with the Hessian


@dataclass(frozen=True, eq=False)
class Krylov:
    """Result of Lanczos: T and the orthonormal basis Q.

    Attributes:
        alphas: (steps,) diagonal of T, float64.
        betas: (steps,) off-diagonal of T, float64; the last is the norm of the residual after the last step.
        basis: (steps, parameters) rows of Q.
    """

    alphas: Tensor
    betas: Tensor
    basis: Tensor

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        inner = self.betas[:-1]
        values, vectors = torch.linalg.eigh(torch.diag(self.alphas) + torch.diag(inner, 1) + torch.diag(inner, -1))
        return values, vectors

    @property
    def ritz_values(self) -> Tensor:
        """(steps,) eigenvalues of T, ascending."""
        return self._eigen[0]

    @property
    def quadrature_weights(self) -> Tensor:
        """(steps,) squared first components of the eigenvectors of T: v'f(H)v = sum_i weight_i f(ritz_i), |v| = 1."""
        return self._eigen[1][0].square()

    @property
    def residuals(self) -> Tensor:
        """(steps,) norms of H y - theta y for the Ritz pairs: an eigenvalue of H lies at most this far from theta.

        What products in the dtype of the basis round is added, relative to the largest of all values.
        """
        rounding = ROUNDING * torch.finfo(self.basis.dtype).eps * self.ritz_values.abs().max()
        return self.betas[-1] * self._eigen[1][-1].abs() + rounding

    def ritz_vector(self, index: int) -> Tensor:
        """(parameters,) unit Ritz vector; its entry of largest magnitude is positive."""
        vector = self._eigen[1][:, index].to(self.basis) @ self.basis
        vector = vector / torch.linalg.vector_norm(vector)
        return vector * vector[vector.abs().argmax()].sign()


def lanczos(product: Callable[[Tensor], Tensor], draw: Callable[[int], Tensor], steps: int) -> Krylov:
    """Run Lanczos from the vector `draw(0)`.

    Where the Krylov space is exhausted (an invariant subspace, such as after as many steps as there are different
    eigenvalues), it continues with `draw(1)`, `draw(2)`, ... orthogonal to all vectors so far. Such vectors have no
    weight in the quadrature, and find further copies of eigenvalues.

    Args:
        product: The vector v (parameters,) -> H v in float64.
        draw: Number -> a random vector (parameters,), whose dtype and device are those of the basis.
        steps: Number of products, at most the number of parameters.
    """
    vector, draws, residual_norm, scale = draw(0), 1, 0.0, 0.0
    vector = vector / torch.linalg.vector_norm(vector)
    basis = vector.new_empty(steps, len(vector))
    alphas, betas = torch.zeros(2, steps, dtype=torch.float64)
    unit = torch.finfo(vector.dtype).eps
    for step in range(steps):
        basis[step] = vector
        image = product(vector)
        alphas[step] = torch.dot(vector.double(), image)
        residual = _orthogonal(image.to(vector), basis[: step + 1])
        residual_norm = float(torch.linalg.vector_norm(residual.double()))
        scale = max(scale, abs(float(alphas[step])), residual_norm)
        if residual_norm > EXHAUSTED * unit * scale:
            betas[step] = residual_norm
        elif step + 1 < steps:
            residual, draws = _orthogonal(draw(draws), basis[: step + 1]), draws + 1
        vector = residual / torch.linalg.vector_norm(residual)
    return Krylov(alphas, betas, basis)


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor:
    """Return the part of a vector that is orthogonal to the rows of `basis`."""
    for _ in range(2):  # twice is enough
        vector = vector - (basis @ vector) @ basis
    return vector
