"""Devices, drivers and memory."""
