"""The trained weights in the package glassllm as a Llama folder: real weights that are not ours, without a download.

glassllm (MIT) is a Transformer in NumPy with two trained models of 852,608 parameters, English and Portuguese, stored
in half precision: RMSNorm, grouped queries, rotation of adjacent pairs, SwiGLU, a tied head, BPE over characters.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_NAMES = {
    "norm1.gamma": "input_layernorm",
    "norm2.gamma": "post_attention_layernorm",
    "attn.W_Q": "self_attn.q_proj",
    "attn.W_K": "self_attn.k_proj",
    "attn.W_V": "self_attn.v_proj",
    "attn.W_O": "self_attn.o_proj",
    "ffn.W1": "mlp.gate_proj",
    "ffn.W3": "mlp.up_proj",
    "ffn.W2": "mlp.down_proj",
}


def save_as_llama(theirs: Any, vocabulary: Any, folder: Path) -> Path:
    """Write what `glassllm.load_pretrained` gives as a folder that `AutoModelForCausalLM` and `AutoTokenizer` open."""
    model = LlamaForCausalLM(_config(theirs.cfg, theirs.blocks[0].ffn.W1.data.shape[1]))
    tensors = _tensors(theirs)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    model.load_state_dict(tensors)
    model.half().save_pretrained(folder)
    _tokenizer(vocabulary).save_pretrained(folder)
    return folder


def _config(theirs: Any, feed_forward: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=theirs.vocab_size,
        hidden_size=theirs.d_model,
        intermediate_size=feed_forward,
        num_hidden_layers=theirs.n_layers,
        num_attention_heads=theirs.n_heads,
        num_key_value_heads=theirs.n_kv_heads,
        max_position_embeddings=theirs.max_len,
        rope_parameters={"rope_type": "default", "rope_theta": theirs.rope_base},
        rms_norm_eps=theirs.eps,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )


def _tensors(theirs: Any) -> dict[str, torch.Tensor]:
    found = {"model.embed_tokens.weight": theirs.E.data, "model.norm.weight": theirs.norm_f.gamma.data}
    half = theirs.cfg.d_model // theirs.cfg.n_heads // 2
    for layer, block in enumerate(theirs.blocks):
        for name, parameter in block.named_parameters().items():
            weights = parameter.data.T  # a matrix here is (outputs, inputs)
            if name in ("attn.W_Q", "attn.W_K"):
                weights = _halves_for_pairs(weights, half)
            found[f"model.layers.{layer}.{_NAMES[name]}.weight"] = weights
    return {name: torch.from_numpy(np.ascontiguousarray(weights)) for name, weights in found.items()}


def _halves_for_pairs(weights: np.ndarray, half: int) -> np.ndarray:
    """Rows of each head reordered: Llama rotates coordinate i with i + half, glassllm 2 i with 2 i + 1."""
    return weights.reshape(-1, half, 2, weights.shape[1]).swapaxes(1, 2).reshape(weights.shape)


def _tokenizer(theirs: Any) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE(dict(theirs.token_to_id), theirs.merges, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|▁*[^▁\n]+|▁+"), behavior="isolated")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
