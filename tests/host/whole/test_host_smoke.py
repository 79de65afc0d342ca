"""The host fixture itself: stock loaders read the tiny models and a stock graph runs."""

from helpers.stock_graphs import plain_i2v_graph


def test_a_stock_image_to_video_graph_runs_on_the_tiny_models(host):
    graph = plain_i2v_graph()
    graph["record"] = {
        "class_type": "StoryMemTestRecord",
        "inputs": {"value": ["sample", 0], "key": "latent"},
    }
    latent = host.run(graph)["latent"]["samples"]
    assert list(latent.shape) == [1, 16, 5, 6, 8]
    assert latent.isfinite().all()
    assert 0.1 < latent.std() < 10
