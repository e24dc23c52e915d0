"""Items of several texts and pictures as the encoder reads them, whole steps left out where they are too many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from PIL import Image

from comem_memory.config import Layout
from comem_memory.content import pictures_of, steps_of, texts_of
from comem_memory.errors import ItemTooLongError
from comem_memory.files import at_most
from comem_memory.model.prompts import ENCODER_INSTRUCTION, Message, ModelInputs, Prompts

SMALLEST_SHARE = 0.25
"""Of the pixels of an item's pictures, where they are too many for the window: below it screenshots cannot be read."""

_Steps = Sequence[Sequence[int]]


class ContentInputs(NamedTuple):
    """Content as the encoder reads it."""

    tensors: ModelInputs
    """Each with a batch axis of 1."""
    text_ids: list[int]
    """The tokens of its texts."""
    left_out: tuple[int, ...]
    """Places of the parts that did not fit."""


def content_inputs(
    prompts: Prompts,
    content: Sequence[str | Image.Image],
    *,
    text: str | None = None,
    layout: Layout,
    max_length: int,
    thin: bool,
) -> ContentInputs:
    """An item of several parts.

    | layout | a step |
    |---|---|
    | `knowledge` | user turn = its pictures and the instruction, assistant turn = its text: as an item of one picture |
    | `trajectory` | user turn = its pictures and its text, as the agents' authors lay trajectories out |

    Where they do not fit together, pictures are scaled down, to a quarter of their pixels at most. Then steps are left
    out: those that repeat the text of the one before, then so that the first, the last and every n-th stay.

    Args:
        prompts: Of the model.
        content: Texts and pictures in their order.
        text: What the item says beside its content, such as the task of a trajectory: read first in the `knowledge`
            layout, and never left out.
        layout: How a step is laid out.
        max_length: Most tokens.
        thin: Whether steps may be left out.

    Raises:
        ItemTooLongError: It has more than `max_length` tokens, and not `thin`; or first and last step alone have.
        InvalidItemError: There is a picture, but the model takes none.
    """
    heading = [text] if text and layout == "knowledge" else []
    steps = steps_of(content)

    def laid_out(kept: _Steps, share: float = 1.0) -> ContentInputs:
        places = {place for step in kept for place in step}
        parts = [[_scaled(content[place], prompts.max_pixels, share) for place in step] for step in kept]
        parts = [list[str | Image.Image](heading), *parts] if heading else parts
        said = [said for step in parts for said in texts_of(step)]
        tensors = prompts.tokenize(_turns(prompts, parts, layout), [one for step in parts for one in pictures_of(step)])
        left_out = tuple(place for place in range(len(content)) if place not in places)
        return ContentInputs(tensors, [id for one in said for id in prompts.text_ids(one)], left_out)

    share = 1.0
    whole = laid_out(steps)
    length = _length(whole)
    if length > max_length and pictures_of(content):
        written = len(whole.text_ids)
        share = max(SMALLEST_SHARE, 0.9 * (max_length - written) / (length - written))
        whole = laid_out(steps, share)
        if _length(whole) > max_length:
            share = SMALLEST_SHARE
            whole = laid_out(steps, share)
    if _length(whole) <= max_length:
        return whole
    if thin:
        before = _length(laid_out([])) if heading else 0
        lengths = [_length(laid_out([step], share)) - before for step in steps]
        for kept in thinned([texts_of(content[n] for n in step) for step in steps]):
            if before + sum(lengths[step] for step in kept) <= max_length or len(kept) <= 2:
                fewer = laid_out([steps[step] for step in kept], share)
                if _length(fewer) <= max_length:
                    return fewer
    why, remedy = (
        (", and its first and last step alone do not fit", "shorten the texts of its steps")
        if thin
        else ("", "pass truncate=True or MemoryItem(..., thin=True) to leave out some of them")
    )
    raise ItemTooLongError(
        f"The item's {len(steps)} steps have {length} tokens, but the encoder's window is {max_length}{why}. "
        f"Split it into several items, use an encoder that is trained with a larger max_length, or {remedy}."
    )


def thinned(said: Sequence[Any]) -> Iterator[list[int]]:
    """Which of the steps stay, fewer each time: without repetitions, then the first, the last and every n-th.

    Args:
        said: What each step says; a step that says the same as the one before repeats it.
    """
    kept = [n for n, one in enumerate(said) if n == 0 or one != said[n - 1]]
    last = len(kept) - 1
    for n in range(1, len(kept) + 1):
        yield [kept[at] for at in range(len(kept)) if at % n == 0 or at == last]


def _turns(prompts: Prompts, steps: Sequence[Sequence[str | Image.Image]], layout: Layout) -> str:
    """The steps as the chat template writes them, of ChatML models without a system turn."""
    written = ""
    for step in steps:
        shown: list[Message] = [{"type": "image", "image": picture} for picture in pictures_of(step)]
        said = "".join(texts_of(step))
        if layout == "trajectory":
            written += _users_turn(prompts, [*shown, {"type": "text", "text": said}], is_first=not written)
        else:
            asked: list[Message] = [*shown, {"type": "text", "text": ENCODER_INSTRUCTION}]
            head = _users_turn(prompts, asked, is_first=not written, add_generation_prompt=True)
            written += head + prompts.safe_text(said) + prompts.turn_end
    return written


def _users_turn(prompts: Prompts, content: list[Message], *, is_first: bool, **settings: bool) -> str:
    """A user's turn; behind others, without what the template begins a conversation with."""
    turn: Message = {"role": "user", "content": content}
    if not is_first:
        before: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        alone, both = prompts.render(before), prompts.render([*before, turn], **settings)
        if both.startswith(alone):
            return both.removeprefix(alone)
    return prompts.without_system(prompts.render([turn], **settings))


def _scaled(part: str | Image.Image, most: int, share: float) -> str | Image.Image:
    return part if isinstance(part, str) else at_most(part, max(1, int(share * min(most, part.width * part.height))))


def _length(inputs: ContentInputs) -> int:
    return int(inputs.tensors["input_ids"].shape[1])
