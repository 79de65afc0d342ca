"""Which frames of a finished shot become memory."""
