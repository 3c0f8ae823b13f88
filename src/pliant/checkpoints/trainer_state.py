"""What the Hugging Face Trainer wrote beside a checkpoint: `trainer_state.json`."""

import json
from pathlib import Path

from pliant.checkpoints.about import About, CheckpointError

TRAINER_FILE = "trainer_state.json"


def read_trainer_state(folder: Path) -> About:
    """Step, epochs, learning rate of the last logged update, and tokens where the Trainer was told to count them.

    `num_input_tokens_seen` stays 0 without `include_num_input_tokens_seen`: that is unknown, not zero.

    Raises:
        CheckpointError: the file is there and is not what the Trainer writes.
    """
    path = folder / TRAINER_FILE
    if not path.is_file():
        return About()
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        rates = [entry["learning_rate"] for entry in state.get("log_history", ()) if "learning_rate" in entry]
        return About(
            step=int(state["global_step"]),
            tokens=int(state.get("num_input_tokens_seen") or 0) or None,
            epochs=None if state.get("epoch") is None else float(state["epoch"]),
            learning_rate=float(rates[-1]) if rates else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); mend it, or delete it to go without") from error
