"""BLIP-2's image-text matching head (`Blip2ForImageTextRetrieval`): the probability that a text describes an image."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from transformers import BertTokenizer, Blip2ForImageTextRetrieval
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.models.blip_2.configuration_blip_2 import Blip2QFormerConfig

from stages.contract import Dtype
from stages.errors import UserError
from stages.models.blip.checkpoint import Blip, load_blip
from stages.models.blip.text import QFORMER_MAX_WORDS, clean
from stages.models.blip.vision import BlipVision
from stages.models.device import autocast, torch_dtype
from stages.models.family import ModelName
from stages.models.matching import Texts, match_probabilities
from stages.models.qformer.layers import BERT_EPSILON
from stages.models.qformer.model import QFormer, QFormerConfig, Text
from stages.models.qformer.names import from_transformers
from stages.models.qformer.retriever import QFormerRetriever

MAX_TOKENS: Final = 32
"""Tokens of a text, marks included, that BLIP-2's matching reads (LAVIS's blip2_image_text_matching)."""
PAIRS_AT_ONCE: Final = 64
"""Pairs per pass of the Q-Former, of similar lengths; what each of them sees of its image takes some 10 MB."""
_WRITER: Final = ("word_transform", "word_norm", "word_bias", "temperature")
"""What a matching model has no place for: the head that says the next word, and the temperature."""


class Blip2Scorer:
    """Matches cleaned texts with images. The Q-Former computes in float32, or with bfloat16 where that is safe."""

    def __init__(self, vision: BlipVision, qformer: QFormer, blip: Blip[Any], dtype: Dtype) -> None:
        self._vision = vision
        self._qformer = qformer
        self._tokenizer: BertTokenizer = blip.tokenizer
        self._vocabulary = qformer.config.vocabulary
        self._most_tokens = min(MAX_TOKENS, qformer.config.max_text_tokens)
        self._dtype = dtype
        self.preprocess = blip.preprocess

    def prepare(self, text: str) -> str:
        """BLIP's cleaning with BLIP-2's number of words; of a text without a word it leaves "", scored like any."""
        return clean(text, QFORMER_MAX_WORDS)

    def score(self, pixels: Tensor, texts: Texts) -> list[list[float]]:
        """The probability of "match", in [0, 1], of every text of every image; NaN where a logit is not finite."""
        return match_probabilities(self.logits, pixels, texts)

    @torch.inference_mode()
    def logits(self, pixels: Tensor, texts: Texts) -> Tensor:
        """The matching head's logits of all texts, one image's after the other's: (texts, 2), float32.

        An image is encoded once, and its keys and values are made once, however many texts it has.
        """
        tokens = self._vision.tokens(pixels)
        text = self._tokens([one for said in texts for one in said]).to(tokens.device)
        counts = torch.tensor([len(said) for said in texts], device=tokens.device)
        image = torch.repeat_interleave(torch.arange(len(texts), device=tokens.device), counts)
        logits = torch.empty(len(text.ids), 2, device=tokens.device)
        with autocast(self._dtype, tokens.device):
            seen = self._qformer.look(tokens)
            for pairs in torch.split(text.real.sum(dim=1).argsort(), PAIRS_AT_ONCE):
                asked = Text(text.ids[pairs], text.real[pairs])
                found = self._qformer.match(seen.pick(image[pairs]), asked.cut(int(asked.longest)))
                logits[pairs] = found.float()
        return logits

    def retriever(self) -> QFormerRetriever:
        """The same model as it retrieves."""
        return QFormerRetriever(
            self._qformer,
            self._vision.tokens,
            lambda texts: self._tokens([self.prepare(text) for text in texts]),
            self.preprocess,
            self._dtype,
        )

    def _tokens(self, texts: list[str]) -> Text:
        found = self._tokenizer(texts, padding=True, truncation=True, max_length=self._most_tokens, return_tensors="pt")
        ids = found["input_ids"]
        unknown = self._tokenizer.unk_token_id
        assert isinstance(unknown, int)
        known = ids < self._vocabulary  # a text may hold the word `<image>`, which the processor adds as a placeholder
        return Text(ids.where(known, unknown), found["attention_mask"].bool())


def load_itm(name: ModelName, dtype: Dtype, device: torch.device) -> Blip2Scorer:
    """Load BLIP-2's matching model.

    Raises:
        UserError: there is no such model, or its Q-Former is of another shape than BERT's.
    """
    source = name.source()
    blip = load_blip(
        Blip2ForImageTextRetrieval,
        source,
        "a BLIP-2 matching model",
        "float32",
        torch.device("cpu"),
        AutoImageProcessor,
    )
    vision = BlipVision(blip.model.vision_model).to(device, torch_dtype(dtype))
    try:
        qformer = _qformer(blip.model).to(device)
    except ValueError as error:
        raise UserError(f"{name.key}: the Q-Former of '{source.location}' is not BLIP-2's: {error}") from None
    return Blip2Scorer(vision, qformer, blip, dtype)


def load_retriever(name: ModelName, dtype: Dtype, device: torch.device) -> QFormerRetriever:
    """Load BLIP-2's matching model, which embeds as well.

    Raises:
        UserError: as `load_itm`.
    """
    return load_itm(name, dtype, device).retriever()


def _qformer(model: Blip2ForImageTextRetrieval) -> QFormer:
    """The same weights in our Q-Former, which makes an image's keys and values once."""
    whole: Any = model.config
    config: Blip2QFormerConfig = whole.qformer_config
    if (config.hidden_act, config.layer_norm_eps) != ("gelu", BERT_EPSILON):
        raise ValueError(f"hidden_act {config.hidden_act}, layer_norm_eps {config.layer_norm_eps}")
    qformer = QFormer(
        QFormerConfig(
            vocabulary=config.vocab_size,
            vision_width=whole.vision_config.hidden_size,
            queries=whole.num_query_tokens,
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            projection=whole.image_text_hidden_size,
            max_text_tokens=config.max_position_embeddings,
            image_every=config.cross_attention_frequency,
            inner=config.intermediate_size,
        )
    )
    qformer.vision_norm.eps = whole.vision_config.layer_norm_eps  # transformers has one for all of the tower
    missing, _ = qformer.load_state_dict(from_transformers(model.state_dict()), strict=False)
    if lacking := [name for name in missing if not name.startswith(_WRITER)]:
        raise ValueError(f"it lacks {lacking[0]}; use_qformer_text_input must be true in its config.json")
    return qformer.eval()
