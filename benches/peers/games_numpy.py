"""The games benchmark's peer: tables of linear games in NumPy, a Jacobian's enclosures in mpmath."""

import json

import protocol  # before NumPy: it reads the number of threads

import mpmath
import numpy as np
from mpmath import iv
from numpy.linalg import eigvals, eigvalsh, norm

NAMES = ["euclidean margin", "margin", "true margin", "lipschitz", "euler threshold", "rk4 threshold"]


def symmetric(matrices):
    return (matrices + np.swapaxes(matrices, -1, -2)) / 2


def rk4_threshold(eigenvalues):
    """The least h with |P(-h λ)| = 1 over the last axis, by bisection of all at once: the boundary crosses each ray between 2.5 and 3."""
    size = np.abs(eigenvalues)
    ray = -eigenvalues / size
    low, high = np.full(size.shape, 2.5), np.full(size.shape, 3.0)
    for _ in range(52):
        middle = (low + high) / 2
        z = ray * middle
        inside = np.abs(1 + z * (1 + z / 2 * (1 + z / 3 * (1 + z / 4)))) < 1
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(eigenvalues.real >= 0, low / size, 0).min(-1)


def euler_threshold(eigenvalues):
    return np.where(eigenvalues.real > 0, 2 * eigenvalues.real / np.abs(eigenvalues) ** 2, 0).min(-1)


def margin(mu, coupling, w):
    """The least eigenvalue of S(w), S_ij = -(√(w_i/w_j) L_ij + √(w_j/w_i) L_ji) / 2, S_ii = μ_i."""
    scaled = np.sqrt(w[:, None] / w[None, :]) * coupling
    return eigvalsh(-symmetric(scaled) + np.eye(len(w)) * mu[..., None])[..., 0]


def lipschitz(own, coupling, w):
    return norm(np.sqrt(w[:, None] / w[None, :]) * coupling + np.eye(len(w)) * own[..., None], 2, axis=(-2, -1))


class Games(protocol.Workload):
    """The games x ↦ (I + λ K) x."""

    def __init__(self, inputs):
        self.k, self.w, self.strengths = (np.array(inputs[name]) for name in ["matrix", "weights", "strengths"])
        ends = np.cumsum([0, *inputs["dimensions"]])
        self.players = [slice(*pair) for pair in zip(ends, ends[1:])]
        root = np.repeat(np.sqrt(self.w), inputs["dimensions"])
        self.ratios = root[:, None] / root[None, :]
        self.identity = np.eye(len(self.k))

    def norms(self, matrix):
        """The norms of the blocks."""
        return np.array([[norm(matrix[a, b], 2) for b in self.players] for a in self.players])

    def outputs(self):
        return {name: list(map(float, column)) for name, column in zip(NAMES, self.call())}


class Plain(Games):
    """One game after the other, each decomposed."""

    def row(self, j):
        norms = self.norms(j)
        own, coupling = np.diag(norms), norms - np.diag(np.diag(norms))
        mu = np.array([eigvalsh(symmetric(j[a, a]))[0] for a in self.players])
        eigenvalues = eigvals(j)
        return (
            eigvalsh(symmetric(j))[0],
            margin(mu, coupling, self.w),
            eigvalsh(symmetric(j * self.ratios))[0],
            lipschitz(own, coupling, self.w),
            euler_threshold(eigenvalues),
            rk4_threshold(eigenvalues),
        )

    def call(self):
        return np.array([self.row(self.identity + strength * self.k) for strength in self.strengths]).T


class Once(Games):
    """All games at once, from decompositions of K: its symmetric parts and eigenvalues are those of J but for the factor and 1."""

    def call(self):
        strengths = self.strengths[:, None]

        def least(matrix):
            return 1 + (strengths * eigvalsh(symmetric(matrix))).min(-1)

        norms = self.norms(self.k)
        coupling = (norms - np.diag(np.diag(norms))) * np.abs(self.strengths)[:, None, None]
        mu = np.stack([least(self.k[a, a]) for a in self.players], -1)
        own = np.stack([self.own(self.k[a, a]) for a in self.players], -1)
        eigenvalues = 1 + strengths * eigvals(self.k)
        return np.array(
            [
                least(self.k),
                margin(mu, coupling, self.w),
                least(self.k * self.ratios),
                lipschitz(own, coupling, self.w),
                euler_threshold(eigenvalues),
                rk4_threshold(eigenvalues),
            ]
        )

    def own(self, block):
        if np.array_equal(block, block.T):
            return np.abs(1 + self.strengths[:, None] * eigvalsh(block)).max(-1)
        return norm(np.eye(len(block)) + self.strengths[:, None, None] * block, 2, axis=(-2, -1))


PLAYERS, WIDTH, CURVATURE, COUPLING = 3, 2, 2, 1


class Boxes(protocol.Workload):
    """The Jacobian of the ring of three players in a plane on each box, by interval arithmetic of the usual 53 bits."""

    def __init__(self, inputs):
        self.boxes = [[iv.mpf(side) for side in sides] for sides in inputs]
        self.zero = iv.mpf(0)

    def jacobian(self, x):
        size = PLAYERS * WIDTH
        out = [[self.zero] * size for _ in range(size)]
        for i in range(PLAYERS):
            for k in range(WIDTH):
                row = i * WIDTH + k
                after = (i + 1) % PLAYERS * WIDTH + k
                before = (i - 1) % PLAYERS * WIDTH + (k + 1) % WIDTH
                # σ'(d) = σ(d) σ(-d) and 1 - tanh², with one exponential each.
                e = iv.exp(x[row] - x[after])
                slope = COUPLING / ((1 + e) * (1 + 1 / e))
                tanh = 1 - 2 / (iv.exp(2 * x[before]) + 1)
                out[row][row] = CURVATURE + slope
                out[row][after] = -slope
                out[row][before] = COUPLING * (1 - tanh**2)
        return out

    def call(self):
        return [self.jacobian(sides) for sides in self.boxes]

    def outputs(self):
        return [[[float(entry.a), float(entry.b)] for row in jacobian for entry in row] for jacobian in self.call()]


def load(file):
    with open(file) as text:
        return json.load(text)


def save(outputs, file):
    with open(file, "w") as text:
        json.dump(outputs, text)


makers = {"table": Plain, "table-once": Once, "boxes": Boxes}
protocol.serve(f"numpy {np.__version__}, mpmath {mpmath.__version__}", makers, (load, save))
