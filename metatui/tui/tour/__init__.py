"""The tour of the app in eight steps, and the widget that offers it when the app is started for the first time."""
