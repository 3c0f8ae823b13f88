"""A model built by transformers from a checkpoint folder, what is wrong with the folder told in one line."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from pliant.checkpoints.about import CheckpointError


def from_pretrained(folder: Path, *, allow_pickle: bool, trust_remote_code: bool) -> Any:
    """The model in fp32, every one of its tensors read from `folder`.

    Memory: from fp32 safetensors the tensors stay mapped to the file until they are written to, so its peak is one
    model; half precision is converted, its peak one model in fp32 and the mapped file.

    Raises:
        CheckpointError: no causal language model; its own code not allowed; tensors missing, unexpected, misshapen.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        with _quiet():
            model, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=None if allow_pickle else True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=trust_remote_code,  # never None, which asks on the terminal
            )
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder}: model.safetensors is damaged or cut short ({error}); fetch it again"
        ) from error
    except UnpicklingError as error:
        raise CheckpointError(
            f"{folder}: its pickled weights hold more than tensors, which would run code; convert them to safetensors "
            "where they come from"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(_why_not(folder, error, trust_remote_code)) from error
    refuse_other_tensors(folder, found)
    return model


def unfilled(folder: Path) -> Any | None:
    """The model that `from_pretrained` builds for `folder`, in fp32, its trained tensors not yet given any value.

    None where more than config.json and generation_config.json decides what is built (code of its own, quantised
    weights, an adapter), and where it does not build, for `from_pretrained` to say why.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.initialization import no_init_weights

    if (folder / "adapter_config.json").is_file():
        return None
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if hasattr(config, "auto_map") or getattr(config, "quantization_config", None) is not None:
            return None
        with no_init_weights():
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError):
        return None
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model.eval()


def without_weights(folder: Path, *, trust_remote_code: bool) -> Any:
    """The model that `folder` describes, in evaluation mode, with parameters on the meta device: shapes, no values.

    Buffers are real, since what the config determines (rotary frequencies) is in no file. Takes no memory of the size
    of a parameter: each is let go, untouched, as soon as its module has it.

    Raises:
        CheckpointError: no causal language model; its own code not allowed.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with _quiet(), _parameters_on_meta():
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(_why_not(folder, error, trust_remote_code)) from error
    return model.eval()


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Within, a module keeps the shape of a parameter that it is given; a parameter that two modules share stays one.

    As accelerate's init_empty_weights does: `torch.device("meta")` would take the values of buffers too.
    """
    from torch import nn

    register = nn.Module.register_parameter

    def on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.detach().to("meta"), requires_grad=param.requires_grad)
        register(self, name, param)

    nn.Module.register_parameter = on_meta  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _why_not(folder: Path, error: Exception, trust_remote_code: bool) -> str:
    if not trust_remote_code and "`trust_remote_code=True`" in str(error):
        return (
            f"{folder}: its config.json names model code of its own (auto_map), which runs when it is opened; "
            "read that code, then set trust_remote_code: true if you trust its source"
        )
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{folder} does not open as a causal language model ({first}); mend its config.json, or fetch it again"


def refuse_other_tensors(folder: Path, found: Mapping[str, Collection[Any]]) -> None:
    """Stop where tensors are `missing_keys`, `unexpected_keys`, or `mismatched_keys`: (name, stored, expected shape).

    Raises:
        CheckpointError: there are any.
    """
    wrong = [f"{name} is missing" for name in sorted(found["missing_keys"])]
    wrong += [f"{name} is not expected" for name in sorted(found["unexpected_keys"])]
    wrong += [
        f"{name} has shape {tuple(stored)} instead of {tuple(expected)}"
        for name, stored, expected in sorted(found["mismatched_keys"])
    ]
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{folder}: config.json and the tensors disagree ({wrong[0]}{more}); "
            "the folder mixes two models, fetch it again"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar and loading report: what is wrong becomes one line of ours."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
