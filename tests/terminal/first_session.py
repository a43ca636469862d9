"""The steps of a new user's first session, performed by keyboard. Used by `test_program` and by `tests.recording`."""

from __future__ import annotations

from collections.abc import Iterator

from tests.terminal.terminal import Terminal

PRESET = "my-maml"
INNER_LR = "0.02"
"""New value of the inner learning rate, which is initially 0.01."""


def first_session(at: Terminal, *, iterations: int, watched: int, marked: range) -> Iterator[str]:
    """Perform the steps of the session, and yield the name of each step when its result is visible.

    After the last step, the function presses the key that stops the run and quits the app.

    Args:
        iterations: number of meta-steps to enter in the form. The runs must not finish during the session.
        watched: meta-step that each run must reach before the session continues.
        marked: indices of the rows to mark in the list of runs, whose first row is the newest run.
    """
    at.see("Settings", "Iterations", "F5 Start")
    at.until(lambda: at.explained_label, "the first field explained")
    yield "01-start"

    at.tab_to("Shots (K)")
    at.type("0")
    at.see("Must be a whole number")
    at.press("f5")
    at.see("Not started.")
    yield "02-form"

    at.type("10")
    at.see_gone("Must be a whole number")
    at.tab_to("Iterations")
    at.type(str(iterations))
    at.see(f" {iterations}")
    at.act("start", "Running")
    yield "03-started"

    at.until(lambda: at.meta_step >= watched, f"meta-step {watched}")
    yield "04-watch"

    at.act("live", "Change settings")
    at.type(INNER_LR)
    at.see("The current value is 0.01.")
    yield "05-change"

    at.press("enter")
    at.see_gone("Change settings")
    at.act("pause", "Paused", "Continue")
    yield "06-paused"

    at.act("pause", "Running", "F6 Pause")
    at.act("evaluate", "Validating")
    at.press("ctrl+o")
    at.see("Validation: loss", "truth")
    yield "07-evaluated"

    at.act("save_preset", "Test protocol", "Name: ")
    at.type(PRESET)
    at.see(PRESET)
    yield "08-save-preset"

    at.press("enter")
    at.see(f"Saved as {PRESET}")
    at.act("stop", "F5 Start", "Stopped")
    yield "09-stopped"

    at.act("tab_runs", "Result", "MAML on Sinusoids", "(changed)")
    yield "10-runs"

    at.act("tab_presets", "Protocol:")
    at.press("ctrl+end")
    at.see("Source: saved in metatui")
    yield "11-presets"

    at.act("load_preset", f"{PRESET} is in the form")
    yield "12-loaded"

    at.press("f5")
    at.see("Running")
    at.until(lambda: at.meta_step >= watched, f"meta-step {watched}")
    yield "13-rerun"

    at.press("2")
    # When the list is reloaded, the cursor stays on its run, and the new run is above it.
    at.until(lambda: any("[ ]" in row and "Running" in row for row in at.rows), "the new run in the list")
    at.press("ctrl+home")
    at.see(f"preset {PRESET}")
    for row in range(marked.stop):
        if row in marked:
            at.act("mark_run", f"[{row - marked.start + 1}]")
        if row + 1 in marked or row + 1 < marked.start:
            at.press("down")
    at.see(f"{len(marked)} of at most 3")
    at.press("1")
    at.until(lambda: "Meta-loss" in at.text or "The marked runs" in at.text, "the work tab")
    if "The marked runs" not in at.text:
        at.press("ctrl+o")
    at.see("The marked runs on the same")
    yield "14-marked"

    at.act("help", "Press / to search")
    yield "15-help"

    at.press("escape")
    at.see_gone("Press / to search")
    at.act("quit", "Continue in the background", "Stop, save and quit")
    yield "16-quit"

    at.press("s")
