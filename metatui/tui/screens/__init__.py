"""Screens that open over the work screen: help and questions."""
