"""Darkroom: raw images in; a trained, evaluated and exported classifier out."""
