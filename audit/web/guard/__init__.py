"""What stands before every screen: who asks, from where, how often; and what every answer says."""

from audit.web.guard.asgi import Guard

__all__ = ["Guard"]
