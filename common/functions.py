"""The one-dimensional functions that networks are trained on, and the points where they are."""

import torch


def grid(points, device=None, dtype=torch.float32):
    """Midpoints of equal intervals of [0, 1], (points, 1): no point falls on a jump of the square wave."""
    return ((torch.arange(points, device=device, dtype=dtype) + 0.5) / points).unsqueeze(1)


def sinc(x):
    return torch.sinc(5 * x)  # sin(5πx) / (5πx), and 1 at x = 0


def square_wave(x):
    return torch.sign(torch.sin(5 * torch.pi * x))


def triangle_wave(x):
    """Eight teeth: the tent map composed four times (Telgarsky 2016, arXiv:1602.04485)."""
    for _ in range(4):
        x = 1 - (2 * x - 1).abs()
    return x
