"""What Load Story says of a script, and its other readings, in the host's page."""

from __future__ import annotations

import pytest

from helpers.browser import find_chromium, wait_for_draft
from helpers.story_page import look
from storymem.script.file import decode

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]

PARAGRAPHS = "A girl runs over a meadow.\n\nClose-up of her hands.\n\nThe kite rises."
NOTE, OFFERS = ".sm-panel-on-node .sm-notice", ".sm-panel-on-node .sm-offers button"


def wait_for_note(page, words: str) -> None:
    page.page.wait_for_function(
        "([at, words]) => document.querySelector(at)?.textContent.includes(words)",
        arg=[NOTE, words],
    )


def offers(page) -> list[str]:
    return page.page.locator(OFFERS).all_text_contents()


def size(page) -> list[float]:
    return page.page.evaluate("() => [...app.graph.getNodeById(1).size]")


def test_paragraphs_are_one_shot_until_somebody_says_that_they_are_three(page):
    page.load("A quiet sea.")
    page.wait_on_node(["waiting"])
    before = size(page)
    assert page.page.locator(NOTE).is_hidden()
    page.load(PARAGRAPHS)
    wait_for_note(page, "3 paragraphs with blank lines")
    page.wait_on_node(["waiting"])  # nothing was guessed
    assert offers(page) == ["Read as 3 shots", "Keep 1 shot"]
    assert size(page) == before  # the list makes room
    look(page, "script-note")
    page.page.get_by_role("button", name="Read as 3 shots").click()
    page.wait_on_node(["waiting"] * 3)
    assert page.widget("script") == PARAGRAPHS.replace("\n\n", "\n---\n") + "\n"
    page.page.wait_for_function("(at) => document.querySelector(at).hidden", arg=NOTE)
    assert offers(page) == []
    page.page.locator("canvas#graph-canvas").focus()
    page.press("Control+z")
    wait_for_note(page, "3 paragraphs")
    page.wait_on_node(["waiting"])
    assert page.widget("script") == PARAGRAPHS
    page.page.get_by_role("button", name="Keep 1 shot").click()
    page.page.wait_for_function("(at) => document.querySelector(at).hidden", arg=NOTE)
    page.wait_on_node(["waiting"])
    assert page.run() == [1]


def test_the_script_of_a_file_comes_onto_the_node_as_the_shots_that_it_means(page, server):
    content = PARAGRAPHS.encode("utf-16")
    (server.base / "input" / "Parts.txt").write_bytes(content)
    page.load("", file="Parts.txt")
    wait_for_note(page, "3 paragraphs")
    page.page.get_by_role("button", name="Read as 3 shots").click()
    page.wait_on_node(["waiting"] * 3)
    assert page.widget("file") == "none"
    assert page.widget("script").startswith('[title = "Parts"]\n---\nA girl runs')
    assert (server.base / "input" / "Parts.txt").read_bytes() == content


def test_a_run_says_it_of_a_script_that_comes_from_another_node(page):
    page.load(PARAGRAPHS)
    wait_for_note(page, "3 paragraphs")  # it was read before it is another one
    page.page.evaluate(
        """(text) => {
            const source = LiteGraph.createNode("PrimitiveStringMultiline");
            app.graph.add(source);
            source.widgets[0].value = text;
            source.pos = [-420, 60];
            const story = app.graph.getNodeById(1);
            const slot = story.inputs.findIndex((input) => input.name === "script");
            source.connect(0, story, slot);
        }""",
        PARAGRAPHS,
    )
    page.page.wait_for_function("() => document.querySelector('.sm-edit').disabled")
    page.run()
    wait_for_note(page, "3 paragraphs")
    assert offers(page) == []
    page.run()  # nothing is made again, and the note stays
    wait_for_note(page, "3 paragraphs")
    page.page.evaluate("""() => {
        const story = app.graph.getNodeById(1);
        story.disconnectInput(story.inputs.findIndex((input) => input.name === "script"));
    }""")
    page.page.wait_for_function("() => !document.querySelector('.sm-edit').disabled")


def test_an_error_with_another_reading_offers_it(page):
    page.load("[character]\nMara is tall.\n\nShe runs.\n\nShe falls.")
    page.page.get_by_role("button", name="Read as 2 shots").click()
    page.wait_on_node(["waiting"] * 2)
    assert page.widget("script").startswith("[character]\nMara is tall.\n---\nShe runs.")


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
)
def test_the_editor_imports_files_as_the_node_reads_them(page, tmp_path, encoding):
    text = "[title: Café]\n---\nShe runs \U0001f3c3 home.\n---\nb"
    chosen = tmp_path / "other.txt"
    chosen.write_bytes(text.encode(encoding))
    assert decode(chosen.read_bytes()).removeprefix("\ufeff") == text
    page.load("a")
    page.edit_table()
    page.page.locator(".sm-editor input[type=file]").set_input_files(chosen)
    page.wait_for_message("other.txt: 2 shots")
    assert page.column("prompt") == ["She runs \U0001f3c3 home.", "b"]
    page.save()
    assert page.widget("script") == text


def test_a_file_in_an_old_encoding_is_refused_with_a_sentence(page, tmp_path):
    chosen = tmp_path / "old.txt"
    chosen.write_bytes("Café au lait.\n---\nb".encode("latin-1"))
    page.load("a")
    page.edit_table()
    page.page.locator(".sm-editor input[type=file]").set_input_files(chosen)
    page.wait_for_message("old.txt is neither UTF-8 nor UTF-16 text; save it as UTF-8.")
    assert page.column("prompt") == ["a"]


def test_who_is_in_a_shot_is_shown_on_the_node_and_in_the_editor(page):
    page.load("[cast: Mara, Pip]\n---\nPip and @mara run.\n---\nShe is @home.")
    page.wait_on_node(["waiting"] * 2)
    titles = page.page.locator(".sm-list > li").evaluate_all("(all) => all.map((row) => row.title)")
    assert "In this shot: Pip, Mara" in titles[0]
    assert "In this shot" not in titles[1]
    page.edit_table()
    prompts = page.page.locator(".sm-editor [data-field=prompt]")
    assert "In this shot: Pip, Mara" in prompts.nth(0).get_attribute("title")
    assert "In this shot" not in prompts.nth(1).get_attribute("title")
    prompts.nth(1).fill("Mara is @home.")
    page.page.wait_for_function(
        "() => [...document.querySelectorAll('.sm-editor [data-field=prompt]')][1]"
        ".title.includes('In this shot: Mara')"
    )


def test_the_note_in_nodes_two_in_chinese_and_light(page):
    page.load(PARAGRAPHS.replace("A girl", "A boy"))
    page.use_nodes_two_in_chinese_and_light()
    wait_for_draft(page.page, "A boy")
    page.reload()
    wait_for_note(page, "3 paragraphs")
    assert offers(page) == ["读作 3 个镜头", "保持 1 个镜头"]
    note, button = (page.page.locator(at).first.bounding_box() for at in (NOTE, OFFERS))
    assert note["y"] + note["height"] <= button["y"] + 1  # one below the other
    look(page, "script-note-two")
    page.page.get_by_role("button", name="读作 3 个镜头").click()
    page.wait_on_node(["waiting"] * 3)
