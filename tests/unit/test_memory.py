"""How many tokens a forward pass may take, and what running out looks like."""

import pytest
import torch

from pliant.studies.memory import LOGIT_COPIES, SPARE, batch_that_fits, free_bytes, is_out_of_memory


def needed(tokens: int, vocabulary: int = 50_000, weight_bytes: int = 10**9) -> int:
    return int((weight_bytes + LOGIT_COPIES * 4 * vocabulary * tokens) / SPARE) + 1


def fits(free: int, wanted: int = 2048, window: int = 512) -> int:
    return batch_that_fits(wanted, window=window, vocabulary=50_000, weight_bytes=10**9, free=free)


def test_what_fits_is_taken_whole_and_else_halved_down_to_one_window():
    assert fits(needed(2048)) == 2048
    assert fits(needed(2048) - 10) == 1024
    assert fits(needed(512)) == 512
    assert fits(needed(512) - 10) == 0


def test_a_window_longer_than_the_batch_is_the_batch():
    assert fits(needed(4096), window=4096) == 4096
    assert fits(needed(2048), window=4096) == 0


def test_the_free_memory_of_this_machine_is_a_number_of_bytes():
    assert 10**7 < free_bytes("cpu") < 10**14


def test_running_out_is_recognised_and_other_errors_are_not():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**14)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("size mismatch"))
