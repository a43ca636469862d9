"""The main screen: panes of the work tab, and the other tabs."""
