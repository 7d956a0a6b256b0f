"""The demo models' tokenizer: WordPiece over the words of the world, with letters and digits for all others.

One vocabulary for all three models. The end token [SEP] has the highest number, so that CLIP's pooling finds it
by argmax as well as by number; [DEC] and [ENC] begin the texts of BLIP's decoder and of its matching encoder.
"""

import re
import string
from pathlib import Path

from transformers import BertTokenizer

from stages.demo.alt_text import BOILERPLATE, GOODS, OFFERS, STEMS
from stages.demo.language import COUNT_WORDS, LEADS, PLACES, RELATIONS, SIZE_WORDS, TAILS
from stages.demo.scene import COLOURS, KINDS

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[MASK]", "[DEC]", "[ENC]")
PAD, UNK, CLS, MASK, DEC, ENC = range(6)
CHARACTERS = string.ascii_lowercase + string.digits
OTHERS = "a an one and with shapes shape true picture of that is jpg jpeg png webp buy design photo the on in"


def vocabulary() -> list[str]:
    """All tokens in the order of their numbers."""
    spoken = (*KINDS, *COLOURS, *SIZE_WORDS, *COUNT_WORDS, *RELATIONS, *TAILS, *PLACES, *LEADS)
    words = re.findall(r"[a-z]{2,}", " ".join((OTHERS, *spoken, *BOILERPLATE, *GOODS, *OFFERS, *STEMS)).lower())
    pieces = [f"##{character}" for character in CHARACTERS]
    return [*SPECIAL, *string.punctuation, *CHARACTERS, *dict.fromkeys(words), *pieces, "[SEP]"]


def build() -> BertTokenizer:
    """The tokenizer, as the public classes load it."""
    tokens = vocabulary()
    assert len(set(tokens)) == len(tokens)
    return BertTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        bos_token="[DEC]",  # noqa: S106  (no password)
        additional_special_tokens=["[ENC]"],
        model_max_length=64,
    )


def save(tokenizer: BertTokenizer, folder: Path) -> None:
    """Tokenizer files, with the vocab.txt that older readers look for."""
    tokenizer.save_pretrained(str(folder))
    folder.joinpath("vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary()))
