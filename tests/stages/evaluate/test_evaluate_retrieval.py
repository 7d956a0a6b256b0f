"""The stage on small models in the public formats, against every pair computed by itself and ranked in plain Python."""

from __future__ import annotations

import io
import pkgutil
import random
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import shown
import small_towers
import torch
from PIL import Image
from transformers import BertTokenizer

from stages.contract import CorpusJob
from stages.errors import UserError
from stages.evaluate.benchmark import read_benchmark
from stages.evaluate.compute import Evaluate
from stages.evaluate.spec import TOLD, EvaluateRecipe, EvaluateRun
from stages.evaluate.tables import RANKS
from stages.models.qformer.model import Text

TOP_K = 10
"""Fewer than the set's images, and than its texts."""
Recalls = dict[tuple[str, str, int], float]


def evaluate(shards, pretrained, scratch: Path, **run: object) -> list[dict]:
    scratch.mkdir(exist_ok=True)
    recipe = EvaluateRecipe(top_k=TOP_K)
    options = EvaluateRun.model_validate({"device": "cpu", "threads": 1, "batch_size": 5, **run})
    work = CorpusJob(tuple(shards), str(scratch), scratch, {"qformer": pretrained}, ("people",))
    output = Evaluate(recipe, options)(work)
    assert output.table.schema == RANKS
    rows = shown.recalls(output.table)
    assert dict(output.counts) == {"images": 22, "texts": rows[0]["texts"]}
    return rows


def recalls(rows: list[dict]) -> Recalls:
    return {(row["model"], row["direction"], row["k"]): row["recall"] for row in rows}


@torch.no_grad()
def naive(described, qformer, clip_folder) -> Recalls:
    """All of it over whole tables of scores, one pair at a time."""
    images: dict[bytes, set[str]] = {}
    written: dict[str, str] = {}
    for _, content, captions in described:
        for caption in captions:
            text = " ".join(caption.lower().replace(".", " ").split())
            if content is not None and text:
                images.setdefault(content, set()).add(text)
                written[text] = min(caption, written.get(text, caption))
    texts = list(written)
    right = [[text in said for text in texts] for said in images.values()]
    clip, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    clip.eval()
    words = clip.encode_text(
        open_clip.get_tokenizer(f"local-dir:{clip_folder}")(list(written.values())), normalize=True
    )
    pixels = torch.stack([preprocess(Image.open(io.BytesIO(content)).convert("RGB")) for content in images])
    visual, kept = clip.visual, []
    handle = visual.transformer.resblocks[-2].register_forward_hook(lambda _m, _i, output: kept.append(output))
    zero_shot = clip.encode_image(pixels, normalize=True) @ words.T
    handle.remove()
    features = kept[0]
    pooled = visual.ln_post(features.mean(dim=1)) @ visual.proj
    tokenizer = BertTokenizer.from_pretrained(str(clip_folder))
    read = [tokenizer(text, truncation=True, max_length=12, return_tensors="pt")["input_ids"] for text in texts]
    spoken = [Text(ids, torch.ones_like(ids).bool()) for ids in read]
    sentences = torch.cat([qformer.embed_text(qformer.encode_text(text)) for text in spoken])
    queries = qformer.embed_image(qformer.encode_image(qformer.look(features)))
    itc = (queries @ sentences.T).amax(dim=1)
    itm = torch.stack(
        [torch.cat([qformer.match(qformer.look(one[None]), text)[:, 1] for text in spoken]) for one in features]
    )
    tables = {
        "clip_zero_shot": zero_shot,
        "mean_pooled": torch.nn.functional.normalize(pooled, dim=-1) @ words.T,
        "qformer_itc": itc,
    }
    found: Recalls = {}
    for direction, turn in (("image_to_text", lambda t: t), ("text_to_image", lambda t: t.T)):
        correct = turn(torch.tensor(right))
        ranked = {model: turn(table) for model, table in tables.items()}
        ranked["qformer_itm"] = only_the_best_of(turn(itc), turn(itm + itc))
        for k in TOLD:
            for model, table in ranked.items():
                hits = [of_query[scores.topk(k).indices].any() for of_query, scores in zip(correct, table, strict=True)]
                found[model, direction, k] = sum(map(bool, hits)) / len(hits)
    return found


def only_the_best_of(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """As LAVIS has it: everything outside the top k is -100."""
    chosen = first.topk(TOP_K, dim=1).indices
    return torch.full_like(first, -100).scatter(1, chosen, second.gather(1, chosen))


def test_it_is_every_pair_computed_by_itself(described, shards, qformer, pretrained, clip_folder, tmp_path):
    rows = evaluate(shards, pretrained, tmp_path)
    assert len(rows) == 5 * 2 * len(TOLD)
    found, expected = recalls(rows), naive(described, qformer, clip_folder)
    assert {key: value for key, value in found.items() if key[0] != "chance"} == pytest.approx(expected)
    assert len({found[model, "text_to_image", 1] for model in ("qformer_itm", "qformer_itc", "clip_zero_shot")}) > 1


def test_a_tower_of_images_alone_is_compared_with_no_text(
    described, shards, qformer, pretrained, tmp_path, tmp_path_factory, caplog
):
    folder = tmp_path_factory.mktemp("dinov2")
    tower = small_towers.save_dinov2(folder)
    alone = replace(pretrained, recipe=pretrained.recipe.model_copy(update={"model": str(folder)}))
    rows = evaluate(shards, alone, tmp_path)
    assert {row["model"] for row in rows} == {"qformer_itm", "qformer_itc", "chance"}
    assert len(rows) == 3 * 2 * len(TOLD)
    assert f"pretrain.model '{folder}' reads no text" in caplog.text
    assert recalls(rows) != recalls(evaluate(shards, pretrained, tmp_path))
    assert tower.num_prefix_tokens == 1


@pytest.mark.parametrize("run", [{"batch_size": 1, "pairs": 3}, {"batch_size": 64, "pairs": 999}])
def test_batches_do_not_matter(run, shards, pretrained, tmp_path):
    assert evaluate(shards, pretrained, tmp_path, **run) == evaluate(shards, pretrained, tmp_path)


def test_the_order_of_the_rows_does_not_matter(described, make_shard, shards, pretrained, tmp_path):
    shuffled = random.Random(1).sample(described, len(described))
    moved = [make_shard(shuffled[:4], "1"), make_shard(shuffled[4:], "0")]
    assert evaluate(moved, pretrained, tmp_path) == evaluate(shards, pretrained, tmp_path)


def test_images_that_cannot_be_decoded_are_left_out(described, make_shard, pretrained, tmp_path, caplog):
    broken = ("people-2", "people-9", "people-24")  # the last shows what the first row shows
    rows = [(key, b"no picture" if key in broken else content, said) for key, content, said in described]
    kept = [row for row in described if row[0] not in broken]
    recipe, run = EvaluateRecipe(top_k=TOP_K), EvaluateRun(device="cpu", threads=1)
    outputs = [
        Evaluate(recipe, run)(CorpusJob((make_shard(some, "0"),), "", tmp_path, {"qformer": pretrained}, ("people",)))
        for some in (rows, kept)
    ]
    assert outputs[0].table.equals(outputs[1].table)
    assert outputs[0].counts == {**outputs[1].counts, "not_an_image": 3}
    assert "image people-9 is listed as downloaded but cannot be decoded, and is left out" in caplog.text


def test_sets_are_measured_each_by_itself(described, make_shard, shards, pretrained, tmp_path):
    other = replace(make_shard(described[8:20], "0"), source="others")
    recipe = EvaluateRecipe(top_k=TOP_K)
    work = CorpusJob((*shards, other), str(tmp_path), tmp_path, {"qformer": pretrained}, ("others", "people"))
    rows = shown.recalls(Evaluate(recipe, EvaluateRun(device="cpu", threads=1))(work).table)
    assert [row for row in rows if row["source"] == "people"] == evaluate(shards, pretrained, tmp_path)
    assert {row["images"] for row in rows if row["source"] == "others"} == {12}


def test_a_set_has_its_different_images_and_texts(described, shards):
    benchmark = read_benchmark("people", shards)
    assert "people-3" not in benchmark.images
    assert "people-5" not in benchmark.images
    assert [key for key in ("people-24", "people-25", "people-26") if key in benchmark.images] == []
    first_of_seven = described[7][2][0].lower()
    text = torch.tensor(benchmark.texts.index(first_of_seven))
    for key in ("people-6", "people-7"):
        assert benchmark.is_right(torch.tensor(benchmark.images[key]), text)
    images, texts = benchmark.pairs
    assert set(images.tolist()) == set(range(22))
    assert set(texts.tolist()) == set(range(len(benchmark.texts)))
    said = {
        text for key, _, captions in described if key in ("people-0", "people-24", "people-26") for text in captions
    }
    assert {benchmark.texts[text] for image, text in zip(images, texts, strict=True) if image == 0} == said


def test_a_set_too_small_to_measure_on_is_refused(make_shard, pretrained, tmp_path):
    shard = make_shard([("people-0", None, [])], "0")
    with pytest.raises(UserError, match=r"^sources.people: it has 0 image\(s\) and 0 caption\(s\) that differ"):
        evaluate([shard], pretrained, tmp_path)
    with pytest.raises(UserError, match=r"^sources.people: it has 0 image"):  # of its list no row was left
        evaluate([], pretrained, tmp_path)


@pytest.mark.parametrize(
    ("spoilt", "expected"),
    [
        ("stages.models.vision.tower.VisionTower.forward", "22 of 22 embeddings of the Q-Former's images"),
        ("stages.models.embedding.EmbeddingScorer.embed_texts", "31 of 31 embeddings of CLIP's texts"),
        ("stages.evaluate.rerank._match", "logits of ITM"),
    ],
)
def test_numbers_that_are_not_finite_measure_nothing(spoilt, expected, shards, pretrained, tmp_path, monkeypatch):
    place, name = spoilt.rsplit(".", 1)
    owner = pkgutil.resolve_name(place)
    whole = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args: whole(*args) * torch.inf)
    half = replace(pretrained, recipe=pretrained.recipe.model_copy(update={"dtype": "bfloat16"}))
    with pytest.raises(
        UserError, match=f"^pretrain: .*{expected} are not finite in bfloat16; set pretrain.dtype to float32$"
    ):
        evaluate(shards, half, tmp_path)


def test_a_missing_model_is_told_with_the_key_that_names_it(shards, pretrained, tmp_path):
    gone = replace(pretrained, recipe=pretrained.recipe.model_copy(update={"model": "nowhere at all"}))
    with pytest.raises(UserError, match=r"^pretrain.model: no folder 'nowhere at all'"):
        evaluate(shards, gone, tmp_path)


def test_half_precision_gives_nearly_the_same(shards, pretrained, tmp_path):
    half = replace(pretrained, recipe=pretrained.recipe.model_copy(update={"dtype": "bfloat16"}))
    found, full = recalls(evaluate(shards, half, tmp_path)), recalls(evaluate(shards, pretrained, tmp_path))
    assert found == pytest.approx(full, abs=0.35)
    assert found != full
