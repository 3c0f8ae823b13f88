"""The numerics plan: what changes bits without changing the experiment, decided once when a study is created."""

from dataclasses import dataclass
from typing import ClassVar, Literal

Trainer = Literal["flat", "compiled", "compiled-bf16"]
"""`flat`: one buffer of weights and a backward pass by hand; `compiled`: what lies between its matrix products too is
compiled; `compiled-bf16`: and the matrix products, these alone, are in bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerics:
    """Written into study.yaml and part of every cell's identity.

    The same plan, library versions and kind of processor give the same bytes; elsewhere results agree within
    tolerance. `forward` lean uses pliant's own forward pass where there is one for the class;
    `sweep` stacked trains the rates of a sweep side by side where that pays;
    `kernel` lanes computes tiny models, forward and backward, in one compiled loop where they are of the shape that it
    takes; `trainer` is how other ladders are pre-trained where it computes their shape, by autograd if it is None.
    `evaluation_batch_tokens` is the tokens of one forward pass when evaluating. `evaluation` bfloat16 has the products
    of linear layers in it when losses on held-out text are measured, and is validated when the study is created; auto
    is bfloat16 where that holds and pays, else what None is: `dtype`. `shards` is the number of processes that share
    the weights of one checkpoint, each with an accelerator of its own where there is one; they go through transformers'
    forward pass, one rate of a sweep after the other, whatever `forward` and `sweep` say.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    IDENTITY: ClassVar = frozenset(
        {
            "threads",
            "dtype",
            "device",
            "attention",
            "forward",
            "sweep",
            "kernel",
            "trainer",
            "evaluation_batch_tokens",
            "evaluation",
            "shards",
        }
    )
    RUNTIME: ClassVar[frozenset[str]] = frozenset()

    threads: int = 1
    dtype: Literal["float32"] = "float32"
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    attention: Literal["sdpa", "eager"] = "sdpa"
    forward: Literal["lean", "transformers"] = "lean"
    sweep: Literal["stacked", "single"] = "stacked"
    kernel: Literal["lanes"] | None = None
    trainer: Trainer | None = None
    evaluation_batch_tokens: int = 2048
    evaluation: Literal["auto", "bfloat16"] | None = None
    shards: int | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "evaluation_batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kernel is not None and (self.device != "cpu" or self.forward != "lean"):
            raise ValueError(
                "kernel: lanes has an effect with device: cpu and forward: lean only; set them, or leave it out"
            )
        if self.attention == "eager" and self.forward == "lean":
            raise ValueError("attention: eager has an effect with forward: transformers only; set both")
        if self.shards is not None:
            self._check_shards()

    def _check_shards(self) -> None:
        if self.shards is not None and self.shards < 2:
            raise ValueError(f"shards must be at least 2, got {self.shards}; leave it out for one process")
        if self.device == "mps":
            raise ValueError("shards needs device: cuda or cpu, got mps; leave shards out")
        for name in ("kernel", "trainer", "evaluation"):
            if (value := getattr(self, name)) is not None:
                raise ValueError(f"{name}: {value} is not there with shards; leave one of the two out")
