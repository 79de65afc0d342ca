"""Sound of shots and films: read, cut at frames, mixed, joined and put beside the pictures."""
