"""`stages.download.decoder`, to which some pictures do on command what real ones may do to a codec."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.download import decoder
from stages.download.messages import Answer, Sizes

whole = decoder.convert


def convert(encoded: bytes, wanted: Any, before_large: Callable[[], None]) -> Any:  # noqa: C901, PLR0912
    word, _, rest = encoded.partition(b":")
    match word:
        case b"signal":
            os.kill(os.getpid(), int(rest))
        case b"die once" if not Path(os.fsdecode(rest)).exists():
            Path(os.fsdecode(rest)).touch()
            os._exit(3)
        case b"hang once" if not Path(os.fsdecode(rest)).exists():
            Path(os.fsdecode(rest)).touch()
            signal.pause()
        case b"hang":
            signal.pause()
        case b"spin":
            while True:
                pass
        case b"eat":
            bytearray(2**30)
        case b"raise":
            raise RuntimeError(rest.decode())
        case b"print":
            print("noise", flush=True)
            os.write(1, b"noise")
        case b"deaf":  # to its clock, too
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGPROF})
            time.sleep(600)
        case b"large answer":
            return Answer("success", None, Sizes(1, 1, 1, 1), bytes(2**22))
        case b"large":
            before_large()
            with Path(os.fsdecode(rest)).open("a") as file:
                file.write("(")
                file.flush()
                time.sleep(0.05)
                file.write(")")
        case b"process":
            raise RuntimeError(f"{os.getpid()} {os.getpgid(0)}")
    return whole(b"" if b":" in encoded[:16] else encoded, wanted, before_large)


if __name__ == "__main__":
    decoder.convert = convert
    decoder.main()
