import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch

from stages.errors import UserError
from stages.models.blip.sampling import Sampling
from stages.models.clip import weights as clip_weights
from stages.models.device import limit_threads, resolve_device, torch_dtype
from stages.models.families import load_captioner, load_scorer
from stages.models.family import ModelName

CPU = torch.device("cpu")


def captioner(name: object, revision: str | None = None, max_length: int = 20) -> None:
    sampling = Sampling(0.9, None, 1.0, 1.0, max_length, 5)
    load_captioner(ModelName("caption.model", str(name), None, revision), "a picture of ", sampling, "float32", CPU)


def itm(name: object) -> None:
    load_scorer(ModelName("filter.model", str(name)), "filter", "float32", CPU)


def clip(name: object, pretrained: str | None = None, revision: str | None = None) -> None:
    load_scorer(ModelName("rank.model", str(name), pretrained, revision), "ranker", "float32", CPU)


def complaint(load: Callable[[], None]) -> str:
    with pytest.raises(UserError) as caught:
        load()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["./nowhere", "nowhere", "/no/where", "~/no/where/at/all"])
def test_a_folder_that_is_not_there(name: str) -> None:
    for load, key in ((captioner, "caption.model"), (itm, "filter.model"), (clip, "rank.model")):
        said = complaint(lambda load=load: load(name))  # type: ignore[misc]
        assert said == f"{key}: no folder '{name}' here; give a local folder or a hub name such as 'org/name'"


def test_no_name_at_all() -> None:
    assert complaint(lambda: captioner("")).startswith("caption.model: names no model")


def test_a_hub_name_that_cannot_be_had() -> None:
    for load, key in ((captioner, "caption.model"), (itm, "filter.model"), (clip, "rank.model")):
        said = complaint(lambda load=load: load("org/nothing"))  # type: ignore[misc]
        assert said.startswith(f"{key}: no folder 'org/nothing' here, and the hub cannot be reached or has no ")
        assert said.endswith("give a local folder or a hub name")


def test_the_revision_is_named() -> None:
    assert "'org/nothing@v1'" in complaint(lambda: captioner("org/nothing", "v1"))


def test_a_folder_has_no_revision(captioner_folder: Path) -> None:
    said = complaint(lambda: captioner(captioner_folder, "v1"))
    assert said.startswith("caption.revision:")
    assert "a local folder, which has no revisions" in said


def test_a_file_is_no_folder(captioner_folder: Path) -> None:
    assert "is a file; give the folder" in complaint(lambda: captioner(captioner_folder / "config.json"))


def test_a_model_of_another_kind(captioner_folder: Path, itm_folder: Path, clip_folder: Path) -> None:
    assert "is a BLIP matching model; name a captioner, such as " in complaint(lambda: captioner(itm_folder))
    assert "is a BLIP captioner; name a model that gives " in complaint(lambda: itm(captioner_folder))
    assert "is a CLIP model of open_clip; name a captioner" in complaint(lambda: captioner(clip_folder))
    assert "is a BLIP captioner; name a model that compares" in complaint(lambda: clip(captioner_folder))


@pytest.mark.parametrize("kind", ["captioner", "itm"])
def test_weights_of_another_kind_than_config_json_says(
    captioner_folder: Path, itm_folder: Path, tmp_path: Path, kind: str
) -> None:
    load, right, other = (captioner, captioner_folder, itm_folder)
    if kind == "itm":
        load, right, other = itm, itm_folder, captioner_folder
    folder = tmp_path / "copy"
    shutil.copytree(right, folder)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    assert re.search(r"is not a BLIP .*: \d+ of the weights of one are not in it", complaint(lambda: load(folder)))


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors", "tokenizer*", "preprocessor_config.json"])
def test_an_incomplete_folder(captioner_folder: Path, tmp_path: Path, lacking: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(captioner_folder, folder)
    for file in folder.glob(lacking):
        file.unlink()
    assert complaint(lambda: captioner(folder)).startswith("caption.model: ")


@pytest.mark.parametrize("kind", ["captioner", "clip"])
def test_weights_that_were_cut_off(captioner_folder: Path, clip_folder: Path, tmp_path: Path, kind: str) -> None:
    load, original = (captioner, captioner_folder) if kind == "captioner" else (clip, clip_folder)
    folder = tmp_path / "copy"
    shutil.copytree(original, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:4000])
    assert "SafetensorError" in complaint(lambda: load(folder))  # type: ignore[operator]


def test_captions_longer_than_the_model_can_write(captioner_folder: Path) -> None:
    captioner(captioner_folder, max_length=37)  # 4 tokens of prompt and 36 that are read again fill 40 positions
    said = complaint(lambda: captioner(captioner_folder, max_length=38))
    assert said.startswith("caption.max_length: 38 tokens behind the prompt's 4 are more than the model's 40 positions")


def test_a_matching_model_without_enc(itm_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(itm_folder, folder)
    for file in folder.glob("tokenizer*"):
        file.write_text(file.read_text().replace("[ENC]", "[OTHER]"))
    assert "has no [ENC] token" in complaint(lambda: itm(folder))


def test_openai_weights_need_quick_gelu() -> None:
    said = complaint(lambda: clip("ViT-L-14", "openai"))
    assert said == "rank.model: the weights 'openai' were trained with QuickGELU; name 'ViT-L-14-quickgelu'"


def test_plain_gelu_weights_need_the_plain_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_weights, "get_pretrained_cfg", lambda model, tag: {"quick_gelu": False})
    said = complaint(lambda: clip("ViT-L-14-quickgelu", "openai"))
    assert said == "rank.model: the weights 'openai' were trained with plain GELU; name 'ViT-L-14'"


def test_an_architecture_needs_one_of_its_tags() -> None:
    for pretrained in (None, "opnai"):
        said = complaint(lambda pretrained=pretrained: clip("ViT-L-14-quickgelu", pretrained))  # type: ignore[misc]
        assert said.startswith(f"rank.pretrained: found {pretrained!r}; the weights of ViT-L-14-quickgelu are: openai")
    assert complaint(lambda: clip("ViT-L-14-quickgelu", "openai", "v1")).startswith("rank.revision:")


def test_a_tag_without_an_architecture(clip_folder: Path) -> None:
    assert complaint(lambda: clip(clip_folder, "openai")).startswith("rank.pretrained: 'openai' names weights")


def test_a_hub_clip_is_taken_at_its_revision(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        return str(clip_folder)

    def download_one(name: str, file: str, revision: str | None) -> str:
        asked.append((name, revision))
        return str(clip_folder / file)

    monkeypatch.setattr(clip_weights, "snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download_one)
    clip("org/clip", revision="abc")
    assert set(asked) == {("org/clip", "abc")}
    assert len(asked) > 1


def test_loading_says_nothing(
    captioner_folder: Path, itm_folder: Path, clip_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captioner(captioner_folder)
        itm(itm_folder)
        clip(clip_folder)
    assert capfd.readouterr() == ("", "")


def test_devices() -> None:
    assert resolve_device("cpu", "rank.run.device") == CPU
    assert resolve_device("auto", "rank.run.device").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("cuda:99", "gpu", "xpu"):
        said = complaint(lambda name=name: resolve_device(name, "rank.run.device") and None)  # type: ignore[misc]
        assert said.startswith(f"rank.run.device: no device '{name}' here")


def test_dtypes() -> None:
    assert torch_dtype("bfloat16") is torch.bfloat16


def test_threads() -> None:
    before = torch.get_num_threads()
    limit_threads(None)
    assert torch.get_num_threads() == before
    limit_threads(2)
    assert torch.get_num_threads() == 2
    limit_threads(before)


def test_open_clip_still_only_warns_of_the_mismatch() -> None:
    """If this fails, open_clip has repaired it and `check_tag` may go."""
    assert not open_clip.get_model_config("ViT-L-14").get("quick_gelu", False)
