"""The same questions with nothing, text, memory or both, compared; tables, plots, a report, benchmarks."""
