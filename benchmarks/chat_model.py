"""`ChatComem` without memory against LangChain's own `ChatHuggingFace` on the same weights, in one run.

`pip install langchain-huggingface`, then `python benchmarks/chat_model.py`. Both decode greedily, 64 tokens. Every
round begins its prompt with another word, so that nothing of an earlier one can be reused.
"""

from __future__ import annotations

import statistics
import time

from langchain_core.language_models import BaseChatModel
from langchain_huggingface import ChatHuggingFace, HuggingFacePipeline
from transformers import LlamaForCausalLM, pipeline

from comem_memory import Backbone, ContinuousMemory, MemoryEncoder
from comem_memory.integrations.langchain import ChatComem
from comem_memory.opening import load_backbone
from comem_memory.store import ChromaStore, identity_of
from comem_memory.testing import tiny_key

PROMPT = "{}, please write a long letter to a friend about a journey by train through the mountains."
NAMES = [
    "Ada",
    "Ben",
    "Cleo",
    "Dora",
    "Emil",
    "Finn",
    "Greta",
    "Hugo",
    "Iris",
    "Jan",
    "Karl",
    "Lena",
    "Max",
    "Nora",
    "Otto",
]
TOKENS = 64


def main() -> None:
    """Medians over alternating rounds, after one warm-up each."""
    vlm = load_backbone()
    model = LlamaForCausalLM(vlm.model.config.get_text_config())
    model.model, model.lm_head = vlm.model.model.language_model, vlm.model.lm_head
    model.generation_config = vlm.model.generation_config
    settings = {"max_new_tokens": TOKENS, "do_sample": False, "return_full_text": False}
    made = pipeline("text-generation", model=model, tokenizer=vlm.prompts.tokenizer, **settings)
    theirs = ChatHuggingFace(
        llm=HuggingFacePipeline(pipeline=made, pipeline_kwargs=settings), tokenizer=vlm.prompts.tokenizer
    )
    ours = ChatComem(memory=_memory(Backbone(model, vlm.prompts.tokenizer, name="smollm2")), k=0, max_tokens=TOKENS)
    said = {name: chat.invoke(PROMPT.format("Zoe")).text.strip() for name, chat in (("ours", ours), ("theirs", theirs))}
    print(f"same answer: {said['ours'] == said['theirs']}")
    for what, measure in (("time to first piece", _first), ("whole answer", _whole)):
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for name in NAMES:
            for who, chat in (("ours", ours), ("theirs", theirs)):
                times[who].append(measure(chat, PROMPT.format(name)))
        ratio = statistics.median(times["ours"]) / statistics.median(times["theirs"])
        print(f"{what}, ChatComem : ChatHuggingFace = {ratio:.2f} : 1")


def _memory(backbone: Backbone) -> ContinuousMemory:
    encoder, key = MemoryEncoder.create(backbone, num_attention_heads=9, max_length=512), tiny_key()
    return ContinuousMemory(encoder, key, ChromaStore.in_memory(identity=identity_of(encoder, key)))


def _first(chat: BaseChatModel, prompt: str) -> float:
    """Seconds to the first piece; the rest is awaited, so that it runs into nobody else's time."""
    start = time.perf_counter()
    pieces = chat.stream(prompt)
    while not next(pieces).text:
        pass
    seconds = time.perf_counter() - start
    for _ in pieces:
        pass
    return seconds


def _whole(chat: BaseChatModel, prompt: str) -> float:
    start = time.perf_counter()
    chat.invoke(prompt)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
