"""Adapters for agent frameworks, installed as `comem_memory.integrations`. Each converts types and delegates.

Within an adapter imports are relative, because type checkers see this folder under its own name.
"""
