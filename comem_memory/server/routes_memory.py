"""Routes for the memory as a whole: what it is, its namespaces, what it holds."""

from __future__ import annotations

from fastapi import APIRouter

import comem_memory
from comem_memory.config import EncoderFingerprint
from comem_memory.memory import ContinuousMemory
from comem_memory.server.access import AppServed, Caller, Readable, limits_of, public_name
from comem_memory.server.problems import declared
from comem_memory.server.wire import KeyInfo, MemoryInfo, Moment, Namespaces, Stats

router = APIRouter(prefix="/v1", tags=["memory"])


@router.get("/memory", responses=declared())
def memory(view: Readable) -> MemoryInfo:
    """What a client needs to know of the memory: its model, vectors, key and limits, and the token's rights."""
    memory = view.memory
    info, key, encoder = memory.info, memory.key, _encoder(memory)
    return MemoryInfo(
        library_version=comem_memory.__version__,
        namespace=memory.name,
        writable=view.access.writes,
        model_name=public_name(info.model),
        context_window=info.context_window,
        hidden_size=encoder.hidden_size,
        num_query_tokens=encoder.num_query_tokens,
        mode=memory.mode,
        precision=memory.precision,
        min_similarity=memory.min_similarity,
        reads_pictures=info.reads_pictures,
        keeps_pictures=memory.keeps_pictures,
        order=memory.order,
        margin=memory.margin,
        encoder=encoder,
        key=KeyInfo(
            name=key.name,
            dimension=key.dimension,
            text_embedder=info.text_embedder,
            image_embedder=info.image_embedder,
            min_similarity=key.min_similarity,
        ),
        limits=limits_of(view.limits),
    )


@router.get("/moment", responses=declared())
def moment(view: Readable) -> Moment:
    """When something that is stored now is created: later than all that is."""
    return Moment(moment=view.memory.next_moment())


@router.get("/namespaces", responses=declared())
def namespaces(served: AppServed, access: Caller) -> Namespaces:
    """The namespaces that hold items, as far as the token opens them."""
    return Namespaces(namespaces=[name for name in served.memory.namespaces() if access.opens(name)])


@router.get("/stats", responses=declared())
def stats(served: AppServed, access: Caller) -> Stats:
    """How much each namespace holds, as far as the token opens it, and with which encoder."""
    memory = served.memory
    return Stats(
        items={name: memory.namespace(name).count() for name in memory.namespaces() if access.opens(name)},
        encoder=str(_encoder(memory)),
        retrieval_key=memory.store.identity.key_name,
        precision=memory.precision,
        parameters=str(memory.encoder.num_parameters()),
    )


def _encoder(memory: ContinuousMemory) -> EncoderFingerprint:
    found = memory.store.identity.encoder
    return found.model_copy(update={"base_model": public_name(found.base_model)})
