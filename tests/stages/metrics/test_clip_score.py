"""CLIPScore and RefCLIPScore against open_clip called directly, and by hand."""

from __future__ import annotations

import open_clip
import pytest
import torch

from stages.metrics.clip_score import clip_score, ref_clip_score, score_images
from stages.models.families import load_encoder
from stages.models.family import ModelName


def test_by_hand():
    assert clip_score(torch.tensor([0.3, -0.2, 0.0])).tolist() == pytest.approx([0.75, 0, 0])
    found = ref_clip_score(torch.tensor([0.75, 0.75, 0.0, 0.0]), torch.tensor([0.5, -0.5, 0.9, -0.1]))
    assert found.tolist() == pytest.approx([2 * 0.75 * 0.5 / 1.25, 0, 0, 0])


@torch.no_grad()
def test_it_is_open_clips_cosines(clip_folder, pictures):
    images = list(pictures.values())[:3]
    captions = ["a red circle", "two dogs", "a cat on the square"]
    references = [["a red circle", "the dog"], [], ["large cat", "a blue square", "green"]]
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    read = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    pixels = torch.stack([preprocess(image) for image in images])
    seen = model.eval().encode_image(pixels, normalize=True)
    said = [model.encode_text(read([f"A photo depicts {text}"]), normalize=True)[0] for text in captions]
    clip = [2.5 * max(float(a @ b), 0) for a, b in zip(seen, said, strict=True)]
    with_references = []
    for value, written, texts in zip(clip, said, references, strict=True):
        others = [
            float(model.encode_text(read([f"A photo depicts {text}"]), normalize=True)[0] @ written) for text in texts
        ]
        near = max([0.0, *others])
        with_references.append(2 * value * near / (value + near) if texts and value + near else 0 if texts else None)

    encoder = load_encoder(ModelName("evaluate_captions.clip", str(clip_folder)), "float32", torch.device("cpu"))
    assert encoder is not None
    own = torch.stack([encoder.preprocess(image) for image in images])
    found, found_with = score_images(encoder, own, captions, references)
    assert found.tolist() == pytest.approx(clip, abs=1e-5)
    assert any(clip)
    assert found_with[1].isnan()
    kept = [0, 2]
    assert found_with[kept].tolist() == pytest.approx([with_references[row] for row in kept], abs=1e-5)
