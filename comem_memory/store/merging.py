"""What an item is that is given again: what is given later replaces, and what is not stays."""

from __future__ import annotations

from comem_memory.types import MemoryItem, Metadata, notes_of, own_metadata, superseded_ids


def merged(earlier: MemoryItem, later: MemoryItem) -> MemoryItem:
    """The item of two of the same content."""
    fields = {name: getattr(later, name) for name in later.model_fields_set}
    fields["metadata"] = merged_metadata(earlier.metadata, later.metadata)
    fields["supersedes"] = tuple(dict.fromkeys(superseded_ids(earlier) + superseded_ids(later)))
    return earlier.model_copy(update=fields)


def merged_metadata(earlier: Metadata, later: Metadata) -> Metadata:
    """The metadata, and what adapters note in it: what a user added is not taken over by a turn of the same words."""
    noted = notes_of(earlier)
    return (own_metadata(later) or own_metadata(earlier)) | (noted and (notes_of(later) or noted))
