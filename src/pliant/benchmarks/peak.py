"""The floating-point rate of a large matrix product: what this machine could do at best."""

import time

import torch

SIZES = (512, 1024, 2048)


def gemm_peak(dtype: torch.dtype, *, repeats: int = 5, sizes: tuple[int, ...] = SIZES) -> float:
    """Floating-point operations a second (2 n^3 for each product), the best over `sizes` and `repeats`, at the current
    number of threads."""
    best = 0.0
    for size in sizes:
        left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        out = left @ right
        for _ in range(repeats):
            begun = time.perf_counter()
            torch.mm(left, right, out=out)
            best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best
