"""The whole training in one process: what it leaves, that it learns, that it resumes, and when it stops."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from PIL import Image
from repeating import repeatable

from stages.contract import CorpusJob, Output
from stages.errors import UserError
from stages.models.qformer.model import load_qformer
from stages.pretrain.compute import Pretrain
from stages.pretrain.spec import PretrainRecipe, PretrainRun
from stages.pretrain.tables import METRICS
from stages.training.checkpoints import Checkpoints
from stages.training.features import Encoder
from stages.training.task import Row

Train = Callable[..., Output]


class Killed(BaseException):
    """What no `except Exception` holds up."""


def kill_at(step: int) -> Callable[[Row], None]:
    def on_step(row: Row) -> None:
        if row["step"] == step:
            raise Killed

    return on_step


STEPS = 250


@pytest.fixture(scope="module")
def learnt(corpus, make_recipe, run, tmp_path_factory) -> Output:
    """A training long enough to learn something."""
    folder = tmp_path_factory.mktemp("learnt")
    recipe = make_recipe(
        steps=STEPS,
        batch_size=16,
        warmup=10,
        lr=4e-3,
        min_lr=2e-3,
        dropout=0.0,
        evaluate_every=STEPS // 2,
        width=48,
        image_every=1,
    )
    return Pretrain(recipe, run)(CorpusJob(corpus, str(folder / "checkpoints"), folder))


def rows(output: Output, phase: str) -> list[Row]:
    return [row for row in output.table.to_pylist() if row["phase"] == phase]


def test_the_table_has_a_row_for_every_step_and_measurement(learnt):
    assert learnt.table.schema == METRICS
    assert learnt.counts == {"steps": STEPS}
    train, holdout = rows(learnt, "train"), rows(learnt, "holdout")
    assert [row["step"] for row in train] == list(range(1, STEPS + 1))
    assert [row["step"] for row in holdout] == [STEPS // 2, STEPS]
    for row in train:
        assert row["loss"] == pytest.approx(row["itc"] + row["itm"] + row["itg"], rel=1e-5)
        assert 0.001 <= row["temperature"] <= 0.5
        assert row["grad_norm"] > 0
        assert row["r1_image_to_text"] is None
    images = holdout[0]["images"]
    assert images >= 2
    assert 1 / images <= holdout[0]["chance"] < 2 / images  # some captions are alike
    assert dict(train[-1]["epochs"]) == {"web": (STEPS - 1) * 16 // (48 - images)}


def test_losses_begin_at_chance(corpus, make_recipe, run, tmp_path):
    recipe = make_recipe(steps=1, batch_size=16, warmup=1, dropout=0.0, width=48)
    output = Pretrain(recipe, run)(CorpusJob(corpus, str(tmp_path / "checkpoints"), tmp_path))
    first = rows(output, "train")[0]
    vocabulary = load_qformer(output.sides["checkpoint"] / "model.safetensors").config.vocabulary
    assert first["itc"] == pytest.approx(math.log(16), abs=0.5)
    assert first["itm"] == pytest.approx(math.log(2), abs=0.2)
    assert first["itg"] == pytest.approx(math.log(vocabulary), abs=0.5)


def test_all_three_losses_fall(learnt):
    train = rows(learnt, "train")

    def mean(name: str, part: slice) -> float:
        values = [row[name] for row in train[part]]
        return sum(values) / len(values)

    for name in ("itc", "itg"):
        assert mean(name, slice(-20, None)) < 0.5 * mean(name, slice(0, 10)), name
    # matching that knows only that two pairs of three do not match stays at 0.6365, with two thirds of them right
    assert mean("itm", slice(-20, None)) < 0.8 * 0.6365
    assert mean("itm_accuracy", slice(-20, None)) > 0.75


def test_images_that_were_held_out_are_found(learnt):
    last = rows(learnt, "holdout")[-1]
    assert last["r1_image_to_text"] > 2 * last["chance"]
    assert last["r1_text_to_image"] > 2 * last["chance"]


def test_the_weights_are_those_of_the_last_step(learnt, make_recipe):
    model = load_qformer(learnt.sides["checkpoint"] / "model.safetensors")
    assert model.config.width == 48
    assert model.temperature.item() != pytest.approx(0.07, abs=1e-6)


def resume(recipe: PretrainRecipe, run: PretrainRun, job: CorpusJob) -> pa.Table:
    return Pretrain(recipe, run)(job).table


def weights(output: Output) -> dict[str, torch.Tensor]:
    return load_qformer(output.sides["checkpoint"] / "model.safetensors").state_dict()


def assert_equal_weights(one: Output, other: Output) -> None:
    expected = weights(other)
    for name, value in weights(one).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("augment", [False, True])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(make_recipe, make_job, run, augment):
    recipe = make_recipe(dropout=0.1, evaluate_every=2, augment=augment)
    whole = Pretrain(recipe, run)(make_job())
    job = make_job()
    for step in (2, 5, 8):  # before the first checkpoint, after it, and after the last step but before the result
        with pytest.raises(Killed):
            Pretrain(recipe, run).train(job, on_step=kill_at(step))
    assert repeatable(Pretrain(recipe, run)(job).table).equals(repeatable(whole.table))
    assert_equal_weights(Pretrain(recipe, run)(job), whole)


def test_another_process_goes_on_from_the_same_bits(make_recipe, make_job, run, pair):
    recipe = make_recipe(dropout=0.1)
    whole = Pretrain(recipe, run)(make_job())
    job = make_job()
    with pytest.raises(Killed):
        Pretrain(recipe, run).train(job, on_step=kill_at(5))
    torch.rand(7)  # what this process has drawn is nobody's concern
    assert Checkpoints(job.checkpoints, keep=1).newest()[0] == 3
    assert repeatable(pair.apart(resume, recipe, run, job)).equals(repeatable(whole.table))


def test_a_broken_newest_checkpoint_costs_steps_and_nothing_else(make_recipe, make_job, run):
    recipe, job = make_recipe(), make_job()
    whole = Pretrain(recipe, run)(make_job())
    with pytest.raises(Killed):
        Pretrain(recipe, run).train(job, on_step=kill_at(7))
    newest = Path(job.checkpoints) / "step-00000006.pt"
    newest.write_bytes(newest.read_bytes()[:100])
    assert repeatable(Pretrain(recipe, run)(job).table).equals(repeatable(whole.table))


def test_a_finished_training_is_not_repeated(make_recipe, make_job, run, monkeypatch):
    recipe, job = make_recipe(steps=2), make_job()
    first = Pretrain(recipe, run)(job)
    monkeypatch.setattr(Pretrain, "make_task", None)
    assert Pretrain(recipe, run)(job).table.equals(first.table)


def test_features_that_do_not_fit_are_computed_anew(make_recipe, make_job, run):
    recipe = make_recipe(steps=4)
    kept = Pretrain(recipe, run)(make_job()).table
    anew = Pretrain(recipe, run.model_copy(update={"cache": 0.0}))(make_job()).table
    for name in ("loss", "grad_norm"):
        assert anew[name].to_pylist()[:4] == pytest.approx(kept[name].to_pylist()[:4], rel=1e-3)


def plain(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 36), (shade, 255 - shade, 7 * shade % 256)).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize("cache", [4.0, 0.0])
def test_others_stand_in_for_broken_images(cache, make_corpus_shard, make_recipe, run, tmp_path, caplog):
    pictures = [plain(16 * number) for number in range(16)]
    stands_in = {2: 4, 3: 4, 15: 0}  # the next of the shard, in a circle
    tables = []
    for name in ("broken", "mended"):
        images, captions, digests = {}, [], {}
        for number in range(len(pictures)):
            key, shown = f"web-{number:02d}", number if name == "broken" else stands_in.get(number, number)
            images[key] = b"no picture" if name == "broken" and number in stands_in else pictures[shown]
            captions.append((key, 1, f"a picture of {'abcdefghijklmnop'[shown]} and one dog", 1, True))
            digests[key] = f"digest {shown}"
        job = CorpusJob((make_corpus_shard(images, captions, digests),), str(tmp_path / name), tmp_path)
        recipe = make_recipe(steps=3, holdout=0, dropout=0.0)
        tables.append(Pretrain(recipe, run.model_copy(update={"cache": cache}))(job).table)
    assert repeatable(tables[0]).equals(repeatable(tables[1]))
    for number in stands_in:
        assert caplog.text.count(f"image web-{number:02d} is listed as downloaded but cannot be decoded") == 1


def test_a_corpus_without_one_image_that_can_be_decoded_is_refused(make_corpus_shard, make_recipe, run, tmp_path):
    captions = [(key, 1, f"one {key}", 1, True) for key in "abc"]
    job = CorpusJob((make_corpus_shard(dict.fromkeys("abc", b"no picture"), captions),), str(tmp_path), tmp_path)
    with pytest.raises(UserError, match="not one image of the corpus can be decoded"):
        Pretrain(make_recipe(holdout=0), run)(job)


def test_the_seed_decides(make_recipe, make_job, run):
    losses = [Pretrain(make_recipe(steps=1, seed=seed), run)(make_job()).table["loss"][0].as_py() for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_training_leaves_the_random_numbers_of_others_alone(make_recipe, make_job, run):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    Pretrain(make_recipe(steps=1), run)(make_job())
    assert torch.equal(torch.rand(1), expected)


def test_half_precision_learns_alike(make_recipe, make_job, run):
    found = [Pretrain(make_recipe(steps=3, dtype=dtype), run)(make_job()) for dtype in ("float32", "bfloat16")]
    full, half = (output.table["loss"].to_pylist()[:3] for output in found)
    assert half == pytest.approx(full, rel=0.05)
    assert all(value.dtype == torch.float32 for value in weights(found[1]).values())


@pytest.mark.parametrize("name", ["queries", "match_head.weight"])
def test_a_loss_that_is_no_number_stops_the_training(make_recipe, make_job, run, name):
    recipe, job = make_recipe(), make_job()
    with pytest.raises(Killed):
        Pretrain(recipe, run).train(job, on_step=kill_at(4))
    checkpoints = Checkpoints(job.checkpoints, keep=2)
    _, state = checkpoints.newest()
    state["model"][f"model.{name}"].fill_(torch.nan)
    checkpoints.save(3, state, [])
    with pytest.raises(UserError, match=r"step 4 is no longer finite.*nan.*Lower pretrain\.lr"):
        Pretrain(recipe, run)(job)
    assert checkpoints.newest()[0] == 3


def overflow(monkeypatch, spoil):
    """Let the frozen tower's features be what `spoil` makes of them, as when they overflow in float16."""
    encode = Encoder.encode

    def spoilt(self, pixels):
        return spoil(encode(self, pixels))

    monkeypatch.setattr(Encoder, "encode", spoilt)


def test_features_that_are_not_finite_stop_the_training(make_recipe, make_job, run, monkeypatch):
    overflow(monkeypatch, lambda features: features * 1e30 * 1e30)
    with pytest.raises(UserError) as caught:
        Pretrain(make_recipe(dtype="float16"), run)(make_job())
    words = r"pretrain: step 1: features of the image tower are not finite in float16 \(loss nan, itc nan, .*\); "
    assert re.fullmatch(words + "set pretrain.dtype to bfloat16 or float32", str(caught.value))


def test_weights_that_are_not_finite_are_told_from_the_start(make_recipe, make_job, run, monkeypatch):
    monkeypatch.setattr("stages.pretrain.compute.initialise", lambda model, *_: model.queries.data.fill_(torch.nan))
    with pytest.raises(
        UserError, match=r"step 1: weights that it begins with are not finite .* another pretrain\.init"
    ):
        Pretrain(make_recipe(init="nowhere"), run)(make_job())


def test_a_held_out_image_without_features_costs_itself(make_recipe, make_job, run, monkeypatch):
    whole = rows(Pretrain(make_recipe(steps=1), run)(make_job()), "holdout")[0]

    def without_the_first(features):
        return features.index_fill(0, torch.tensor([0]), torch.inf) if len(features) == whole["images"] else features

    overflow(monkeypatch, without_the_first)
    found = rows(Pretrain(make_recipe(steps=1), run)(make_job()), "holdout")[0]
    assert found["images"] == whole["images"] - 1


def test_too_few_images_are_refused(make_recipe, make_corpus_shard, run, tmp_path):
    shard = make_corpus_shard({"a": b"1", "b": None}, [("a", 1, "one", 1, True)])
    job = CorpusJob((shard,), str(tmp_path), tmp_path)
    with pytest.raises(UserError, match="at least two different ones"):
        Pretrain(make_recipe(holdout=0), run)(job)


def test_a_holdout_of_nothing_is_refused_and_none_is_allowed(make_recipe, make_job, run):
    with pytest.raises(UserError, match=r"pretrain\.holdout: 1e-05"):
        Pretrain(make_recipe(holdout=1e-5), run)(make_job())
    assert rows(Pretrain(make_recipe(steps=1, holdout=0), run)(make_job()), "holdout") == []


def test_missing_models_are_refused(make_recipe, make_job, run, tmp_path):
    with pytest.raises(UserError, match=r"pretrain\.model"):
        Pretrain(make_recipe(model="./nowhere/at/all"), run)(make_job())
    with pytest.raises(UserError, match=r"pretrain\.tokenizer.*no tokenizer files"):
        Pretrain(make_recipe(tokenizer=str(tmp_path)), run)(make_job())


def test_the_recipe_is_plain_values(make_recipe):
    assert PretrainRecipe.model_validate(json.loads(make_recipe().model_dump_json())) == make_recipe()
