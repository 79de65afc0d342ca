"""The shot loop's nodes, and its run in the host's graph."""
