"""Written captions against people's: each set and each part of it by itself, as pycocoevalcap and open_clip have it."""

from __future__ import annotations

import io

import open_clip
import pyarrow as pa
import pytest
import shown
import torch
from committed import only, write
from PIL import Image

from stages.contract import CorpusJob, CorpusShard
from stages.errors import UserError
from stages.evaluate import captions
from stages.evaluate.captions import EvaluateCaptions
from stages.evaluate.spec import CaptionsRecipe, CaptionsRun
from stages.evaluate.tables import CAPTIONING
from stages.metrics.captions import CAPTION_METRICS, MISSING, can_score, score
from stages.tables import PREDICTIONS, URLS

RUN = CaptionsRun(device="cpu", threads=1, batch_size=4)
WRITTEN = ["A dog on the blue square.", "two cats", "the red circle and a cat", "one large dog sits at a square"]
needs_extra = pytest.mark.skipif(not can_score(), reason="the extra `metrics`")


@pytest.fixture
def predicted(shards, described, tmp_path) -> tuple[CorpusShard, ...]:
    """The shards of the annotated source with predictions: half of them of another part, and one image that failed."""
    made = []
    for shard, rows in zip(shards, (described[:14], described[14:]), strict=True):
        listed, found = [], []
        for number, (key, content, texts) in enumerate(rows):
            listed.append({"key": key, "source": "people", "url": None, "file": f"{number}.jpg", "texts": texts})
            if content is not None:
                row = {"key": key, "result_id": str(number), "caption": WRITTEN[number % 4], "error": None}
                found.append(row | {"subset": ("in-domain", "near-domain")[number % 2]})
        if shard.shard == "0":
            found[0] |= {"caption": "", "error": "cannot be decoded: it is none"}
        inputs = only(
            {
                "urls": write(tmp_path / f"urls{shard.shard}.parquet", listed, URLS),
                "predictions": write(tmp_path / f"predictions{shard.shard}.parquet", found, PREDICTIONS),
            }
        )
        made.append(CorpusShard({**shard.inputs, **inputs}, "people", shard.shard))
    return tuple(made)


def measure(shards, tmp_path, **recipe: object) -> list[dict]:
    work = CorpusJob(tuple(shards), str(tmp_path), tmp_path, {}, ("people",))
    output = EvaluateCaptions(CaptionsRecipe(**recipe), RUN)(work)
    assert output.table.schema == CAPTIONING
    assert output.counts == {"images": 25, "failed": 1}
    return output.table.to_pylist()


def of_sets(rows: list[dict]) -> list[dict]:
    return shown.of_sets(pa.Table.from_pylist(rows, schema=CAPTIONING))


def by_hand(shards, part: str | None = None) -> tuple[dict[str, str], dict[str, list[str]]]:
    said, texts = {}, {}
    for shard in shards:
        listed = {row["key"]: row["texts"] for row in shard.one("urls").table().to_pylist()}
        for row in shard.one("predictions").table().to_pylist():
            if row["error"] is None and row["subset"] == (part or row["subset"]):
                said[row["key"]], texts[row["key"]] = row["caption"], listed[row["key"]]
    return said, texts


@needs_extra
def test_words_are_counted_over_the_whole_and_over_each_part(predicted, tmp_path):
    rows = of_sets(measure(predicted, tmp_path))
    assert {row["subset"] for row in rows} == {"all", "in-domain", "near-domain"}
    for part in (None, "in-domain", "near-domain"):
        said, texts = by_hand(predicted, part)
        found = {row["measure"]: row["value"] for row in rows if row["subset"] == (part or "all")}
        assert found == score(said, texts).measures
    assert {(row["tokenizer"], row["model"], row["error"]) for row in rows} == {("ptb-python", None, None)}
    whole = rows[0]
    assert (whole["images"], whole["texts"]) == (25, sum(map(len, by_hand(predicted)[1].values())))


@needs_extra
def test_the_cider_of_every_image_is_that_of_the_whole_set(predicted, tmp_path):
    rows = measure(predicted, tmp_path)
    single = {row["key"]: row for row in rows if row["key"] is not None}
    said, texts = by_hand(predicted)
    assert {key: row["value"] for key, row in single.items()} == score(said, texts).cider
    assert {(row["subset"], row["measure"], row["images"]) for row in single.values()} == {("all", "CIDEr-D", 1)}
    assert {key: row["texts"] for key, row in single.items()} == {key: len(found) for key, found in texts.items()}
    (whole,) = [row for row in of_sets(rows) if (row["subset"], row["measure"]) == ("all", "CIDEr-D")]
    assert sum(row["value"] for row in single.values()) / 25 == pytest.approx(whole["value"])


@torch.no_grad()
def test_clip_score_is_a_mean_and_needs_no_extra(predicted, described, clip_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(captions, "can_score", lambda: False)
    rows = measure(predicted, tmp_path, clip=str(clip_folder))
    missing = [row for row in rows if row["measure"] in CAPTION_METRICS]
    assert {(row["value"], row["error"], row["tokenizer"]) for row in missing} == {(None, MISSING, None)}
    assert len(missing) == 3 * len(CAPTION_METRICS)

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    read = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    shown = {key: Image.open(io.BytesIO(content)).convert("RGB") for key, content, _ in described if content}
    plain, with_texts = [], []
    for key, caption in by_hand(predicted)[0].items():
        texts = [f"A photo depicts {text}" for text in (caption, *by_hand(predicted)[1][key])]
        image = model.eval().encode_image(preprocess(shown[key])[None], normalize=True)
        written, *others = model.encode_text(read([text.strip() for text in texts]), normalize=True)
        plain.append(2.5 * max(float(image[0] @ written), 0))
        near = max(0, *(float(other @ written) for other in others))
        with_texts.append(2 * near * plain[-1] / (near + plain[-1]) if near + plain[-1] else 0)
    found = {row["measure"]: row for row in rows if row["subset"] == "all"}
    assert found["CLIPScore"]["value"] == pytest.approx(sum(plain) / 25, rel=1e-4)
    assert found["RefCLIPScore"]["value"] == pytest.approx(sum(with_texts) / 25, rel=1e-4)
    assert found["CLIPScore"]["model"] == str(clip_folder)


def test_a_source_of_which_nothing_was_captioned_is_told(tmp_path):
    with pytest.raises(UserError, match=r"^sources\.people: no image of it was captioned"):
        measure([], tmp_path)
