"""Inner and outer update rules, and losses."""
