"""Tests of layers and pretrained weights."""
