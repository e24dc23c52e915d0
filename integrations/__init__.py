"""Adapters for agent frameworks, installed as `comem_memory.integrations`. Each converts types and delegates."""
