"""The commands of ``python -m storymem``."""
