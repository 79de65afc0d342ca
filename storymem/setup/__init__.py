"""What a machine has, lacks and can do for a story, told before anything is made."""
