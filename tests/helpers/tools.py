"""Tools for a model to call: as OpenAI writes them, and as a function."""

from typing import Any

from comem_memory.chat import Tool


def tool(name: str, description: str = "", **properties: dict[str, Any]) -> Tool:
    """A tool that needs each of its arguments, which are given by their JSON schemas."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


ADD = tool("add", "Adds.", a={"type": "integer"}, b={"type": "integer"})
WEATHER = tool("weather", "The weather.", place={"type": "string"})


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b
