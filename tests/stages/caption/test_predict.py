"""Captions that are to be measured: transformers' beams with BLIP's settings, as a table and as COCO's results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_models
import torch
from PIL import Image
from pydantic import ValidationError
from transformers import BertTokenizer, BlipForConditionalGeneration

from stages.caption.predict import Predict
from stages.caption.spec import PREDICT, PredictRecipe
from stages.contract import ModelRunOptions, Output, Shard
from stages.io.shards import Artifact
from stages.results import coco_results, result_id
from stages.tables import PREDICTIONS

RUN = ModelRunOptions(batch_size=3, device="cpu")


@pytest.fixture
def shard(make_shard, pictures: dict[str, Image.Image]) -> Shard:
    """Images whose list says where they lie; one was not downloaded, and one is damaged."""
    images = {"web-0-0-dead": None, **pictures, "web-0-0-bad": b"no picture"}
    made = make_shard(images)
    made.scratch.mkdir()
    urls = made.one("urls").table()
    names = [f"val2014/COCO_val2014_{number:012d}.jpg" for number in range(urls.num_rows)]
    urls = urls.set_column(urls.schema.get_field_index("file"), "file", pa.array(names))
    return replace(made, inputs={**made.inputs, "urls": (written(made.scratch.parent / "listed.parquet", urls),)})


def written(path: Path, table: pa.Table) -> Artifact:
    pq.write_table(table, path)
    return Artifact(str(path))


def predict(folder: Path, shard: Shard, **recipe: object) -> Output:
    return Predict(PredictRecipe(model=str(folder), **recipe), RUN)(shard)


@torch.no_grad()
def test_they_are_transformers_beams_with_blips_lengths(captioner_folder, shard, pictures):
    output = predict(captioner_folder, shard)
    assert output.table.schema == PREDICTIONS
    assert output.counts == {"images": 8, "failed": 1}
    model = BlipForConditionalGeneration.from_pretrained(captioner_folder).eval()
    tokenizer = BertTokenizer.from_pretrained(str(captioner_folder))
    compute = Predict(PredictRecipe(model=str(captioner_folder)), RUN)
    pixels = torch.stack([compute._captions._captioner.preprocess(image) for image in pictures.values()])
    begin = [small_models.ID["[DEC]"], *tokenizer("a picture of ", add_special_tokens=False)["input_ids"]]
    assert len(begin) == 4
    ids = model.text_decoder.generate(
        input_ids=torch.tensor([begin] * len(pixels)),
        encoder_hidden_states=model.vision_model(pixels).last_hidden_state,
        eos_token_id=small_models.ID["[SEP]"],
        pad_token_id=small_models.ID["[PAD]"],
        num_beams=3,
        max_length=20,  # BLIP's own numbers, which count the prompt
        min_length=5,
        do_sample=False,
    )
    expected = [
        text.removeprefix("a picture of").strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)
    ]
    rows = output.table.to_pylist()
    assert [row["caption"] for row in rows if row["error"] is None] == expected
    assert [row["key"] for row in rows] == [*pictures, "web-0-0-bad"]
    assert rows[-1]["error"].startswith("cannot be decoded: ")


def test_the_same_in_cocos_format(captioner_folder, shard):
    output = predict(captioner_folder, shard, max_length=6)
    rows = output.table.to_pylist()
    told = json.loads(output.sides["json"].read_text())
    assert told == [{"image_id": number, "caption": rows[number - 1]["caption"]} for number in range(1, 8)]
    assert [row["result_id"] for row in rows] == [str(number) for number in range(1, 9)]
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    known = COCO()
    known.dataset = {"images": [{"id": number} for number in range(9)], "annotations": []}
    known.createIndex()
    assert len(known.loadRes(str(output.sides["json"])).anns) == 7


def test_a_lists_own_numbers_and_parts_are_taken(captioner_folder, shard):
    urls = shard.one("urls").table()
    urls = urls.append_column("id", pa.array(range(100, 100 + len(urls)))).append_column(
        "domain", pa.array(["near"] * len(urls))
    )
    listed = written(shard.scratch.parent / "own.parquet", urls)
    rows = predict(
        captioner_folder, replace(shard, inputs={**shard.inputs, "urls": (listed,)}), max_length=4
    ).table.to_pylist()
    assert [row["result_id"] for row in rows] == [str(number) for number in range(101, 109)]
    assert {row["subset"] for row in rows} == {"near"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("val2014/COCO_val2014_000000391895.jpg", "391895"),
        ("000000000009.jpg", "9"),
        ("https://a.org/val/1000092795.jpg?x=1.2", "1000092795"),
        ("0013ea2087020901.jpg", "0013ea2087020901"),
        ("dogs/dog_12.png", "dog_12"),
        ("12", "12"),
    ],
)
def test_what_an_image_is_called(name, expected):
    assert result_id(name) == expected


def test_names_that_are_no_numbers_stay_texts():
    rows = [{"key": "k", "result_id": name, "caption": "é", "error": None} for name in ("dog_12", "7")]
    assert json.loads(coco_results(pa.Table.from_pylist(rows, PREDICTIONS))) == [
        {"image_id": "dog_12", "caption": "é"},
        {"image_id": 7, "caption": "é"},
    ]


def test_settings_that_contradict_each_other():
    with pytest.raises(ValidationError, match="min_length 17 is more than max_length 16"):
        PredictRecipe(model="a/b", min_length=17)
    assert PREDICT.uses == {"measure"}
