"""Tests of the models and their layers."""
