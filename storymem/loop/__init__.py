"""A story shot by shot: what is done already, what is next, what a shot sees."""
