"""Items of several parts as the encoder reads them, whole steps left out where they are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

from PIL import Image

from comem_memory.config import Frames, Layout
from comem_memory.content import Audio, audio_of, joined_texts, pictures_of, steps_of, texts_of
from comem_memory.errors import ItemTooLongError
from comem_memory.files import at_most
from comem_memory.model.clips import Clip
from comem_memory.model.prompts import ENCODER_INSTRUCTION, SMALLEST_PICTURE, Message, ModelInputs, Prompts

SMALLEST_SHARE = 0.25
"""Of the pixels of an item's pictures, where they are too many for the window: below it screenshots cannot be read."""
AT_ONCE = 16
"""Pictures that are laid out together before it is known whether they fit: each takes some 50 MB a megapixel."""

_Steps = Sequence[Sequence[int]]
_Part = str | Image.Image | Audio | Clip


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
    content: Sequence[str | Image.Image | Audio],
    *,
    text: str | None = None,
    layout: Layout,
    frames: Frames = "pictures",
    max_length: int,
    thin: bool,
) -> ContentInputs:
    """An item of several parts.

    | layout | a step |
    |---|---|
    | `knowledge` | user turn = its pictures and the instruction, assistant turn = its text: as an item of one picture |
    | `trajectory` | user turn = its pictures and its text, as the agents' authors lay trajectories out |

    Recordings stand in their order among the pictures. Where `frames` is "video", pictures of one size that follow one
    another in a step are read as one clip, and so are steps of one picture each.

    Where they do not fit together, pictures are scaled down, to a quarter of their pixels at most. Then steps are left
    out: those that repeat the text of the one before, then so that the first, the last and every n-th stay.

    Args:
        prompts: Of the model.
        content: Texts, pictures and recordings (`read_audio`) in their order.
        text: What the item says beside its content, such as the task of a trajectory: read first in the `knowledge`
            layout, and never left out.
        layout: How a step is laid out.
        frames: How pictures of one size that follow one another are read.
        max_length: Most tokens.
        thin: Whether steps may be left out.

    Raises:
        ItemTooLongError: It has more than `max_length` tokens, and not `thin`; or first and last step alone have.
        InvalidItemError: There is a picture or a recording, but the model takes none; or it cannot be read, or is too
            long for the model.
    """
    heading = [text] if text and layout == "knowledge" else []
    steps = steps_of(content)

    def turns_of(kept: _Steps) -> _Steps:
        return _with_whole_clips(kept, content) if frames == "video" else kept

    def parts_of(turn: Sequence[int]) -> Sequence[_Part]:
        parts = [content[place] for place in turn]
        return _with_clips(parts) if frames == "video" else parts

    def laid_out(kept: _Steps, share: float = 1.0) -> ContentInputs:
        places = {place for step in kept for place in step}
        parts = [[_scaled(part, prompts.max_pixels, share) for part in parts_of(turn)] for turn in turns_of(kept)]
        parts = [list[_Part](heading), *parts] if heading else parts
        said = [said for turn in parts for said in texts_of(turn)]
        every = [part for turn in parts for part in turn]
        pictures = [part for part in every if isinstance(part, Image.Image)]
        clips = [part for part in every if isinstance(part, tuple)]
        tensors = prompts.tokenize(_turns(prompts, parts, layout), pictures, audio_of(every), clips)
        left_out = tuple(place for place in range(len(content)) if place not in places)
        return ContentInputs(tensors, [id for one in said for id in prompts.text_ids(one)], left_out)

    @cache
    def alone(turn: tuple[int, ...], share: float) -> int:
        return _length(laid_out([turn], share)) - before

    def length_of(kept: _Steps, share: float) -> int:
        """Tokens of these steps, of whose turns one at a time is in memory."""
        return before + sum(alone(tuple(turn), share) for turn in turns_of(kept))

    shown = pictures_of(content)
    if len(shown) <= AT_ONCE and _length(whole := laid_out(steps)) <= max_length:
        return whole
    share, before = 1.0, _length(laid_out([])) if heading else 0
    length = length_of(steps, share)
    if length > max_length and shown:
        written = sum(len(prompts.text_ids(said)) for said in (*heading, *texts_of(content)))
        for share in (0.9 * (max_length - written) / (length - written), SMALLEST_SHARE):
            share = max(SMALLEST_SHARE, share)
            if length_of(steps, share) <= max_length:
                break
    fewer = thinned([joined_texts(content[place] for place in step) for step in steps]) if thin else ()
    for places in ([*range(len(steps))], *fewer):
        kept = [steps[place] for place in places]
        if len(kept) <= 2 or length_of(kept, share) <= max_length:
            made = laid_out(kept, share)
            if _length(made) <= max_length:
                return made
    why, remedy = (
        (", and its first and last step alone do not fit", "shorten the texts of its steps")
        if thin
        else ("", "pass truncate=True or MemoryItem(..., thin=True) to leave out some of them")
    )
    raise ItemTooLongError(
        f"The item's {len(steps)} steps have {length} tokens, but the encoder's window is {max_length}{why}. "
        f"Split it into several items, use an encoder that is trained with a larger max_length, or {remedy}."
    )


def cut_inputs(
    prompts: Prompts, image: Image.Image | None, text: str, laid_out: Callable[..., ContentInputs]
) -> tuple[ModelInputs, list[int]]:
    """A picture and as much of a text as fits behind it, of a layout that has no instruction.

    Args:
        prompts: Of the model.
        image: The picture, if there is one.
        text: The text, which does not fit.
        laid_out: `content_inputs` for a model, layout and length.

    Returns:
        The inputs, each with a batch axis of 1, and the text's tokens in them.

    Raises:
        ItemTooLongError: There is no room even for a token.
    """
    room = len(prompts.text_ids(text))
    while True:
        room = room * 3 // 4
        said = prompts.beginning(text, max(1, room))
        try:
            tensors, text_ids, _ = laid_out([part for part in (image, said) if part], thin=False)
            return tensors, text_ids
        except ItemTooLongError:
            if room < 1:
                raise


def thinned(said: Sequence[str]) -> Iterator[list[int]]:
    """Which of the steps stay, fewer each time: without repetitions, then the first, the last and every n-th.

    Args:
        said: What each step says; one that says the same as the one before repeats it, unless it says nothing.
    """
    ends = (0, len(said) - 1)
    kept = [n for n, one in enumerate(said) if n in ends or not one or one != said[n - 1]]
    last = len(kept) - 1
    for n in range(1, len(kept) + 1):
        yield [kept[at] for at in range(len(kept)) if at % n == 0 or at == last]


def _with_whole_clips(steps: _Steps, content: Sequence[_Part]) -> list[list[int]]:
    """The steps, where those as one that together are a clip."""
    joined: list[list[int]] = []
    for step in steps:
        before = joined[-1] if joined else []
        if len(_with_clips(content[place] for place in (*before, *step))) == 1:
            joined[-1:] = [[*before, *step]]
        else:
            joined.append([*step])
    return joined


def _with_clips(parts: Iterable[_Part]) -> list[_Part]:
    """The parts, where several pictures of one size that follow one another are a clip."""
    made: list[_Part] = []
    for size, run in groupby(parts, lambda part: part.size if isinstance(part, Image.Image) else None):
        shown = list[Any](run)
        made += shown if size is None or len(shown) == 1 else [tuple(shown)]
    return made


def _turns(prompts: Prompts, steps: Sequence[Sequence[_Part]], layout: Layout) -> str:
    """The steps as the chat template writes them, of ChatML models without a system turn."""
    written = ""
    for step in steps:
        shown: list[Message] = [{"type": _kind(part)} for part in step if not isinstance(part, str)]
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


def _kind(part: Image.Image | Audio | Clip) -> str:
    if isinstance(part, Audio):
        return "audio"
    return "video" if isinstance(part, tuple) else "image"


def _scaled(part: _Part, most: int, share: float) -> _Part:
    """The part; pictures with a share of their pixels."""
    if isinstance(part, tuple):
        return tuple(_smaller(frame, most, share) for frame in part)
    return _smaller(part, most, share) if isinstance(part, Image.Image) else part


def _smaller(picture: Image.Image, most: int, share: float) -> Image.Image:
    """The picture with a share of its pixels, unless it would become a strip that no model takes."""
    smaller = at_most(picture, int(share * min(most, picture.width * picture.height)))
    return smaller if min(smaller.size) >= SMALLEST_PICTURE else picture


def _length(inputs: ContentInputs) -> int:
    return int(inputs.tensors["input_ids"].shape[1])
