"""Routes for the memory as a whole: what it is, its namespaces, what it holds."""

from __future__ import annotations

from fastapi import APIRouter

import comem_memory
from comem_memory.server.access import AppServed, Caller, Readable, limits_of
from comem_memory.server.problems import declared
from comem_memory.server.wire import KeyInfo, MemoryInfo, Namespaces, Stats

router = APIRouter(prefix="/v1", tags=["memory"])


@router.get("/memory", responses=declared())
def memory(view: Readable) -> MemoryInfo:
    """What a client needs to know of the memory: its model, vectors, key and limits, and the token's rights."""
    memory = view.memory
    encoder, key, backbone = memory.encoder, memory.key, memory.backbone
    return MemoryInfo(
        library_version=comem_memory.__version__,
        namespace=memory.name,
        writable=view.access.writes,
        model_name=backbone.name,
        context_window=backbone.max_length,
        hidden_size=backbone.hidden_size,
        num_query_tokens=encoder.encoder_config.qformer.num_query_tokens,
        mode=memory.mode,
        precision=memory.precision,
        min_similarity=memory.min_similarity,
        keeps_pictures=memory.keeps_pictures,
        encoder=memory.store.identity.encoder,
        key=KeyInfo(
            name=key.name,
            dimension=key.dimension,
            texts=key.text is not None,
            images=key.image is not None,
            min_similarity=key.min_similarity,
        ),
        limits=limits_of(view.limits),
    )


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
        encoder=str(memory.store.identity.encoder),
        retrieval_key=memory.store.identity.key_name,
        precision=memory.precision,
        parameters=str(memory.encoder.num_parameters()),
    )
