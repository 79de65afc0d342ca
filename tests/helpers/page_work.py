"""How much work this pack's scripts do on the page, in figures that no other load changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

BEGIN = """(list) => {
    const changes = [];
    const watch = new MutationObserver((seen) => changes.push(...seen));
    const everything = { attributes: true, characterData: true, childList: true, subtree: true };
    watch.observe(document.querySelector(list), everything);
    window.endWatch = () => {
        changes.push(...watch.takeRecords());
        watch.disconnect();
        const elementOf = (node) => (node.closest ? node : node.parentElement);
        const labelOf = ({ target }) => elementOf(target).closest("li")?.dataset.label ?? "";
        const moved = changes.flatMap((change) => [...change.addedNodes, ...change.removedNodes]);
        return {
            lines: [...new Set(changes.map(labelOf))].sort(),
            moves: moved.filter((node) => node.localName === "li").length,
            nodes: moved.length,
        };
    };
}"""


@dataclass(frozen=True)
class Changes:
    """What changed in a list."""

    lines: list[str]  # labels of the lines in which anything changed; "" is the list itself
    moves: int  # lines that were put in or taken out; one that moved counts twice
    nodes: int  # elements and texts of any kind that were


def watch_list(page, selector: str, act: Callable[[], object]) -> Changes:
    """What ``act`` changes at once in a list of playwright's page."""
    page.evaluate(BEGIN, selector)
    act()
    return Changes(**page.evaluate("() => endWatch()"))


def count_calls(page, act: Callable[[], object]) -> Counter:
    """How often ``act`` has each function of this pack's scripts called, by file and name."""
    session = page.context.new_cdp_session(page)
    session.send("Profiler.enable")
    session.send("Profiler.startPreciseCoverage", {"callCount": True, "detailed": False})
    act()
    scripts = session.send("Profiler.takePreciseCoverage")["result"]
    session.detach()
    calls: Counter = Counter()
    for script in scripts:
        _, is_ours, file = script["url"].partition("?")[0].partition("/extensions/renamed/js/")
        if is_ours:
            for function in script["functions"]:
                calls[f"{file} {function['functionName']}"] += function["ranges"][0]["count"]
    return calls
