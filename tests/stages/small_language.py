"""Small language models with random weights, saved as transformers saves them: OPT, GPT-2 without a begin, and T5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from small_models import IMAGE_SIZE, TEXT, roughen
from tokenizers import pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipImageProcessor,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

UNSAID = {"opt": 3, "t5": 58}
"""A token that no text has, by the small model's name: it stands where an image is read."""
MARKS = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = sorted({*TEXT.split(), "white", "pink", "cyan", "black"})


def save_opt(folder: Path, **changes: Any) -> PreTrainedModel:
    """As OPT: every text begins with </s>, as its published tokenizer has it."""
    tokenizer = _bytes(
        {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}, begin=True
    )
    sizes = {"hidden_size": 24, "word_embed_proj_dim": 24, "ffn_dim": 40, "num_hidden_layers": 2}
    config = OPTConfig(
        vocab_size=len(tokenizer),
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=1,
        bos_token_id=2,
        eos_token_id=2,
        **(sizes | changes),
    )
    return _save(OPTForCausalLM(config), tokenizer, folder)


def save_gpt2(folder: Path) -> PreTrainedModel:
    """As GPT-2: nothing begins a text."""
    tokenizer = _bytes({"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>"}, begin=False)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=48, n_embd=24, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=2
    )
    return _save(GPT2LMHeadModel(config), tokenizer, folder)


def save_t5(folder: Path, **changes: Any) -> PreTrainedModel:
    """As FlanT5: a gated feed-forward, and a head of its own."""
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [("▁", -4.0), *((letter, -6.0) for letter in "abcdefghijklmnopqrstuvwxyz?")]
    tokenizer = T5Tokenizer(vocab=[*marks, *letters, *((f"▁{word}", -3.0) for word in WORDS)], extra_ids=0)
    sizes = {"d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4}
    config = T5Config(
        vocab_size=len(tokenizer) + 4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        **(sizes | changes),
    )
    model = T5ForConditionalGeneration(config)
    model.lm_head.weight.data.mul_(0.2)  # else it is sure of what it says
    return _save(model, tokenizer, folder)


def _bytes(marks: dict[str, str], *, begin: bool) -> GPT2Tokenizer:
    """A byte-level tokenizer that knows a few words as a whole."""
    vocabulary = {mark: number for number, mark in enumerate([*MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    merges = []
    for word in WORDS:
        made = "Ġ"
        for letter in word:
            if made + letter not in vocabulary:
                vocabulary[made + letter] = len(vocabulary)
                merges.append((made, letter))
            made += letter
    return GPT2Tokenizer(vocab=vocabulary, merges=merges, add_bos_token=begin, **marks)


def _save(model: PreTrainedModel, tokenizer: Any, folder: Path) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():  # large enough that what is read changes what is said visibly
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["architectures"] == [type(model).__name__]
    return model.eval()


def save_blip2_captioner(folder: Path, llm: Path) -> Blip2ForConditionalGeneration:
    """As `Salesforce/blip2-opt-2.7b` and its like, on a small language model."""
    language: Any = (AutoModelForSeq2SeqLM if llm.name == "t5" else AutoModelForCausalLM).from_pretrained(llm)
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    qformer = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 100}
    config = Blip2Config(
        vision_config=vision | {"image_size": IMAGE_SIZE, "patch_size": 8},
        qformer_config=qformer | {"encoder_hidden_size": 32},
        text_config=language.config.to_dict(),
        num_query_tokens=5,
        image_token_index=UNSAID[llm.name],
    )
    model = Blip2ForConditionalGeneration(config)
    roughen(model, seed=8)
    model.language_model.load_state_dict(language.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(llm).save_pretrained(folder)
    BlipImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}).save_pretrained(folder)
    return model.eval()
