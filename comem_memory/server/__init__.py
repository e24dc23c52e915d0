"""`comem serve`: one process that owns model and store, used by many over HTTP.

`wire` alone is imported by clients, so nothing is imported here.
"""
