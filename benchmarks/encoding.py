"""Items encoded a second, batched against one by one, in one run: `python benchmarks/encoding.py`."""

from __future__ import annotations

import time

from comem_memory import ContinuousMemory
from comem_memory.files import load_image
from comem_memory.synthesis.countries import item, rows

BATCH_SIZES = (1, 16)


def main(items: int = 96) -> None:
    """Encodes the first countries, text and flag, with the embedded default."""
    encoder = ContinuousMemory.from_pretrained().encoder
    inputs = [encoder.inputs(i.text, load_image(i.image)) for i in map(item, rows()[:items])]
    encoder.encode(inputs[:16])  # warm-up
    seconds = {}
    for batch_size in BATCH_SIZES:
        start = time.perf_counter()
        encoder.encode(inputs, batch_size=batch_size)
        seconds[batch_size] = time.perf_counter() - start
        print(f"batch size {batch_size}: {items / seconds[batch_size]:.2f} items a second")
    print(f"batched : one by one = {seconds[1] / seconds[16]:.2f} : 1 (without laying out texts and pictures)")


if __name__ == "__main__":
    main()
