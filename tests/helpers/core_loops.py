"""What the host's own loops need to run in a test's process, and graphs around them."""

from __future__ import annotations


class QuietPage:
    """Stands where the host's server would: nobody looks."""

    client_id = None

    def send_progress_text(self, *_):
        pass

    def send_sync(self, *_):
        pass


def quiet_page(monkeypatch) -> None:
    """Let Start Loop tell of its turns to nobody."""
    import server

    monkeypatch.setattr(server.PromptServer, "instance", QuietPage(), raising=False)


def has_loops() -> bool:
    """Whether the loaded host has loops of its own, and no stand-ins."""
    import nodes

    return hasattr(nodes.NODE_CLASS_MAPPINGS["StartLoop"], "RELATIVE_PYTHON_MODULE")
