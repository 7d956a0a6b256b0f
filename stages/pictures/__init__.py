"""Strangers' pictures: the one decoder of the program. What it refuses, no stage sees; what it decodes, all decode."""

from stages.pictures.decoder import Picture, decode
from stages.pictures.errors import PictureError, TooLargeError

__all__ = ["Picture", "PictureError", "TooLargeError", "decode"]
