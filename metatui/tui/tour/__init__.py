"""The tour of the app in eight steps, and its offer on the first start."""
