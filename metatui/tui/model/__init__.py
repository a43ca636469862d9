"""The data of a run as the app shows it: history of metrics, events, results."""
