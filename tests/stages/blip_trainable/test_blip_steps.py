"""Two steps of every task against the same written down plainly: losses, gradients, queue, slow copies and weights."""

from __future__ import annotations

import naive_blip
import pytest
import torch
from naive_blip import LOOK, START, WIDTH, Naive
from small_blip import (
    assert_close,
    assert_same_gradients,
    assert_same_state,
    begin_as,
    config,
    make_batch,
    make_texts,
    optimiser,
    ours,
)

from stages.models.blip.trainable.both import BothBatch, CaptioningRetrieval
from stages.models.blip.trainable.captioning import Captioning, CaptioningBatch
from stages.models.blip.trainable.pretraining import LossWeights, Pretraining
from stages.models.blip.trainable.reading import Look
from stages.models.blip.trainable.retrieval import Retrieval
from stages.models.blip.trainable.texts import Texts
from stages.models.blip.trainable.vqa import Vqa, VqaBatch


@pytest.mark.parametrize(
    ("sharing", "alpha", "temperature", "weights"),
    [
        ("all but self-attention", 0.4, 0.07, (1.0, 1.0, 1.0)),
        ("all but self-attention", 0.0, 1e-5, (1.0, 1.0, 1.0)),
        ("all", 0.3, 0.9, (1.0, 1.0, 1.0)),
        ("all but cross-attention", 0.4, 0.07, (1.0, 1.0, 1.0)),
        ("none", 0.4, 0.07, (0.5, 2.0, 3.0)),
    ],
)
def test_pretraining_is_what_it_is_plainly(sharing, alpha, temperature, weights):
    naive = Naive(sharing)
    naive.temp.data.fill_(temperature)
    naive.pointer[0] = 12  # the second step writes where the queue begins
    objective = begin_as(naive, Pretraining(config(sharing), LossWeights(*weights)))
    rules = optimiser(naive), optimiser(objective)
    for step in range(2):
        batch = make_batch(step, alpha=alpha)
        (wanted,) = naive_blip.pretraining(naive, [batch | {"weights": weights}])
        found = objective(ours(batch))
        for name in ("loss", "itc", "itm", "lm"):
            assert_close(getattr(found, name), wanted[name], name)
        for rule, result in zip(rules, (wanted["loss"], found.loss), strict=True):
            rule.zero_grad()
            result.backward()
        assert_same_gradients(objective, naive)
        for rule in rules:
            rule.step()
        assert_same_state(objective, naive)
    assert int(objective.queue_ptr) == 4


def test_retrieval_is_what_it_is_plainly_with_images_that_come_twice():
    naive = Naive("none")
    objective = begin_as(naive, Retrieval(config()), retrieval=True)
    rules = optimiser(naive), optimiser(objective)
    for step, ids in enumerate([[5, 7, 5, 8], [7, 7, 7, 7]]):  # in the second step no negative may be drawn
        batch = make_batch(step, ids)
        (wanted,) = naive_blip.retrieval(naive, [batch], across=True)
        found = objective(ours(batch))
        for name in ("loss", "itc", "itm"):
            assert_close(getattr(found, name), wanted[name], name)
        for rule, result in zip(rules, (wanted["loss"], found.loss), strict=True):
            rule.zero_grad()
            result.backward()
        assert_same_gradients(objective, naive)
        for rule in rules:
            rule.step()
        assert_same_state(objective, naive, retrieval=True)
    assert len(wanted["itm_logits"]) == 4


def test_logits_are_those_of_padded_passes():
    naive = Naive("all but self-attention")
    objective = begin_as(naive, Pretraining(config()))
    images, said = make_batch(0)["images"], make_texts(4, 5)
    texts, embeds = Texts.of(said), objective.see(images)
    assert_close(embeds, naive.see(naive.visual_encoder, images), "image tokens")
    assert_close(objective.visual_encoder.first(images), embeds[:, 0], "class token")
    look = Look(objective.text_encoder.look(embeds), [1] * 4)
    found = objective.itm_head(objective.text_encoder(texts.begin_with(LOOK), [look], first=True))
    assert_close(found, naive.itm_head(naive_blip.read(naive.text_encoder, said, LOOK, embeds)[:, 0]), "ITM")
    ids, real = naive_blip.padded(said, START)
    wanted = naive.text_decoder(ids, attention_mask=real, encoder_hidden_states=embeds, use_cache=False).logits
    rows = objective.text_decoder.bert(texts.begin_with(START), [look], causal=True)
    assert_close(objective.text_decoder.logits(rows), wanted[real.bool()], "next words")


@pytest.mark.parametrize("sharing", ["all but self-attention", "all but cross-attention"])
def test_both_in_one_is_retrieval_and_captioning_of_shared_weights(sharing):
    naive = Naive(sharing)
    objective = begin_as(naive, CaptioningRetrieval(config(sharing), prompt=3), retrieval=True)
    batch, captions = make_batch(0, [1, 2, 1, 3]), make_texts(4, 7)
    (wanted,) = naive_blip.retrieval(naive, [batch], across=False)
    lm = naive_blip.captioning(naive, batch | {"texts": captions}, 3)
    found = objective(BothBatch(ours(batch), Texts.of(captions)))
    for name, value in (wanted | {"lm": lm, "loss": wanted["loss"] + lm}).items():
        if name != "itm_logits":
            assert_close(getattr(found, name), value, name)
    (wanted["loss"] + lm).backward()
    found.loss.backward()
    assert_same_gradients(objective, naive)


@pytest.mark.parametrize("prompt", [1, 3])
def test_captioning_learns_nothing_of_the_prompt(prompt):
    naive = Naive("none")
    objective = begin_as(naive, Captioning(config(), prompt))
    batch = make_batch(0) | {"texts": [[2, 9, 3], *make_texts(3, 1)]}  # the first is nearly all prompt
    wanted = naive_blip.captioning(naive, batch, prompt)
    found = objective(CaptioningBatch(batch["images"], Texts.of(batch["texts"])))
    assert_close(found.loss, wanted, "loss")
    wanted.backward()
    found.loss.backward()
    assert_same_gradients(objective, naive)


def test_questions_and_their_answers_are_what_they_are_plainly():
    naive = Naive("none", decoder_sees=WIDTH)
    objective = begin_as(naive, Vqa(config()))
    batch = {
        "images": make_batch(3, size=3)["images"],
        "questions": make_texts(3, 1),
        "answers": make_texts(4, 2),
        "answers_of": (1, 2, 1),
        "weights": torch.tensor([1.0, 0.3, 0.6, 0.2], dtype=torch.float64),
    }
    wanted = naive_blip.vqa(naive, batch)
    questions = Texts.of(batch["questions"])
    parts = batch | {"questions": questions, "answers": Texts.of(batch["answers"])}
    found = objective(VqaBatch(**parts))
    assert_close(found.loss, wanted, "loss")
    wanted.backward()
    found.loss.backward()
    assert_same_gradients(objective, naive)
    answers = make_texts(12, 4)
    ranked = objective.rank_answers(batch["images"], questions, Texts.of(answers), 5)
    assert ranked.tolist() == naive_blip.rank_answers(naive, batch, answers, 5)
