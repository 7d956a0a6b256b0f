"""What a family of models says of itself, and what its loaders give. It needs no torch, so that a plan can ask.

Every family is a folder: `kind.py`, which reads a configuration, and beside it what loads and computes. The registry
is `stages.models.families`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from stages.models.source import Source, find_source, key_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from stages.models.qformer.model import Text

Role = Literal["captioner", "ranker", "filter", "tower", "encoder", "retriever", "answerer", "llm"]
"""What a model may be asked for: captions; scores to order the captions of an image by; the probability that a text
describes an image; the tokens of an image, for a Q-Former; embeddings of images and texts in one space; retrieval by
such embeddings and then by a closer look; answers to questions about images; texts that go on from what it is given,
as a language model does."""

Config = Mapping[str, Any]
"""A model's configuration file."""
CONFIG_FILE: Final = "config.json"
"""The file, as transformers calls it."""


@dataclass(frozen=True)
class ModelName:
    """How a manifest names a model."""

    key: str
    """The manifest key that names the model (`rank.model`), for messages."""
    model: str
    """A hub name, a local folder, or an architecture of open_clip (`ViT-L-14-quickgelu`)."""
    pretrained: str | None = None
    """For open_clip: a tag of weights, or a local file with them."""
    revision: str | None = None
    """The hub commit, for a hub name only."""

    def source(self) -> Source:
        """Where it lies.

        Raises:
            UserError: neither a folder that is here nor a hub name, or a folder with a revision.
        """
        return find_source(self.model, self.revision, self.key)

    def beside(self, name: str) -> str:
        """The key of another field of the same section."""
        return f"{self.key.rsplit('.', 1)[0]}.{name}"

    @property
    def weights_key(self) -> str:
        """The key of the field that `pretrained` stands in."""
        return key_of(self.key, "pretrained")


@dataclass(frozen=True)
class Kind:
    """What a model is, as its configuration says."""

    words: str
    """What it is called: `a BLIP captioner`."""
    loaders: Mapping[Role, str] = field(default_factory=dict)
    """What it can be, each with what loads it: `"package.module:function"`."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """What is known of its sizes, such as `image_size` in pixels, `width` and `layers`."""
    because: Mapping[Role, str] = field(default_factory=dict)
    """Why it cannot be something, where that is not plain from its name."""
    instead: Mapping[Role, str] = field(default_factory=dict)
    """What to write for the same model, or one much like it."""
    takes_weights: bool = False
    """Whether `pretrained` may name its weights."""


def sizes_of(config: Config, names: Mapping[str, str]) -> dict[str, int]:
    """Those sizes that a configuration gives as whole numbers.

    Args:
        config: where they stand.
        names: what a size is called here, and there.
    """
    found = {ours: config.get(theirs) for ours, theirs in names.items()}
    return {ours: value for ours, value in found.items() if isinstance(value, int)}


def vision_sizes(config: Config) -> dict[str, int]:
    """The sizes of an image tower, as a configuration of transformers has them."""
    names = {"image_size": "image_size", "patch_size": "patch_size"}
    return sizes_of(config.get("vision_config") or {}, names | {"width": "hidden_size", "layers": "num_hidden_layers"})


class PairScorer(Protocol):
    """A model that says how well texts fit an image."""

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image to the model's pixels, (3, height, width), float32."""
        ...

    def prepare(self, text: str) -> str:
        """The text as the model is to read it."""
        ...

    def score(self, pixels: Tensor, texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Score the prepared texts of every image.

        Args:
            pixels: (images, 3, height, width), float32.
            texts: of each image its texts, distinct; there may be none.

        Returns:
            A score for each text, in the same nesting; not finite where the model's numbers are not. A ranker's order
            the texts of an image, a filter's are probabilities of a match, in [0, 1].
        """
        ...


class DualEncoder(Protocol):
    """A model with a tower for images and one for texts, whose embeddings share a space."""

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image to the model's pixels, (3, height, width), float32."""
        ...

    def prepare(self, text: str) -> str:
        """The text as the model is to read it."""
        ...

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Pixels, (images, 3, height, width), to embeddings of length 1, (images, width), float32."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Prepared texts to embeddings of length 1, (texts, width), float32."""
        ...


class Retriever(Protocol):
    """A model that finds texts for images, and images for texts, as BLIP and BLIP-2 do.

    ITC compares all pairs by their embeddings, ITM looks at the best of them closely.
    """

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image to the model's pixels, (3, height, width), float32."""
        ...

    def tokens(self, texts: Sequence[str]) -> Text:
        """Texts as they were written, to what the model reads of them."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels, (images, 3, height, width), to features, (images, tokens, width)."""
        ...

    def embed_images(self, features: Tensor) -> Tensor:
        """Features to embeddings of length 1, (images, queries, projection), float32."""
        ...

    def embed_texts(self, text: Text) -> Tensor:
        """Texts to embeddings of length 1, (texts, projection), float32."""
        ...

    def look(self, features: Tensor) -> Any:
        """What texts see of one image, (1, tokens, width), made once for all of them."""
        ...

    def match(self, seen: Any, text: Text) -> Tensor:
        """ITM's logits of texts with that image, of which index 1 is "match": (texts, 2)."""
        ...


@dataclass(frozen=True)
class Caption:
    """One written caption."""

    text: str
    """Without the prompt."""
    logprob: float
    """Sum over its tokens, the end token included, of the natural log of their probability under the model."""


class Captioner(Protocol):
    """A model that writes captions."""

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image to the model's pixels, (3, height, width), float32."""
        ...

    def caption(self, pixels: Tensor, uniforms: NDArray[np.float64]) -> list[list[Caption] | None]:
        """Write captions, `uniforms.shape[1]` for each image.

        Args:
            pixels: (images, 3, height, width), from `preprocess`.
            uniforms: (images, candidates, max_length), float64 in [0, 1): what is drawn by.

        Returns:
            The captions of each image; None where the model's numbers for it are not finite.
        """
        ...


class Answerer(Protocol):
    """A model that answers questions about images."""

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB image to the model's pixels, (3, height, width), float32."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels, (images, 3, height, width), to features, (images, tokens, width)."""
        ...

    def answer(self, features: Tensor, questions: Sequence[str]) -> list[str | None]:
        """Answer questions.

        Args:
            features: from `encode`, of each question those of its image.
            questions: as they were asked.

        Returns:
            An answer for each; None where the model's numbers for it are not finite.
        """
        ...
