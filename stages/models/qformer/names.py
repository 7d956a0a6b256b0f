"""The Q-Former's weights under the names of transformers' `Blip2ForImageTextRetrieval`, of LAVIS, and of BERT.

Pure functions of state dicts: no value changes, so a way there and back gives the same bits. What a format has no
place for is told by the function that writes it; what a checkpoint lacks is absent from what is read of it.

Sources: `transformers/models/blip_2/modeling_blip_2.py`; LAVIS, `lavis/models/blip2_models/{blip2_qformer,Qformer}.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]

_MODULES = (
    ("vision_norm", "vision_model.post_layernorm", "ln_vision"),
    ("words", "embeddings.word_embeddings", "Qformer.bert.embeddings.word_embeddings"),
    ("positions", "embeddings.position_embeddings", "Qformer.bert.embeddings.position_embeddings"),
    ("embedding_norm", "qformer.layernorm", "Qformer.bert.embeddings.LayerNorm"),
    ("image_projection", "vision_projection", "vision_proj"),
    ("text_projection", "text_projection", "text_proj"),
    ("match_head", "itm_head", "itm_head"),
    ("word_transform", None, "Qformer.cls.predictions.transform.dense"),
    ("word_norm", None, "Qformer.cls.predictions.transform.LayerNorm"),
)
"""Modules with a weight, a bias or both: ours, transformers' and LAVIS's; None where there is no such thing."""

_LAYER_MODULES = (
    ("attention.query", "attention.attention.query", "attention.self.query"),
    ("attention.key", "attention.attention.key", "attention.self.key"),
    ("attention.value", "attention.attention.value", "attention.self.value"),
    ("attention.output", "attention.output.dense", "attention.output.dense"),
    ("attention.norm", "attention.output.LayerNorm", "attention.output.LayerNorm"),
    ("image_attention.query", "crossattention.attention.query", "crossattention.self.query"),
    ("image_attention.key", "crossattention.attention.key", "crossattention.self.key"),
    ("image_attention.value", "crossattention.attention.value", "crossattention.self.value"),
    ("image_attention.output", "crossattention.output.dense", "crossattention.output.dense"),
    ("image_attention.norm", "crossattention.output.LayerNorm", "crossattention.output.LayerNorm"),
    ("query_feed_forward.body.0", "intermediate_query.dense", "intermediate_query.dense"),
    ("query_feed_forward.body.2", "output_query.dense", "output_query.dense"),
    ("query_feed_forward.norm", "output_query.LayerNorm", "output_query.LayerNorm"),
    ("text_feed_forward.body.0", "intermediate.dense", "intermediate.dense"),
    ("text_feed_forward.body.2", "output.dense", "output.dense"),
    ("text_feed_forward.norm", "output.LayerNorm", "output.LayerNorm"),
)
"""The same below `layers.N`, `qformer.encoder.layer.N` and `Qformer.bert.encoder.layer.N`."""

_PARAMETERS = (
    ("queries", "query_tokens", "query_tokens"),
    ("word_bias", None, "Qformer.cls.predictions.bias"),
    ("temperature", None, "temp"),
)
"""Parameters that belong to no module."""

_LAYER = re.compile(r"(?:layers|qformer\.encoder\.layer|Qformer\.bert\.encoder\.layer)\.(\d+)\.")
_POSITIONS = "Qformer.bert.embeddings.position_embeddings.weight"
BERT_POSITIONS = 512
"""LAVIS builds every text model with BERT's number of positions, whatever it is trained on."""


def to_transformers(state: State) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights for `Blip2ForImageTextRetrieval`, and those under our names that it has no place for.

    It has no head that says the next word, and no temperature: it gives cosines as they are.
    """
    names = _names(state, lavis=False)
    rest = {name: value for name, value in state.items() if name not in names}
    return {names[name]: value for name, value in state.items() if name in names}, rest


def from_transformers(state: State) -> dict[str, Tensor]:
    """The weights of a `Blip2ForImageTextRetrieval` under our names; its image tower is left out."""
    return {ours: state[theirs] for ours, theirs in _names(state, lavis=False).items() if theirs in state}


def to_lavis(state: State) -> dict[str, Tensor]:
    """The weights as LAVIS's `blip2` model names them, with what its `state_dict` says twice.

    Positions that were never trained are zero.
    """
    named = {theirs: state[ours] for ours, theirs in _names(state, lavis=True).items() if ours in state}
    missing = BERT_POSITIONS - len(named[_POSITIONS])
    if missing > 0:
        row = named[_POSITIONS].new_zeros(missing, named[_POSITIONS].shape[1])
        named[_POSITIONS] = torch.cat([named[_POSITIONS], row])
    return named | {
        "Qformer.bert.embeddings.position_ids": torch.arange(len(named[_POSITIONS]))[None],
        "Qformer.cls.predictions.decoder.weight": state["words.weight"],
        "Qformer.cls.predictions.decoder.bias": state["word_bias"],
    }


def from_lavis(state: State) -> dict[str, Tensor]:
    """The weights of a LAVIS stage-1 checkpoint under our names; its image tower is left out.

    It may have more positions than were trained.
    """
    return {ours: state[theirs] for ours, theirs in _names(state, lavis=True).items() if theirs in state}


def from_bert(state: State) -> dict[str, Tensor]:
    """What a Q-Former takes over from BERT (`BertForMaskedLM`), under our names.

    The queries' feed-forward begins as a copy of the text's. BERT's token types are left out, as in LAVIS.
    """
    found = from_lavis({f"Qformer.{name}": value for name, value in state.items()})
    copies = {name.replace("text_", "query_"): value for name, value in found.items() if ".text_feed_forward." in name}
    return found | copies


def _names(state: State, *, lavis: bool) -> dict[str, str]:
    """Their name of each of our parameters; a state of either side says how many layers there are."""
    layer = "Qformer.bert.encoder.layer" if lavis else "qformer.encoder.layer"
    modules = [
        *_MODULES,
        *(
            (f"layers.{number}.{ours}", f"{layer}.{number}.{hf}", f"{layer}.{number}.{theirs}")
            for number in range(_layers(state))
            for ours, hf, theirs in _LAYER_MODULES
        ),
    ]
    parameters = [
        (f"{ours}.{leaf}", hf and f"{hf}.{leaf}", f"{theirs}.{leaf}")
        for ours, hf, theirs in modules
        for leaf in ("weight", "bias")
    ]
    pairs = ((ours, theirs if lavis else hf) for ours, hf, theirs in (*_PARAMETERS, *parameters))
    return {ours: theirs for ours, theirs in pairs if theirs is not None}


def _layers(state: State) -> int:
    """How many layers the Q-Former has, under anybody's names."""
    return 1 + max((int(found[1]) for name in state if (found := _LAYER.match(name))), default=-1)
