"""Training: what is taught beside the texts, and what one model takes over from another."""

import numpy as np
import open_clip
import pytest
import torch
from transformers import BlipForConditionalGeneration, BlipForImageTextRetrieval

from stages.demo import learning, lessons, tokenizer, train_captioner, train_clip, train_itm
from stages.demo.describe import describe, turned
from stages.demo.language import is_right
from stages.demo.lessons import PIXELS, draw, open_book
from stages.demo.patches import GRID, content, position
from stages.demo.pointing import Pointer, meant
from stages.demo.scene import COLOURS, KINDS, SIZES, Place, Scene, Shape, Stream, scene_at

SCENE = Scene(1.0, (Shape("circle", "red", "large", 0.3, 0.3, 0.2), Shape("star", "blue", "small", 0.8, 0.7, 0.11)))


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lessons.tempfile, "gettempdir", lambda: str(tmp_path_factory.mktemp("book")))
        return open_book(seed=1, stream=Stream.TRAIN, images=12, workers=1)


@pytest.fixture(scope="module")
def config():
    return learning.blip_config(len(tokenizer.vocabulary()))


def test_a_book_is_its_lessons(book):
    pixels, lesson = draw(Place(1, Stream.TRAIN, 5))
    np.testing.assert_array_equal(book.pixels[5], pixels)
    assert book.lessons[5] == lesson
    assert book.pixels.shape == (12, 3, PIXELS, PIXELS)


def test_right_texts_are_right_and_no_wrong_one_gets_among_the_wrong(book):
    for lesson in book.lessons:
        assert all(is_right(text, lesson.scene) for text in [*lesson.descriptions, *lesson.web_texts])
        wrong = train_itm.wrong_texts(lesson, np.random.default_rng(0))
        assert wrong
        assert not any(is_right(text, lesson.scene) for text in wrong)


def test_patches_say_what_lies_on_them(book):
    truth = content(lessons.Book(book.pixels[:1], [lessons.Lesson(SCENE, [], [], [])]))[0]
    where = position(book)[0]
    circle = (where == torch.tensor([2, 2])).all(-1)
    corner = (where == torch.tensor([0, GRID - 1])).all(-1)
    assert truth[circle].tolist() == [[KINDS.index("circle"), COLOURS.index("red"), SIZES.index("large")]]
    assert truth[corner].tolist() == [[len(KINDS), len(COLOURS), len(SIZES)]]


def test_right_texts_point_at_the_shapes_that_they_name():
    assert meant("a star to the right of a large circle", SCENE) == (SCENE.shapes[1], SCENE.shapes[0])
    with pytest.raises(ValueError, match="only a right text"):
        meant("a green star", SCENE)


def test_the_pointer_reads_the_tokens_of_kinds():
    words = tokenizer.build()
    pointer = Pointer(2, [words.vocab[kind] for kind in KINDS])
    for head, cells in ((pointer.row, (2.0, 5.0)), (pointer.column, (2.0, 6.0))):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        for axis, cell in enumerate(cells):
            head.weight.data[int(cell), axis] = 50.0
    text = "a large circle left of a star"
    tokens = words([text], return_tensors="pt").input_ids
    states = torch.zeros(*tokens.shape, 2)
    states[0, tokens[0] == words.vocab["circle"], 0] = 1
    states[0, tokens[0] == words.vocab["star"], 1] = 1
    assert pointer(tokens, states, [text], [SCENE]).item() == pytest.approx(0, abs=1e-4)
    assert pointer(tokens, states.flip(-1), [text], [SCENE]).item() > 10


def test_a_turned_text_is_wrong_and_differs_in_a_direction_only():
    turns = 0
    for place in (Place(0, Stream.TEST, index) for index in range(40)):
        scene, rng = scene_at(place), np.random.default_rng(place.index)
        text = describe(scene, rng)
        changed = turned(text, scene, rng)
        if changed:
            turns += 1
            assert not is_right(changed, scene)
            assert [word for word in changed.split() if word in KINDS] == [
                word for word in text.split() if word in KINDS
            ]
    assert turns > 15


def test_what_has_no_direction_or_holds_in_both_is_not_turned():
    twins = Scene(1.0, tuple(Shape("star", "red", "small", x, 0.5, 0.11) for x in (0.2, 0.8)))
    rng = np.random.default_rng(0)
    assert turned("a red star", twins, rng) is None
    assert turned("a red star on the left", twins, rng) is None
    assert turned("a large circle to the left of a star", SCENE, rng) in (
        "a large circle to the right of a star",
        "a large circle right of a star",
    )


def test_the_filter_begins_as_the_captioner(config):
    captioner, itm = BlipForConditionalGeneration(config), BlipForImageTextRetrieval(config)
    train_itm.begin_as(itm, captioner)
    for name, value in captioner.text_decoder.bert.state_dict().items():
        torch.testing.assert_close(itm.text_encoder.state_dict()[name], value)


def test_clip_begins_with_the_filters_eyes(config, tmp_path):
    itm = BlipForImageTextRetrieval(config).eval()
    torch.nn.init.normal_(itm.vision_model.embeddings.patch_embedding.bias)
    train_clip.write_config(tmp_path)
    model = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False).eval()
    train_clip.begin_as(model, itm)
    model.visual.proj = None
    pixels = torch.randn(2, 3, PIXELS, PIXELS)
    with torch.no_grad():
        torch.testing.assert_close(model.visual(pixels), itm.vision_model(pixels).last_hidden_state[:, 0])


def test_a_few_steps_of_everything_leave_loadable_folders(book, tmp_path):
    train_captioner.train(book, tmp_path / "captioner", steps=2, seed=0)
    train_itm.train(book, tmp_path / "itm", captioner=tmp_path / "captioner", steps=2, seed=0)
    train_clip.train(book, tmp_path / "clip", itm=tmp_path / "itm", steps=2, seed=0)
    BlipForConditionalGeneration.from_pretrained(str(tmp_path / "captioner"))
    BlipForImageTextRetrieval.from_pretrained(str(tmp_path / "itm"))
    open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'clip'}")
