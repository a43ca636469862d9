"""Provider of commands that open the field of a setting, or change a setting to the value in the query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from metatui.config.declarations import SettingField
from metatui.config.fields import FIELDS, fixed_reason
from metatui.config.registry import all_components
from metatui.tui.command_palette.provider import NOT_NOW, Command, CommandProvider
from metatui.tui.help.word_search import match, normalised
from metatui.tui.keyboard.actions import with_keys
from metatui.tui.widgets.form.fields import explained
from metatui.utils.errors import SettingsError

MAX_CHANGES = 5
"""Maximum number of settings that are offered for a query with a value."""


class SettingCommands(CommandProvider):
    """Provides a command for every setting. The second line explains the setting, or why it cannot be changed now."""

    rank = 0.8

    async def commands(self) -> Sequence[Command]:
        self._names = {path: normalised(f"{setting.label} {path}") for path, setting in FIELDS.items()}
        self._choices = _named_choices()
        return [self._command(setting) for setting in FIELDS.values()]

    def _command(self, setting: SettingField) -> Command:
        refusal = self._refusal(setting)
        return Command(
            f"Setting: {_label(setting)} is {self.metatui.form.text(setting.path) or 'empty'}",
            partial(self.app.call_later, self._open, setting),
            f"{NOT_NOW}{refusal}" if refusal else explained(setting),
            words=f"{setting.path} {' '.join(setting.choices)} {setting.help}",
            refused=bool(refusal),
        )

    def commands_for(self, query: str) -> Iterator[tuple[float, Command]]:
        """Yield commands for the changes that a query such as `inner lr 0.05` or `seed=1` describes."""
        parts = query.replace("=", " ", 1).split()
        for count in range(len(parts) - 1, 0, -1):
            words = normalised(" ".join(parts[:count])).split()
            scores = {path: match(words, name) for path, name in self._names.items()}
            named = [FIELDS[path] for path, score in scores.items() if score]
            named.sort(key=lambda setting: (bool(self._refusal(setting)), -scores[setting.path], len(setting.label)))
            values = [
                (setting, text)
                for setting in named[:MAX_CHANGES]
                for text in completions(setting, " ".join(parts[count:]))
                # After one word, a text that is not a value is more likely part of another name: `stop run`.
                if count > 1 or "=" in query or _is_value(setting, text)
            ]
            if values:
                yield from self._scored(values)
                return
        if len(parts) == 1:
            yield from self._scored(self._choices.get(normalised(query), [])[:MAX_CHANGES])

    def _scored(self, values: Sequence[tuple[SettingField, str]]) -> Iterator[tuple[float, Command]]:
        """Yield the commands that set `values`.

        Commands that are unavailable now come last. If none is available, those that would be available if no run were
        in progress come first.
        """
        possible = any(not self._refusal(setting) for setting, _ in values)
        visible = self.metatui.form.assessment.visible
        for setting, text in values:
            is_last = setting.path not in visible or (possible and self._refusal(setting))
            yield 0.2 if is_last else 1.0, self._change(setting, text)

    def _change(self, setting: SettingField, text: str) -> Command:
        """Return a command that changes a setting or, if the change is not possible, shows the reason."""
        app, name = self.metatui, f"Set {_label(setting)} to {text}"
        refusal = self._refusal(setting)
        if problem := refusal or app.form.problem_with(setting.path, text):
            warn = partial(self.app.call_later, app.notify, problem, severity="warning")
            return Command(name, warn, f"{NOT_NOW}{refusal}" if refusal else problem, refused=True)
        effect = (
            "The change applies after this meta-step."
            if app.form.run_settings
            else with_keys("The next run ({start}) uses the new value.")
        )
        change = partial(self.app.call_later, self._set, setting, text)
        return Command(name, change, f"{setting.label} is {app.form.text(setting.path) or 'empty'} now. {effect}")

    def _refusal(self, setting: SettingField) -> str:
        """Return the reason why a setting cannot be changed now, or an empty string if it can be changed."""
        form = self.metatui.form
        if setting.path not in form.assessment.visible:
            conditions = (
                f"{path} is {' or '.join(sorted(values))}"
                for path, values in setting.when.items()
                if form.text(path) not in values
            )
            return f"This setting applies only if {' and '.join(conditions)}."
        if form.run_settings is None:
            return ""
        if not setting.live:
            return with_keys(
                "This setting cannot be changed during a run. {stop} stops the run. {detach} lets it continue in the "
                "background, so that you can edit the form."
            )
        reason = fixed_reason(setting.path, form.run_settings)
        return f"This setting cannot be changed during this run: {reason}." if reason else ""

    async def _open(self, setting: SettingField) -> None:
        """Show the field of a setting. If the setting does not apply, show the reason instead."""
        if setting.path in self.metatui.form.assessment.visible:
            await self.metatui.open_field(setting.path)
        else:
            self.metatui.notify(self._refusal(setting), severity="warning")

    async def _set(self, setting: SettingField, text: str) -> None:
        """Change a setting in the form. During a run, also change the setting of the run. The focus does not change."""
        form = self.metatui.form
        form.enter(setting.path, text)
        shown = form.text(setting.path) or "empty"
        if form.run_settings:
            self.metatui.notify(f"{setting.label} changes to {shown} after this meta-step.")
        else:
            # Other changes keep an earlier offer, which is not repeated.
            offered = f" {form.usual_note(setting.path)}" if form.offer and form.offer.path == setting.path else ""
            self.metatui.notify(f"{setting.label} is {shown} in the form.{offered}")


def _label(setting: SettingField) -> str:
    """Return the label of a setting, followed by its group if another setting has the same label."""
    is_shared = sum(each.label == setting.label for each in FIELDS.values()) > 1
    return f"{setting.label} ({setting.group})" if is_shared else setting.label


def completions(setting: SettingField, text: str) -> Sequence[str]:
    """Return the choices of `setting` that have a name or title that begins with `text`, or `[text]` if none has."""
    if setting.kind == "bool":
        values = {"on": "true", "off": "false"}
        return [value for name, value in values.items() if name.startswith(text.lower())] or [text]
    typed = normalised(text).rstrip()
    return [
        name
        for name in setting.choices
        if name.startswith(text.lower())
        or (typed and any(normalised(each).startswith(typed) for each in (name, _title(setting, name))))
    ] or [text]


def _title(setting: SettingField, name: str) -> str:
    """Return the title of the component that choice `name` selects, or an empty string if it selects no component."""
    titles = (each.title for each in all_components() if (each.registry.setting, each.name) == (setting.path, name))
    return next(titles, "")


def _named_choices() -> Mapping[str, Sequence[tuple[SettingField, str]]]:
    """Map each normalised name and each normalised title of a choice to the (setting, choice) pairs that it names."""
    named: dict[str, list[tuple[SettingField, str]]] = {}
    for setting in FIELDS.values():
        for choice in setting.choices:
            for name in {normalised(choice), normalised(_title(setting, choice) or choice)}:
                named.setdefault(name, []).append((setting, choice))
    return named


def _is_value(setting: SettingField, text: str) -> bool:
    try:
        setting.read(text)
    except SettingsError:
        return False
    return not setting.choices or text in setting.choices
