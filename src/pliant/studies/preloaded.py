"""What a worker imports by its first task, imported before there is one; see `pliant.execution.starting`."""

import transformers.models.llama.modeling_llama

import pliant.studies.work
import pliant.training.by_kernel

__all__ = ["pliant", "transformers"]
