"""BLIP's training written down plainly, in float64: transformers' modules, padded passes, repeated images, loops.

Nothing of it is shared with what it checks. A step is computed for all workers at once, one after the other.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel, BlipTextModel

PAD, CLS, SEP, START, LOOK = 0, 1, 2, 38, 39
VOCABULARY, WIDTH, VISION_WIDTH, PROJECTION, QUEUE, LONGEST = 40, 16, 24, 8, 16, 9
MOMENTUM, SMOOTHING = 0.9, 0.1
ONE_OF = {
    "all but self-attention": lambda name: ".attention." not in name,
    "all but cross-attention": lambda name: ".crossattention." not in name,
    "all": lambda name: True,
    "none": lambda name: False,
}


def text_config(encoder_width: int) -> BlipTextConfig:
    return BlipTextConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, encoder_hidden_size=encoder_width, intermediate_size=32,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=12, hidden_act="gelu", layer_norm_eps=1e-12,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=PAD, bos_token_id=START,
        sep_token_id=SEP, is_decoder=True, use_cache=False,
    )  # fmt: skip


def vision_model() -> BlipVisionModel:
    return BlipVisionModel(
        BlipVisionConfig(
            hidden_size=VISION_WIDTH, intermediate_size=48, num_hidden_layers=2, num_attention_heads=3,
            image_size=12, patch_size=4, hidden_act="gelu", layer_norm_eps=1e-6,
        )
    )  # fmt: skip


def one(decoder: nn.Module, encoder: nn.Module, shared: Any) -> None:
    """The encoder's weights become the decoder's."""
    for name, value in list(decoder.named_parameters(remove_duplicate=False)):
        if shared(name):
            *path, last = name.split(".")
            setattr(encoder.get_submodule(".".join(path)), last, value)


class Naive(nn.Module):
    """All parts of all tasks; a step uses some of them."""

    def __init__(self, sharing: str, decoder_sees: int = VISION_WIDTH, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.visual_encoder = vision_model()
        self.text_encoder = BlipTextModel(text_config(VISION_WIDTH), add_pooling_layer=False)
        self.vision_proj, self.text_proj = nn.Linear(VISION_WIDTH, PROJECTION), nn.Linear(WIDTH, PROJECTION)
        self.itm_head = nn.Linear(WIDTH, 2)
        self.text_decoder = BlipTextLMHeadModel(text_config(decoder_sees))
        self.text_decoder.cls.predictions.decoder.weight = self.text_decoder.bert.embeddings.word_embeddings.weight
        self.text_decoder.cls.predictions.decoder.bias = self.text_decoder.cls.predictions.bias
        self.temp = nn.Parameter(torch.tensor(0.07))
        self.double()
        with torch.no_grad():
            for value in self.parameters():
                if value.ndim:
                    value.add_(0.2 * torch.randn_like(value))
        for name in ("visual_encoder", "text_encoder", "vision_proj", "text_proj"):
            setattr(self, f"{name}_m", deepcopy(getattr(self, name)).requires_grad_(requires_grad=False))
        one(self.text_decoder.bert, self.text_encoder, ONE_OF[sharing])
        for name in ("image_queue", "text_queue"):
            columns = torch.randn(PROJECTION, QUEUE, dtype=torch.float64)
            self.register_buffer(name, columns / columns.norm(dim=0))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("ids_queue", torch.full((1, QUEUE), -100))

    def see(self, tower: Any, images: Tensor) -> Tensor:
        return tower(pixel_values=images).last_hidden_state

    def follow(self) -> None:
        for name in ("visual_encoder", "text_encoder", "vision_proj", "text_proj"):
            for slow, fast in zip(
                getattr(self, f"{name}_m").parameters(), getattr(self, name).parameters(), strict=True
            ):
                slow.data = slow.data * MOMENTUM + fast.data * (1 - MOMENTUM)


def padded(texts: list[list[int]], first: int | None = None) -> tuple[Tensor, Tensor]:
    """To LONGEST columns, as BLIP pads to 30; and which of them are real."""
    rows = [[first or text[0], *text[1:], *[PAD] * (LONGEST - len(text))] for text in texts]
    ids = torch.tensor(rows)
    return ids, (ids != PAD).long()


def normal(rows: Tensor) -> Tensor:
    return rows / rows.pow(2).sum(-1, keepdim=True).sqrt()


def shares(numbers: Tensor) -> Tensor:
    exponents = (numbers - numbers.max()).exp()
    return exponents / exponents.sum()


def draw(weights: list[float], uniform: float) -> int | None:
    reached, total = 0.0, sum(weights)
    for column, weight in enumerate(weights):
        reached += weight
        if weight and reached > uniform * total:
            return column
    return None


def read(encoder: Any, texts: list[list[int]], first: int | None = None, embeds: Tensor | None = None) -> Tensor:
    ids, real = padded(texts, first)
    sight = None if embeds is None else torch.ones(embeds.shape[:2], dtype=torch.long)
    return encoder(
        ids, attention_mask=real, encoder_hidden_states=embeds, encoder_attention_mask=sight, is_decoder=False
    ).last_hidden_state


def say(decoder: Any, texts: list[list[int]], embeds: Tensor, sight: Tensor, prompt: int = 1) -> list[list[Tensor]]:
    """The smoothed loss of every predicted token of every text, and its row of logits beside it."""
    ids, real = padded(texts, START)
    logits = decoder(
        ids, attention_mask=real, encoder_hidden_states=embeds, encoder_attention_mask=sight, use_cache=False
    ).logits
    told = []
    for row, text in enumerate(texts):
        told.append([])
        for token in range(max(1, prompt), len(text)):
            exponents = logits[row, token - 1].exp()
            log_probability = (exponents / exponents.sum()).log()
            own = log_probability[text[token]]
            told[-1].append(-(1 - SMOOTHING) * own - SMOOTHING * log_probability.mean())
    return told


def ones(embeds: Tensor) -> Tensor:
    return torch.ones(embeds.shape[:2], dtype=torch.long)


def contrast(naive: Naive, batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Clamp, follow, ITC of every worker, then the queue."""
    naive.temp.data.clamp_(0.001, 0.5)
    naive.follow()
    found = []
    for batch in batches:
        embeds = naive.see(naive.visual_encoder, batch["images"])
        images = normal(naive.vision_proj(embeds[:, 0]))
        texts = normal(naive.text_proj(read(naive.text_encoder, batch["texts"])[:, 0]))
        with torch.no_grad():
            slow_images = normal(naive.vision_proj_m(naive.see(naive.visual_encoder_m, batch["images"])[:, 0]))
            slow_texts = normal(naive.text_proj_m(read(naive.text_encoder_m, batch["texts"])[:, 0]))
        losses, ways = [], []
        for own, slow, other, queue in (
            (images, slow_images, slow_texts, naive.text_queue),
            (texts, slow_texts, slow_images, naive.image_queue),
        ):
            columns = torch.cat([other, queue.T.clone()])
            sims = torch.stack([torch.stack([(row * column).sum() for column in columns]) for row in own]) / naive.temp
            for row in range(len(own)):
                slow_sims = (columns @ slow[row] / naive.temp).detach()
                soft = shares(slow_sims)
                hard = torch.zeros(len(columns), dtype=torch.float64)
                if "ids" in batch:
                    ids = torch.cat([batch["ids"], naive.ids_queue[0]])
                    hard[ids == batch["ids"][row]] = 1 / int((ids == batch["ids"][row]).sum())
                else:
                    hard[row] = 1
                target = batch["alpha"] * soft + (1 - batch["alpha"]) * hard
                losses.append(-(target * (sims[row] - sims[row].logsumexp(0))).sum())
            ways.append(sims)
        itc = sum(losses) / len(losses)
        slow = slow_images, slow_texts
        found.append({"itc": itc, "embeds": embeds, "own": (images, texts), "slow": slow, "ways": ways})
    start = int(naive.pointer)
    for number, (batch, one_) in enumerate((batch, got) for batch, got in zip(batches, found, strict=True)):
        for row in range(len(batch["texts"])):
            place = (start + number * len(batch["texts"]) + row) % QUEUE
            naive.image_queue[:, place] = one_["slow"][0][row]
            naive.text_queue[:, place] = one_["slow"][1][row]
            if "ids" in batch:
                naive.ids_queue[0, place] = batch["ids"][row]
    naive.pointer[0] = (start + sum(len(batch["texts"]) for batch in batches)) % QUEUE
    return found


def match(naive: Naive, pairs: list[tuple[Tensor, list[int], int]]) -> tuple[Tensor, Tensor]:
    """ITM over (image embeds, text, label); the loss, and the logits of index 1 less those of index 0."""
    logits = [
        naive.itm_head(read(naive.text_encoder, [text], LOOK, embeds[None])[:, 0])[0] for embeds, text, _ in pairs
    ]
    losses = [row.logsumexp(0) - row[label] for row, (_, _, label) in zip(logits, pairs, strict=True)]
    return sum(losses) / len(losses), torch.stack(logits)


def pretraining(naive: Naive, batches: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
    results = []
    for batch, found in zip(batches, contrast(naive, batches), strict=True):
        size, texts, embeds = len(batch["texts"]), batch["texts"], found["embeds"]
        pairs = [(embeds[row], texts[row], 1) for row in range(size)]
        for way in range(2):
            for row in range(size):
                weights = (shares(found["ways"][way][row, :size].detach()) + 1e-4).tolist()
                weights[row] = 0.0
                drawn = draw(weights, float(batch["uniforms"][way, row]))
                if drawn is not None:
                    pairs.append((embeds[row], texts[drawn], 0) if way == 0 else (embeds[drawn], texts[row], 0))
        itm, logits = match(naive, pairs)
        tokens = [token for text in say(naive.text_decoder, texts, embeds, ones(embeds)) for token in text]
        lm = sum(tokens) / len(tokens)
        weigh = batch.get("weights", (1.0, 1.0, 1.0))
        loss = weigh[0] * found["itc"] + weigh[1] * itm + weigh[2] * lm
        results.append({"loss": loss, "itc": found["itc"], "itm": itm, "lm": lm, "itm_logits": logits})
    return results


def retrieval(naive: Naive, batches: list[dict[str, Any]], across: bool) -> list[dict[str, Tensor]]:
    results, found = [], contrast(naive, batches)
    for worker, (batch, got) in enumerate(zip(batches, found, strict=True)):
        pool = range(len(batches)) if across else [worker]
        images, texts = (torch.cat([found[other]["own"][kind] for other in pool]).detach() for kind in range(2))
        embeds = torch.cat([found[other]["embeds"] for other in pool])
        said = [text for other in pool for text in batches[other]["texts"]]
        ids = torch.cat([batches[other]["ids"] for other in pool])
        own_embeds, own_texts = got["embeds"], batch["texts"]
        pairs = [(own_embeds[row], own_texts[row], 1) for row in range(len(own_texts))]
        for way, columns in enumerate((texts, images)):
            for row in range(len(own_texts)):
                weights = shares(columns @ got["own"][way][row].detach() / naive.temp.detach())
                weights[ids == batch["ids"][row]] = 0.0
                drawn = draw(weights.tolist(), float(batch["uniforms"][way, row]))
                if drawn is not None:
                    pairs.append((own_embeds[row], said[drawn], 0) if way == 0 else (embeds[drawn], own_texts[row], 0))
        itm, logits = match(naive, pairs)
        results.append({"loss": got["itc"] + itm, "itc": got["itc"], "itm": itm, "itm_logits": logits})
    return results


def captioning(naive: Naive, batch: dict[str, Any], prompt: int) -> Tensor:
    embeds = naive.see(naive.visual_encoder, batch["images"])
    told = say(naive.text_decoder, batch["texts"], embeds, ones(embeds), prompt)
    tokens = [token for text in told for token in text]
    return sum(tokens) / len(tokens)


def ask(naive: Naive, batch: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """Each question's states without padding, which transformers' cross-attention does not mask, and a mask of ones."""
    embeds = naive.see(naive.visual_encoder, batch["images"])
    states = read(naive.text_encoder, batch["questions"], LOOK, embeds)
    own = [rows[None, : len(question)] for rows, question in zip(states, batch["questions"], strict=True)]
    return [(rows, ones(rows)) for rows in own]


def vqa(naive: Naive, batch: dict[str, Any]) -> Tensor:
    sights = ask(naive, batch)
    answer, loss = 0, 0.0
    for question, number in enumerate(batch["answers_of"]):
        for _ in range(number):
            told = say(naive.text_decoder, [batch["answers"][answer]], *sights[question])
            loss = loss + float(batch["weights"][answer]) * sum(told[0])
            answer += 1
    return loss / len(batch["questions"])


def rank_answers(naive: Naive, batch: dict[str, Any], answers: list[list[int]], most: int) -> list[int]:
    best = []
    for sight in ask(naive, batch):
        start = naive.text_decoder(
            torch.tensor([[START]]), encoder_hidden_states=sight[0], encoder_attention_mask=sight[1], use_cache=False
        ).logits[0, 0]
        likely = sorted(range(len(answers)), key=lambda answer: -float(start[answers[answer][1]]))[:most]
        scores = {answer: -float(sum(say(naive.text_decoder, [answers[answer]], *sight)[0])) for answer in likely}
        best.append(max(scores, key=scores.__getitem__))
    return best
