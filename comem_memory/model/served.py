"""A frozen model that another process runs: vLLM's OpenAI-compatible server, which takes memory vectors as embeddings.

The prompt is laid out here, as for a model in this process, and travels as one text through a chat template that only
repeats it; memory goes before it as a `prompt_embeds` part, which vLLM puts where its tokens would be. So positions are
those of `Backbone`, and this process needs the model's tokenizer or processor, but neither the model nor its embedding
matrix.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import httpx
import torch
from PIL import Image
from transformers import GenerationConfig

from comem_memory.content import repaired
from comem_memory.errors import GrammarError, InvalidItemError, ModelConnectionError, ModelError, PromptTooLongError
from comem_memory.files import MODEL_PIXELS, as_png, at_most
from comem_memory.http_clients import hung_up_when, unsendable
from comem_memory.model.answering import AnsweringModel, Constraint, until
from comem_memory.model.loading import load_config, load_generation_config, load_processor
from comem_memory.model.prefix_cache import PrefixCache
from comem_memory.model.prompts import Message, Prompts

TEMPLATE = "{% for message in messages %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endfor %}"
"""Repeats the texts of a conversation as they are, for prompts that are laid out already."""
RESERVED = "<prompt_embeds>"
"""Stands for vectors in vLLM's own layout; it refuses texts that hold it."""
START = "vllm serve MODEL --served-model-name {name} --enable-prompt-embeds --trust-request-chat-template"
MOST_AT_ONCE = 64
"""Prompts of one call that are sent at the same time."""
SETTINGS = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "stop_strings": "stop",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
}
"""Settings of transformers' `generate`, and what vLLM calls them."""


@dataclass(frozen=True)
class ServedPrompt:
    """A prompt as it is sent.

    Args:
        text: The prompt as the chat template writes it.
        pictures: The pictures that belong into it, in their order.
        ids: The tokens that the model reads, those of the pictures included.
    """

    text: str
    pictures: list[Image.Image]
    ids: list[int]


class ServedModel(AnsweringModel[ServedPrompt]):
    """A frozen model behind a vLLM server.

    Many threads may ask at the same time; the server answers them together.

    The server must be yours: whoever can send vectors or chat templates can bring it down, as vLLM says of both flags,
    so open it to trusted clients alone.

    Args:
        url: The server's API, which ends in `/v1`.
        name: What the model is called.
        location: Its hub name or folder, from which the tokenizer and the settings are loaded; by default `name`.
        revision: The hub commit of these.
        token: The server's API key, if it asks for one.
        max_pixels: Most pixels of a picture; larger ones are scaled down before they are sent.

    Raises:
        ModelConnectionError: No such server answers, or it does not take the token, or that cannot be sent.
        ModelError: The server serves no model of this name, or does not take vectors; or there is no such model.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        location: str | None = None,
        revision: str | None = None,
        token: str | None = None,
        max_pixels: int = MODEL_PIXELS,
    ) -> None:
        self.url, self.name = url.rstrip("/"), name
        location = location or name
        headers = {"Authorization": f"Bearer {token.strip()}"} if token else {}
        if unsendable(headers):
            raise ModelConnectionError(
                "The token for the server that answers has characters that cannot be sent, such as a line break. Pass "
                "its API key in printable ASCII as answering_token."
            )
        self._config = load_config(location, revision)
        self._generation = load_generation_config(location, self._config, revision)
        self.prompts = Prompts(load_processor(location, self._config, revision), max_pixels=max_pixels)
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(600, connect=10),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),  # servers end idle ones at any time
        )
        served = self._served(location)
        self._served_name, self._window = str(served["id"]), served.get("max_model_len")
        self._check()

    def _served(self, location: str) -> dict[str, Any]:
        """What the server tells of the model."""
        answer = self._sent("GET", "/models")
        try:
            cards: list[dict[str, Any]] = answer.json()["data"]
        except (ValueError, KeyError) as error:
            raise ModelConnectionError(
                f"{self.url} is not the API of a vLLM server. Its URL ends in /v1, as http://localhost:8000/v1."
            ) from error
        wanted = {self.name, location}
        for card in cards:
            if wanted & {card["id"], card.get("root")}:
                return card
        names = ", ".join(card["id"] for card in cards)
        raise ModelError(
            f"The server at {self.url} serves {names}, but the answers need {self.name}: vectors are read by the model "
            f"they were made for. Start it as `{START.format(name=self.name)}`, or say with answering_model which "
            "model it serves."
        )

    def _check(self) -> None:
        """Asks for one token after a vector, so that what does not fit is said before there is work to be lost."""
        prompt = self.prompt([{"role": "user", "content": "?"}])
        self.generate([prompt], [torch.zeros(1, self.hidden_size, dtype=torch.float32)], max_new_tokens=1)

    @property
    def hidden_size(self) -> int:
        return int(self._config.get_text_config().hidden_size)

    @property
    def max_length(self) -> int:
        own = int(self._config.get_text_config().max_position_embeddings)
        return own if self._window is None else min(own, self._window)

    @property
    def vocabulary_size(self) -> int:
        return int(self._config.get_text_config().vocab_size)

    @property
    def generation_config(self) -> GenerationConfig:
        return self._generation

    def prompt(self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] | None = None) -> ServedPrompt:
        text, pictures = self.prompts.rendered(messages, tools=tools)
        text = without_reserved(repaired(text))
        pictures = [at_most(picture, self.prompts.max_pixels) for picture in pictures]
        ids = self.prompts.tokenize(text, pictures)["input_ids"][0].tolist()
        return ServedPrompt(text, pictures, ids)

    def prompt_length(self, prompt: ServedPrompt, memory: torch.Tensor | None) -> int:
        return len(prompt.ids) + (0 if memory is None else len(memory))

    # -- generation ---------------------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[ServedPrompt],
        memories: Sequence[torch.Tensor | None] | None = None,
        *,
        seed: int | None = None,
        prefix: PrefixCache | None = None,
        constraint: Constraint | None = None,
        stopped: threading.Event | None = None,
        **generation_kwargs: Any,
    ) -> list[list[int]]:
        """New tokens per prompt, all prompts at the same time; without memory exactly the bare model's.

        Args:
            prompts: What `prompt` makes.
            memories: The memory vectors of each prompt, (n, H), or None.
            seed: The seed of sampling.
            prefix: Not needed: the server keeps what prompts have in common.
            constraint: What the answer to a single prompt has to follow.
            stopped: An event that ends the request, also while it waits.
            **generation_kwargs: Of transformers' `generate`: `do_sample`, `eos_token_id` and those in `SETTINGS`.

        Returns:
            The new token ids of each prompt, up to and without the end-of-sequence token.

        Raises:
            ModelError: The server refuses vectors or chat templates, reads the prompt otherwise, or does not know a
                setting.
            ModelConnectionError: The server does not answer, or fails.
            PromptTooLongError: Prompt and memory leave no room for an answer.
            GrammarError: The server cannot enforce the constraint.
        """
        settings = {"seed": seed, "constraint": constraint, "stopped": stopped} | generation_kwargs

        def answer(asked: tuple[ServedPrompt, torch.Tensor | None]) -> list[int]:
            pieces = self.stream(*asked, **settings)
            while True:
                try:
                    next(pieces)
                except StopIteration as end:
                    return list(end.value)

        asked = list(zip(prompts, memories or [None] * len(prompts), strict=True))
        if len(asked) == 1:
            return [answer(asked[0])]
        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            return list(pool.map(answer, asked))

    def stream(
        self,
        prompt: ServedPrompt,
        memory: torch.Tensor | None = None,
        *,
        stopped: threading.Event | None = None,
        seed: int | None = None,
        prefix: PrefixCache | None = None,
        constraint: Constraint | None = None,
        **generation_kwargs: Any,
    ) -> Generator[str, None, list[int]]:
        memory = None if memory is None or not len(memory) else memory
        body = self._body(prompt, memory) | _settings(generation_kwargs)
        if seed is not None:
            body["seed"] = seed
        if constraint is not None:
            body["structured_outputs"] = {"grammar": constraint.grammar}
        tokens: list[int] = []
        with self._events(body, stopped) as events:
            for event in events:
                if "prompt_token_ids" in event:
                    self._check_read(event["prompt_token_ids"], prompt, memory)
                for choice in event["choices"]:
                    tokens += choice.get("token_ids") or []
                    if piece := choice["delta"].get("content"):
                        yield piece
        return until(tokens, self.stops(generation_kwargs.get("eos_token_id")))

    def _body(self, prompt: ServedPrompt, memory: torch.Tensor | None) -> dict[str, Any]:
        before = [] if memory is None else [prompt_embeds(memory)]
        pictures = [{"type": "image_url", "image_url": {"url": _as_data_url(one)}} for one in prompt.pictures]
        content = [*before, *pictures, {"type": "text", "text": prompt.text}]
        return {
            "model": self._served_name,
            "messages": [{"role": "user", "content": content}],
            "chat_template": TEMPLATE,
            "add_special_tokens": self.prompts.adds_special_tokens(prompt.text),
            "stream": True,
            "return_token_ids": True,
        }

    def _check_read(self, ids: list[int], prompt: ServedPrompt, memory: torch.Tensor | None) -> None:
        """Checks that the server reads the tokens that this process counts, before an answer is believed."""
        before = 0 if memory is None else len(memory)
        if len(ids) != before + len(prompt.ids) or ids[before:] != prompt.ids:
            raise ModelError(
                f"The server that runs {self.name} reads other tokens than this model has for the prompt ({len(ids)} "
                f"instead of {before + len(prompt.ids)}). It serves another model, or another revision of tokenizer or "
                "picture processor: serve the one that this memory was opened with."
            )

    # -- the server ---------------------------------------------------------------------------------------------

    @contextmanager
    def _events(self, body: dict[str, Any], stopped: threading.Event | None) -> Iterator[Iterator[dict[str, Any]]]:
        """An answer's events. Leaving early, or setting `stopped`, hangs up, and the server ends the answer."""
        response = self._sent("POST", "/chat/completions", body)
        connection = response.extensions["network_stream"].get_extra_info("socket")
        with closing(response), nullcontext() if stopped is None else hung_up_when(stopped, [connection]):
            yield self._read(response, stopped)

    def _read(self, response: httpx.Response, stopped: threading.Event | None) -> Iterator[dict[str, Any]]:
        try:
            for line in response.iter_lines():
                if stopped is not None and stopped.is_set():
                    return
                event = line.removeprefix("data: ")
                if event == line or event == "[DONE]":
                    continue
                told = json.loads(event)
                if "error" in told:
                    said = told["error"].get("message")
                    raise ModelConnectionError(f"The server that runs {self.name} failed in an answer: {said}")
                yield told
        except httpx.HTTPError as error:
            if stopped is None or not stopped.is_set():
                raise self._unreachable(error) from error

    def _sent(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """The server's answer, of which nothing but the beginning is read where a body was sent."""
        request = self._client.build_request(method, self.url + path, json=body)
        try:
            response = self._client.send(request, stream=body is not None)
            if response.is_success:
                return response
            response.read()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        response.close()
        raise self._refusal(response, body or {})

    def _unreachable(self, error: Exception) -> ModelConnectionError:
        return ModelConnectionError(
            f"The server at {self.url} does not answer: {error or type(error).__name__}. "
            f"Start it as `{START.format(name=self.name)}`, or correct answering_url."
        )

    def _refusal(self, response: httpx.Response, body: dict[str, Any]) -> Exception:
        """What the server says no to, as our error with what to do."""
        try:
            said = str(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            said = response.text[:200]
        who = f"The server that runs {self.name}"
        if response.status_code in (401, 403):
            return ModelConnectionError(f"{who} does not take this token. Pass its API key as answering_token.")
        if response.status_code == 404:
            return ModelConnectionError(f"{who} answers 404: {said}. Correct answering_url, which ends in /v1.")
        if response.status_code != 400:
            return ModelConnectionError(f"{who} answers {response.status_code}: {said}")
        if "--enable-prompt-embeds" in said or "--trust-request-chat-template" in said:
            return ModelError(f"{who} takes no memory vectors. Start it as `{START.format(name=self.name)}`.")
        if "maximum context length" in said:
            return PromptTooLongError(f"{who} says: {said} Shorten the conversation, or recall fewer items.")
        if "not a multimodal model" in said or "image" in said:
            return InvalidItemError(
                f"{who} takes no pictures, or not this one: {said}. Ask in words, or serve a vision-language model."
            )
        if "hidden_size" in said:
            return ModelError(f"{who} runs another model than {self.name}: {said}")
        if "out of vocabulary" in said:
            return ModelError(
                f"{who} has no token left for vectors beside pictures: {said} (docs/guides/vllm.md). Ask without the "
                "picture, or with mode='text'."
            )
        if "structured_outputs" in body:
            return GrammarError(f"{who} cannot enforce the schema: {said}. Simplify it.")
        return ModelError(f"{who} refuses the prompt: {said}")


def without_reserved(text: str) -> str:
    """A text that does not stand for vectors in vLLM's layout."""
    return text.replace(RESERVED, f"{RESERVED[0]} {RESERVED[1:]}")


def prompt_embeds(vectors: torch.Tensor) -> dict[str, str]:
    """Vectors (n, H) as vLLM takes them in a message's content: a tensor as PyTorch saves it, in base64."""
    file = io.BytesIO()
    torch.save(vectors.detach().cpu().clone(), file)
    return {"type": "prompt_embeds", "data": base64.b64encode(file.getvalue()).decode()}


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Settings of transformers' `generate` as vLLM takes them."""
    settings = {"do_sample": False} | given
    sampled, eos = settings.pop("do_sample"), settings.pop("eos_token_id", None)
    settings.pop("tokenizer", None)  # which `generate` needs for `stop_strings`
    if unknown := sorted(settings.keys() - SETTINGS.keys()):
        raise ModelError(
            f"A served model does not take {', '.join(unknown)}. Use do_sample, eos_token_id, {', '.join(SETTINGS)}, "
            "or answer in this process, without answering_url."
        )
    body = {SETTINGS[name]: value for name, value in settings.items() if value is not None}
    if not sampled:
        body["temperature"] = 0
    if eos is not None:
        body |= {"stop_token_ids": eos if isinstance(eos, list) else [eos], "ignore_eos": True}
    if "stop" in body:
        body["include_stop_str_in_output"] = True
    return body


def _as_data_url(picture: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(as_png(picture)).decode()}"
