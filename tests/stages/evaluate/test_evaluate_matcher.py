"""Retrieval by a BLIP matching model, beside a Q-Former and alone, against every pair computed by transformers."""

from __future__ import annotations

import io

import pytest
import shown
import small_models
import torch
from PIL import Image
from transformers import BertTokenizer, BlipForImageTextRetrieval, BlipImageProcessor

from stages.contract import CorpusJob, Wired
from stages.errors import UserError
from stages.evaluate.compute import Evaluate
from stages.evaluate.spec import TOLD, EvaluateRecipe, EvaluateRun, check

TOP_K = 10
RUN = EvaluateRun(device="cpu", threads=1, batch_size=7)


def evaluate(shards, recipe: EvaluateRecipe, tmp_path, results=None) -> list[dict]:
    work = CorpusJob(tuple(shards), str(tmp_path), tmp_path, results or {}, ("people",))
    return shown.recalls(Evaluate(recipe, RUN)(work).table)


@torch.no_grad()
def naive(described, folder) -> dict[tuple[str, str, int], float]:
    images: dict[bytes, set[str]] = {}
    for _, content, captions in described:
        said = {" ".join(caption.lower().replace(".", " ").split()) for caption in captions} - {""}
        if content is not None and said:
            images.setdefault(content, set()).update(said)
    texts = sorted(set().union(*images.values()))
    right = torch.tensor([[text in said for text in texts] for said in images.values()])
    model = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    tokenizer, processor = BertTokenizer.from_pretrained(str(folder)), BlipImageProcessor.from_pretrained(folder)
    shown = [Image.open(io.BytesIO(content)).convert("RGB") for content in images]
    pixels = processor(shown, return_tensors="pt")["pixel_values"]
    itc, itm = torch.empty(right.shape), torch.empty(right.shape)
    for column, text in enumerate(texts):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        itc[:, column] = model(ids, pixels, use_itm_head=False).itm_score[:, 0]
        ids[:, 0] = small_models.ID["[ENC]"]
        itm[:, column] = model(ids.expand(len(pixels), -1), pixels).itm_score[:, 1]
    found = {}
    for direction, first, both, correct in (
        ("image_to_text", itc, itm + itc, right),
        ("text_to_image", itc.T, (itm + itc).T, right.T),
    ):
        chosen = first.topk(TOP_K, dim=1).indices  # as BLIP's evaluation has it, everything outside is -100
        second = torch.full_like(first, -100).scatter(1, chosen, both.gather(1, chosen))
        for k in TOLD:
            for name, scores in (("matcher_itc", first), ("matcher_itm", second)):
                hits = correct.gather(1, scores.topk(k, dim=1).indices).any(dim=1)
                found[name, direction, k] = float(hits.double().mean())
    return found


def test_a_matcher_alone_is_every_pair_by_transformers(described, shards, itm_folder, tmp_path):
    recipe = EvaluateRecipe(matcher=str(itm_folder), matcher_top_k=TOP_K)
    rows = evaluate(shards, recipe, tmp_path)
    found = {(row["model"], row["direction"], row["k"]): row["recall"] for row in rows if row["model"] != "chance"}
    assert found == pytest.approx(naive(described, itm_folder))
    assert len(rows) == 3 * 2 * len(TOLD)
    assert {found["matcher_itc", *key] == found["matcher_itm", *key] for _, *key in found} == {True, False}


def test_both_are_each_as_alone(shards, itm_folder, pretrained, tmp_path):
    alone = EvaluateRecipe(matcher=str(itm_folder), matcher_top_k=TOP_K)
    both = evaluate(shards, alone, tmp_path, {"qformer": pretrained})
    for others in (
        evaluate(shards, alone, tmp_path),
        evaluate(shards, EvaluateRecipe(), tmp_path, {"qformer": pretrained}),
    ):
        assert [row for row in both if row["model"] in {row["model"] for row in others}] == others


def test_numbers_that_are_not_finite_measure_nothing(shards, itm_folder, tmp_path, monkeypatch):
    whole = BlipForImageTextRetrieval.from_pretrained(itm_folder)
    torch.nn.init.constant_(whole.text_proj.bias, torch.inf)
    whole.save_pretrained(tmp_path / "broken")
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        if (itm_folder / name).exists():
            (tmp_path / "broken" / name).write_bytes((itm_folder / name).read_bytes())
    recipe = EvaluateRecipe(matcher=str(tmp_path / "broken"))
    expected = "^evaluate: .* of the matcher's texts are not finite in float32; the weights of evaluate.matcher may"
    with pytest.raises(UserError, match=expected):
        evaluate(shards, recipe, tmp_path)


def test_nothing_to_measure_is_told_before_anything_runs():
    without, with_it = Wired("measure", {"images": {}}), Wired("measure", {"images": {}, "qformer": {}})
    said = "has no model to measure; name a `matcher`, or add a section 'pretrain' above it"
    assert list(check(EvaluateRecipe(), {"people": without})) == [((), said)]
    assert list(check(EvaluateRecipe(), {"people": with_it})) == []
    assert list(check(EvaluateRecipe(matcher="a/b"), {"people": without})) == []
