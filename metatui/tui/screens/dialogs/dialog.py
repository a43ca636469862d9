"""Base class of all dialogs."""

from __future__ import annotations

from textual.events import ScreenResume
from textual.screen import ModalScreen, ScreenResultType


class Dialog(ModalScreen[ScreenResultType]):
    """A box over the current screen."""

    def on_screen_resume(self, event: ScreenResume) -> None:
        # The widgets were styled when they were mounted; Textual would style them again, which delays the dialog.
        event.refresh_styles = False
