"""A conversation's next turn from the frozen model: text, tool calls, JSON."""
