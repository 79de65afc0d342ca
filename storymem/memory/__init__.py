"""The memory bank: what it holds, which frames a shot sees, its folder on disk."""
