"""The explorer shows what the layers hold, sends what is opened and no more, and leaves a picture behind."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from kit import lab
from kit.images.descriptor import Descriptor
from kit.images.entry import Entry
from kit.images.explore import explore
from kit.images.image import Image, write_image
from kit.images.layer import pack
from kit.images.store import Store
from kit.lab.explored import lost, tree, unfold
from kit.lab.explorer import MOST
from kit.lab.layers import frontier, instruction
from tests.lab.conftest import MEASURED

ROOT = Path(__file__).resolve().parents[2]


def file(name, size=0, **rest):
    return Entry(name, "file", rest.pop("mode", 0o644), data=bytes(size), **rest)


def directory(name):
    return Entry(name, "directory", 0o755)


def image(where, *layers):
    """An image of these layers, each a line of history and entries."""
    store = Store(where / "store")
    written = []
    for _, *entries in layers:
        with store.writer() as out:
            one = pack(entries, out)
            out.commit()
        written.append((Descriptor(one.media_type, one.digest, one.size), one.diff_id))
    history = [{"created_by": line} for line, *_ in layers]
    descriptor = write_image(store, written, {"os": "linux", "architecture": "amd64", "history": history})
    store.tag("docker.io/library/shop:latest", descriptor)
    return Image(store, descriptor)


@pytest.fixture
def shop(tmp_path):
    symlink = Entry("app/py", "symlink", 0o777, target="shop.py")
    return image(
        tmp_path,
        ("ADD base", file("bin/sh", 900), file("etc/passwd", 20), *(file(f"doc/{n}", 10) for n in range(40))),
        ("RUN build", file("etc/passwd", 30, uid=7), file("app/shop.py", 500), symlink),
        ("RUN rm -r doc", file(".wh.doc"), file("etc/.wh.passwd")),
    )


class Page:
    """What a page would get from the widget."""

    def __init__(self, image):
        self.widget, self.sent = lab.explore(image), []
        self.widget.send = self.sent.append

    def ask(self, **content):
        self.widget._told(self.widget, {"whole": False} | content, [])
        return self.sent.pop()


def names(rows):
    return [f"{how or ''} {name}".strip() for name, how, *_ in rows]


def test_the_page_is_sent_what_a_layer_changed(shop):
    page = Page(shop)
    answer = page.ask(layer=2)
    assert (answer["layer"], answer["whole"]) == (2, False)
    assert names(answer["rows"][""]) == ["added app", "etc"]
    assert names(answer["rows"]["app"]) == ["added py", "added shop.py"]
    name, how, size, attributes, note, below = answer["rows"]["etc"][0]
    assert (name, how, size, below) == ("passwd", "changed", "30 B", False)
    assert attributes == "-rw-r--r-- 7:0"
    assert note == "20 B → 30 B, owner 0:0 → 7:0"
    assert answer["rows"]["app"][0][4] == "→ shop.py"


def test_the_whole_tree_shows_what_was_there_too(shop):
    rows = Page(shop).ask(layer=2, whole=True)["rows"]
    assert names(rows[""]) == ["added app", "bin", "doc", "etc"]
    assert "doc" not in rows, "a directory that the layer left alone is sent when it is opened"


def test_a_directory_is_sent_when_it_is_opened(shop):
    page = Page(shop)
    rows = page.ask(layer=3)["rows"]
    assert names(rows[""]) == ["removed doc", "etc"]
    assert rows[""][0][2:] == ["−400 B", "drwxr-xr-x 0:0", "−41", True]
    assert "doc" not in rows
    opened = page.ask(layer=3, open="doc")["rows"]
    assert list(opened) == ["doc"]
    assert len(opened["doc"]) == 40
    assert {row[1] for row in opened["doc"]} == {"removed"}


def test_a_directory_of_thousands_is_cut_and_says_so(tmp_path):
    many = image(tmp_path, ("COPY", *(file(f"many/{n}") for n in range(3000))))
    page = Page(many)
    assert len(json.dumps(page.ask(layer=1))) < 1000
    rows = page.ask(layer=1, open="many")["rows"]["many"]
    assert len(rows) == MOST + 1
    assert rows[-1][4] == f"{3000 - MOST:,} more"


def test_names_that_are_no_text_can_be_shown(tmp_path):
    odd = image(tmp_path, ("COPY", file("a\udcffb"), file("new\nline"), file("\u202ereversed")))
    rows = Page(odd).ask(layer=1)["rows"][""]
    assert [row[0] for row in rows] == ["a�b", "new�line", "�reversed"]
    json.dumps(rows, ensure_ascii=False).encode()
    assert "a�b" in [path for path, *_ in frontier(tree(explore(odd).layers[0].changes), 5)]


def test_a_removed_directory_is_one_line_of_what_is_wasted(shop):
    found = explore(shop)
    assert [(one.path, one.size, str(one)) for one in lost(found)] == [
        ("doc/", 400, "layer 1, removed by layer 3"),
        ("etc/passwd", 30, "layer 2, removed by layer 3"),
        ("etc/passwd", 20, "layer 1, replaced by layer 2"),
    ]
    assert sum(one.size for one in lost(found)) == found.wasted_bytes


def test_directories_are_opened_where_the_bytes_are(tmp_path):
    large, small = [file(f"large/{n}", 100) for n in range(8)], [file(f"small/{n}", 1) for n in range(8)]
    changes = explore(image(tmp_path, ("COPY", *large, *small))).layers[0].changes
    assert [path for path, *_ in frontier(tree(changes), 2)] == ["large/", "small/"]
    assert [node.path for node in unfold(tree(changes), 10)[0]] == ["", "large"]
    assert [node.path for node in unfold(tree(changes), 20)[0]] == ["", "large", "small"]
    assert [path for path, *_ in frontier(tree(changes), 9)] == [*(f"large/{n}" for n in range(8)), "small/"]
    assert frontier(tree(changes), 1) == [("… 2 more", "808 B", "+18", None)]


def test_the_still_picture(shop, check_picture):
    picture = lab.explore(shop, "the shop").picture()
    check_picture(picture)
    for words in ("3 layers", "450 B of it wasted", "Layer 2, 530 B, RUN build: 3 added, 1 changed",
                  "Wasted: doc/, 400 B of layer 1, removed by layer 3"):  # fmt: skip
        assert words in picture.alt


def test_pictures_of_odd_images(tmp_path, check_picture):
    check_picture(lab.explore(image(tmp_path / "none")).picture())
    long = image(tmp_path / "long", *[("RUN " + "x" * 300, file("y" * 200 + "/" + "z" * 200, 5))] * 30)
    check_picture(lab.explore(long).picture())


@pytest.mark.parametrize(
    ("created_by", "shown"),
    [
        ("COPY a /b", "COPY a /b"),
        ("RUN make", "RUN make"),
        ("/bin/sh -c make", "RUN make"),
        ("RUN /bin/sh -c make # buildkit", "RUN make"),
        ("/bin/sh -c #(nop)  CMD [\"a\"]", 'CMD ["a"]'),
        ("", "(the history does not say)"),
    ],
)  # fmt: skip
def test_a_line_of_the_history_is_shown_as_the_dockerfile_had_it(created_by, shown):
    assert instruction(created_by).replace("  ", " ") == shown


def test_the_stored_cell_has_a_picture_and_no_measured_text(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    code = (
        "from kit import lab\nfrom kit.images.image import Image\nfrom kit.images.store import Store\n"
        f"lab.explore(Image.find(Store({str(shop.store.directory)!r}), 'shop'), 'the shop')"
    )
    notebook = new_notebook(cells=[new_code_cell(code)])
    NotebookClient(notebook, timeout=60, kernel_name="python3", store_widget_state=False).execute()
    picture, widget = notebook.cells[0].outputs
    assert picture.data["text/plain"] == "[picture] the shop"
    assert "image/png" in picture.data
    assert MEASURED.sub("", picture.data["text/html"]) == MEASURED.sub("", widget.data["text/html"]) == ""
    assert widget.data["text/plain"] == "[explorer] the shop"
    assert "application/vnd.jupyter.widget-view+json" in widget.data
    assert re.search(r'<div class="kit-twin-[0-9a-f]{32}">', picture.data["text/html"])
    nbformat.validate(notebook)
