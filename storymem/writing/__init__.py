"""From an idea to a script: requests to a language model, and what comes back."""
