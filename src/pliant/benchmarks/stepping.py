"""transformers' Trainer, made to take a few steps at a time: a run that waits for its turn after each of them."""

import os
import queue
import tempfile
import threading
from collections.abc import Mapping
from typing import Any, final

from torch import Tensor

ENDLESS = 10**6
"""Steps that a Trainer is told to take; it is stopped long before."""


@final
class SteppingTrainer:
    """One run of the Trainer in a thread of its own, which goes on only while `steps` waits for it.

    What it needs to start (data loader, optimiser, compilation) falls into its first turn.
    """

    def __init__(self, model: Any, windows: Tensor, rows: int, options: Mapping[str, Any]) -> None:
        """`windows` are given out in order, `rows` a step; `options` are those of TrainingArguments."""
        self._model, self._windows, self._rows, self._options = model, windows, rows, options
        self._turns: queue.Queue[int] = queue.Queue()
        self._done: queue.Queue[BaseException | None] = queue.Queue()
        self._left = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def steps(self, count: int) -> None:
        """Take `count` steps, then wait again."""
        self._turns.put(count)
        failed = self._done.get()
        if failed is not None:
            raise failed

    def stop(self) -> None:
        """End the run."""
        self._turns.put(0)
        self._thread.join()

    def _run(self) -> None:
        self._left = self._turns.get()
        if not self._left:
            return
        try:
            self._trainer().train()
        except BaseException as error:  # handed to the thread that asked for the steps
            self._done.put(error)

    def _after_step(self) -> bool:
        """Whether to end."""
        self._left -= 1
        if self._left == 0:
            self._done.put(None)
            self._left = self._turns.get()
        return self._left == 0

    def _trainer(self) -> Any:
        from accelerate.state import AcceleratorState  # type: ignore[import-untyped]
        from transformers import Trainer, TrainerCallback, TrainingArguments

        # what the last Trainer of this process set for itself it would hand on to the next
        AcceleratorState._reset_state(reset_partial_state=True)
        for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
            del os.environ[name]
        ends = self._after_step

        class Turns(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
                control.should_training_stop = ends()

        arguments = TrainingArguments(
            output_dir=tempfile.gettempdir(),
            per_device_train_batch_size=self._rows,
            max_steps=ENDLESS,
            train_sampling_strategy="sequential",
            use_cpu=True,
            dataloader_pin_memory=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            eval_strategy="no",
            disable_tqdm=True,
            **self._options,
        )
        rows = [{"input_ids": window, "labels": window} for window in self._windows]
        return Trainer(model=self._model, args=arguments, train_dataset=rows, callbacks=[Turns()])
