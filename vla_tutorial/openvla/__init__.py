"""OpenVLA itself. These four modules are its face; importing `config` brings no PyTorch."""

__all__ = ["checkpoint", "config", "engine", "model"]
