"""What the learner has reached, chapter by chapter, with a button that looks again."""

from __future__ import annotations

import uuid

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from kit.lab.canvas import view_of
from kit.lab.picture import Picture
from kit.lab.subshell import answer_while_busy
from kit.lab.tree import Bar, Node, draw_tree
from kit.show import measured


class Progress:
    """A button and a picture; made by :func:`progress`."""

    def __init__(self) -> None:
        self._display_id = f"kit-progress-{uuid.uuid4().hex}"
        self.button = widgets.Button(
            description="Look again", icon="refresh", tooltip="Read the progress file again"
        )
        self.button.on_click(lambda _: self._update())
        answer_while_busy(self.button)

    def picture(self) -> Picture:
        """The progress kept now, as a picture."""
        from kit.checks import progress as kept

        rows = kept.state()
        chapters: dict[str, Node] = {}
        solved: dict[str, list[bool]] = {}
        for row in rows:
            chapter = chapters.setdefault(row["chapter"], Node(f"chapter {row['chapter']}"))
            solved.setdefault(row["chapter"], []).append(bool(row["solved"]))
            how = "solved" if row["solved"] else "begun" if row["attempts"] else "not begun"
            cells = (how, row["solved_with"], row["solved"][:10])
            chapter.children.append(Node(f"{row['name']} {row['title']}", cells, marked=bool(row["solved"])))
        for name, chapter in chapters.items():
            done, all_ = sum(solved[name]), len(solved[name])
            chapter.cells = ("", "", "")
            chapter.bar = Bar(done / all_, f"{done} of {all_}")
        if not chapters:
            chapters["none"] = Node("no exercise begun yet", ("", "", ""))
        said = [f"{chapter.name}: {chapter.bar.said} solved." for chapter in chapters.values() if chapter.bar]
        said += [
            f"{node.name}: {node.cells[0]}." for chapter in chapters.values() for node in chapter.children
        ]
        return draw_tree(
            list(chapters.values()), ("state", "with", "on", "solved"), title="progress",
            alt=f"Progress. {' '.join(said) or 'No exercise begun yet.'}", marked="solved",
        )  # fmt: skip

    def _update(self) -> None:
        if get_ipython() is not None:
            display(self.picture(), display_id=self._display_id, update=True)

    def _ipython_display_(self) -> None:
        view = {"application/vnd.jupyter.widget-view+json": view_of(self.button)}
        display({"text/plain": "[button] look again", "text/html": measured(""), **view}, raw=True)
        display(self.picture(), display_id=self._display_id)


def progress() -> Progress:
    """Show which exercises of the course have been begun and solved; kept by ``kit.checks.progress``."""
    return Progress()
