"""The form: generated from the knobs, one field a setting."""
