"""The offer on the first start, and a tour of the app in eight steps."""
