"""Progress is drawn as it is kept."""

from kit import lab
from kit.checks import progress


def test_progress_is_what_the_file_says(check_picture, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    shown = lab.progress()
    before = shown.picture()
    check_picture(before)
    name = progress.state()[0]["name"]

    def solve(record):
        record.attempts, record.solved, record.solved_with = 1, progress.now(), "no hints"

    progress.update(name, solve)
    after = shown.picture()
    check_picture(after)
    assert "1 of" in after.alt
    assert before.alt != after.alt
    assert shown.button.description == "Look again"
