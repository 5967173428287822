"""Policies: `expert` (scripted, privileged) and model policies of OpenVLA's shape."""
