"""Hugging Face's GPT-2 in the sizes of the work, for Hugging Face's Trainer and for Lightning."""

from __future__ import annotations

from transformers import GPT2Config, GPT2LMHeadModel
from work import Work


def gpt2(work: Work) -> GPT2LMHeadModel:
    """Return it freshly initialised, without dropout (hvdtrain's model has none) and with PyTorch's attention."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=work.vocab_size,
            n_positions=work.seq_len,
            n_embd=work.model["d_model"],
            n_layer=work.model["n_layers"],
            n_head=work.model["n_heads"],
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            bos_token_id=0,
            eos_token_id=0,
            attn_implementation="sdpa",
        )
    )
