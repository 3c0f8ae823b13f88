"""What a worker imports by its first task, imported before there is one; see `pliant.execution.starting`."""

import gc
import importlib

gc.disable()  # what imports make stays: to look through it again and again takes a tenth of their time
for name in ("transformers.models.llama.modeling_llama", "pliant.studies.work", "pliant.training.by_kernel.learner"):
    importlib.import_module(name)
gc.freeze()  # workers share the memory of what they do not write to
gc.enable()
