"""The tour of the app in eight steps, and the offer of the tour on the first start."""
