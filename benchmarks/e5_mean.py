"""The mean vector of multilingual-e5-small that its keys are centred by: `python benchmarks/e5_mean.py FILE`.

Embeds made-up sentences, addresses, words and companies in 30 languages (faker), once as questions and once as items,
and writes the mean of their vectors of unit length; the one in `comem_memory/data` was made so.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from faker import Faker
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

from comem_memory import mini

LOCALES = (
    *("ar_AA", "bg_BG", "bn_BD", "cs_CZ", "de_DE", "el_GR", "en_US", "es_ES", "fa_IR", "fi_FI", "fr_FR", "he_IL"),
    *("hi_IN", "hu_HU", "hy_AM", "it_IT", "ja_JP", "ka_GE", "ko_KR", "nl_NL", "pl_PL", "pt_BR", "ro_RO", "ru_RU"),
    *("sv_SE", "th_TH", "tr_TR", "uk_UA", "vi_VN", "zh_CN"),
)
ROUNDS = 3


def texts() -> list[str]:
    """Four kinds of text a round in each language."""
    made = []
    for locale in LOCALES:
        faker = Faker(locale)
        faker.seed_instance(0)
        for _ in range(ROUNDS):
            made += [
                faker.sentence(),
                f"{faker.name()}, {' '.join(faker.address().split())}",
                faker.text(120),
                f"{faker.company()} {faker.phone_number()}",
            ]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    whole = SentenceTransformer(str(mini.e5_directory()))
    *before, _centring = whole
    model = SentenceTransformer(modules=before, prompts=whole.prompts)
    means = [
        encode(texts(), convert_to_tensor=True).mean(dim=0) for encode in (model.encode_query, model.encode_document)
    ]
    mean = torch.stack(means).mean(dim=0)
    save_file({"mean": mean}, file)
    print(f"{file}: {len(mean)} numbers, length {mean.norm():.3f}")


if __name__ == "__main__":
    main()
